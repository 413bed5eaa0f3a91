"""Versions of the stack: what is asked for, what the data is of, and whether they go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from clima_core.errors import ConfigurationError
from clima_elk.stack import NEWEST, Version, check, parse, written_by
from tests.elasticsearch_server import Distribution, Server

# `_state/node-0.st` of an Elasticsearch 8.3.3, as it wrote it.
OF_8_3_3 = bytes.fromhex(
    "3fd76c1705737461746500000002010000003a290a05fa866e6f64655f69645551"
    "45516f3752635671 72435f374c764448614661 41518b6e6f64655f76657273696f6e240f2845be"
    "936f6c646573745f696e6465785f76657273696f6e240f2845befbc02893e800000000000000063e5c2a"
)


def data(folder: Path, *states: bytes) -> Path:
    (folder / "_state").mkdir()
    for number, state in enumerate(states):
        (folder / "_state" / f"node-{number}.st").write_bytes(state)
    return folder


def test_the_newest_is_one_we_take() -> None:
    """The default must not be refused."""
    assert NEWEST == str(parse(NEWEST))


@pytest.mark.parametrize(
    "text", ["9.5", "9.5.1-SNAPSHOT", "latest", "9.x.1", "v9.5.1", "9.5.1 ", ""]
)
def test_what_is_no_version_is_said(text: str) -> None:
    """With the variable and an example."""
    with pytest.raises(ConfigurationError, match=r"STACK_VERSION: .*such as 9\.5\.1"):
        parse(text)


def test_what_is_too_old_is_said() -> None:
    """Clima needs 8.3."""
    with pytest.raises(ConfigurationError, match=r"8\.2\.9 is too old"):
        parse("8.2.9")


def test_the_data_tells_who_wrote_it(tmp_path: Path) -> None:
    """From the file of a real server; an empty folder, or one of something else, tells nothing."""
    assert written_by(tmp_path) is None
    assert Version(8, 3, 3) == written_by(data(tmp_path, b"", b"nonsense", OF_8_3_3))


@pytest.mark.parametrize("cut", range(60, 66))
def test_a_cut_file_tells_nothing(tmp_path: Path, cut: int) -> None:
    """Wherever it was cut."""
    at = OF_8_3_3.index(b"node_version") + cut - 48
    assert written_by(data(tmp_path, OF_8_3_3[:at])) in (None, Version(8, 3, 3))


def test_a_running_server_tells_its_version(elasticsearch: Server) -> None:
    """The newest one too writes what we read."""
    if not isinstance(elasticsearch, Distribution):
        pytest.skip("its data folder is not on this machine")
    found = written_by(elasticsearch._home / "data")
    assert found is not None
    assert found.major >= 8


@pytest.mark.parametrize(
    ("written", "wanted"),
    [("9.5.1", "9.5.1"), ("9.5.1", "9.6.0"), ("8.19.4", "9.5.1"), ("8.3.3", "8.19.0")],
)
def test_versions_that_go_on_from_the_data(written: str, wanted: str) -> None:
    """The same, a newer one, and the next major from the last minor."""
    check(parse(wanted), parse(written))
    check(parse(wanted), None)


@pytest.mark.parametrize(
    ("written", "wanted", "mend"),
    [
        ("9.5.1", "9.5.0", "STACK_VERSION=9.5.1 or newer"),
        ("9.0.0", "8.19.0", "STACK_VERSION=9.0.0 or newer"),
        ("8.3.3", "9.5.1", "STACK_VERSION=8.19.0"),
    ],
)
def test_versions_that_cannot_read_the_data(written: str, wanted: str, mend: str) -> None:
    """Said with the version to set."""
    with pytest.raises(ConfigurationError, match=mend):
        check(parse(wanted), parse(written))
