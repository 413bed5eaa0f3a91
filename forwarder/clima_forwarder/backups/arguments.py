"""Where backups lie: the options that `clima backup` and `clima restore` share."""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath

from clima_forwarder import operator
from clima_forwarder.backups.snapshots import Snapshots
from clima_forwarder.outputs import elasticsearch

BACKUPS = Path("/backups")
REPOSITORY_FOLDER = "elasticsearch"


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The store, `--folder`, and how Elasticsearch sees it."""
    operator.add_operator(parser)
    parser.add_argument(
        "--folder",
        type=Path,
        default=BACKUPS,
        help="where backups lie (default: %(default)s, a volume of Compose)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--location",
        type=PurePosixPath,
        metavar="PATH",
        help="where Elasticsearch keeps its snapshots, as it sees it; relative to its path.repo,"
        " which is to be the same folder (default: elasticsearch)",
    )
    where.add_argument(
        "--repository",
        metavar="NAME",
        help="a snapshot repository that is registered already, such as one on S3, instead",
    )


def snapshots(arguments: argparse.Namespace, store: elasticsearch.Options) -> Snapshots:
    """The repository that was asked for."""
    return Snapshots(
        store, arguments.location or PurePosixPath(REPOSITORY_FOLDER), arguments.repository
    )
