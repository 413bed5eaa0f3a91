"""`clima forward`: the forwarder's daemon."""

from __future__ import annotations

import argparse
import asyncio
import os

from clima_core import logs
from clima_core.errors import EXIT_OK
from clima_forwarder import config, shipping
from clima_forwarder.cli import add_config
from clima_forwarder.forwarder import serve

HELP = "take in what stations send, and store it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT."""
    configured = config.load(arguments.config, os.environ)
    with shipping.processors(configured.log.logstash) as shipped:
        logs.setup(configured.log.level, extra=shipped)
        # ZeroMQ needs a loop that can watch descriptors: on Windows that is not the default one.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(serve(configured))
    return EXIT_OK
