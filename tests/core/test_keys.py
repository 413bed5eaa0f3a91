"""Keys: files that ZeroMQ reads, that others cannot, and that say what is wrong with them."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import zmq.auth
from zmq.utils import z85

from clima_core import keys
from clima_core.errors import ConfigurationError, UnavailableError

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A secret certificate."""
    path = tmp_path / "keys" / "agent.key"
    keys.load_or_create(path)
    return path


def test_a_new_pair_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    """The first call makes it, the second finds it."""
    path = tmp_path / "not" / "yet" / "agent.key"
    made = keys.load_or_create(path)
    assert made == keys.load_or_create(path) == keys.load(path)


def _at_once(folder: Path, barrier: Barrier) -> list[str]:
    """What one of several processes gets, each of which begins each key when the others do."""
    public = []
    for number in range(30):
        barrier.wait(timeout=60)
        public.append(keys.load_or_create(folder / f"{number}.key").public)
    return public


def test_two_that_make_a_key_at_once_have_the_same(tmp_path: Path) -> None:
    """The agent that is starting, say, and `enroll` beside it."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(2, mp_context=spawn) as pool:
        barrier = manager.Barrier(2)
        one, other = (pool.submit(_at_once, tmp_path, barrier) for _ in range(2))
        assert one.result() == other.result()
    assert [keys.load(tmp_path / f"{number}.key").public for number in range(30)] == one.result()
    assert 30 == len(list(tmp_path.iterdir()))


def test_zeromq_itself_reads_the_file(file: Path) -> None:
    """It is a ZeroMQ certificate, and the two halves fit."""
    public, secret = zmq.auth.load_certificate(file)
    pair = keys.load(file)
    assert secret is not None
    assert (pair.public, pair.secret.reveal()) == (public.decode(), secret.decode())


def test_what_pyzmq_writes_is_read(tmp_path: Path) -> None:
    """Keys that were made with ZeroMQ's own tools are as good."""
    public, secret = map(Path, zmq.auth.create_certificates(tmp_path, "jfk", {"name": "JFK"}))
    secret.chmod(0o600)
    assert keys.load_certificate(public).public == keys.load(secret).public
    assert {"name": "JFK"} == keys.load_certificate(secret).metadata


@posix
def test_only_the_owner_can_read_it(file: Path) -> None:
    """And nothing else is left behind beside it."""
    assert 0o600 == file.stat().st_mode & 0o777
    assert [file] == list(file.parent.iterdir())


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    """The message has the mend in it."""
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {file}"):
        keys.load(file)


def test_the_secret_never_shows(file: Path) -> None:
    """Neither in a repr nor in what is said of a damaged file."""
    pair = keys.load(file)
    secret = pair.secret.reveal()
    assert secret not in repr(pair)
    assert secret not in repr(keys.load_certificate(file))
    file.write_text(file.read_text().replace(pair.public, keys.generate().public))
    with pytest.raises(ConfigurationError, match="not a pair") as caught:
        keys.load(file)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no public-key"),
        (b"\xff\xfe\x00", "is not a ZeroMQ certificate"),
        (b'public-key = "abc"\n', "is not a public key"),
        (b'public-key = "%s"\n' % (b"#" * 40), "is not a public key"),
        (b'public-key = "%s"\nsecret-key = "abc"\n' % (b"0" * 40), "secret-key is damaged"),
        (b'public-key = "%s"\n' % (b"0" * 40), "has no secret key"),
    ],
)
def test_a_file_that_is_no_key_says_so(tmp_path: Path, content: bytes, problem: str) -> None:
    """Each way to be wrong has its message, and the message the file."""
    path = tmp_path / "agent.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        keys.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    """Said as a configuration error, not as a traceback."""
    with pytest.raises(ConfigurationError, match="no such key file"):
        keys.load(tmp_path / "none.key")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.load(tmp_path)


# /proc/self/mem cannot be read from its beginning: the kernel says EIO, as a dying card does.
SICK = Path("/proc/self/mem")
linux = pytest.mark.skipif(not SICK.exists(), reason="needs a file that gives EIO")


@linux
def test_a_disk_that_does_not_give_the_key_may_do_so_later(tmp_path: Path) -> None:
    """Not the exit code of a wrong configuration, after which nobody tries again."""
    path = tmp_path / "agent.key"
    path.symlink_to(SICK)
    for load in (keys.load, keys.load_or_create, keys.load_needed):
        with pytest.raises(
            UnavailableError, match=r"agent\.key: cannot be read: Input/output error"
        ):
            load(path)


@linux
def test_of_many_keys_one_that_cannot_be_read_is_a_problem_of_its_own(tmp_path: Path) -> None:
    """Whatever the reason: it shuts out nobody else."""
    path = tmp_path / "roof.key"
    path.symlink_to(SICK)
    with pytest.raises(ConfigurationError, match="Input/output error"):
        keys.load_certificate(path)


@pytest.mark.parametrize("content", ["missing", "folder", "loop", "below a file", "long"])
def test_a_name_that_is_wrong_stays_wrong(tmp_path: Path, content: str) -> None:
    """Somebody has to mend it: to try again would not."""
    path = tmp_path / ("x" * 300 if content == "long" else "agent.key")
    match content:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "below a file":
            path.write_text("")
            path /= "agent.key"
    with pytest.raises(ConfigurationError):
        keys.load(path)


def test_a_public_key_survives_any_shell() -> None:
    """People may give it in hexadecimal, with the blanks that come with pasting."""
    public = keys.generate().public
    assert public == keys.public_key(f" {public}\n", "PUBLIC_KEY")
    assert public == keys.public_key(keys.hexadecimal(public).upper(), "PUBLIC_KEY")


@pytest.mark.parametrize("text", ["", "abc", "0" * 39, "0" * 39 + '"', "#" * 40, "é" * 40])
def test_what_is_not_a_public_key(text: str) -> None:
    """Too short, outside the alphabet, or more than 32 bits in five characters."""
    with pytest.raises(ConfigurationError, match=r"^PUBLIC_KEY: is not a public key"):
        keys.public_key(text, "PUBLIC_KEY")


def test_fingerprints_can_be_compared_over_the_telephone() -> None:
    """Four groups of four, the same for the same key."""
    public = z85.encode(bytes(32)).decode()
    assert "6668-7aad-f862-bd77" == keys.fingerprint(public)  # SHA-256 of 32 zero bytes


def test_metadata_stays_on_its_line(tmp_path: Path) -> None:
    """A name with quotes or line ends cannot smuggle a key in."""
    pair, other = keys.generate(), keys.generate()
    path = tmp_path / "jfk.key"
    name = f'x"\ncurve\n    public-key = "{other.public}"'
    keys.write_certificate(path, pair.public, {"name": name})
    assert pair.public == keys.load_certificate(path).public
