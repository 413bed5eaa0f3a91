"""CURVE keys as ZeroMQ certificate files, the form that `zmq.auth.load_certificate` reads.

What always holds: a secret key is in no message, log or repr; its file is readable by its owner
alone, and refused when it is not; a file is there whole or not at all, whatever the power does;
and a pair that is loaded is a pair: its halves have been checked against each other.

A public key is written in Z85 (40 characters) inside files and messages. People may also give it
as 64 hexadecimal digits, which no shell takes apart.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.utils import z85

from clima_core import files
from clima_core.configuration import Secret, unreadable
from clima_core.errors import ConfigurationError, UnavailableError

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_ENTRY = re.compile(r'\s*([\w-]+)\s*=\s*"?([^"]*?)"?\s*')


class KeyPair(NamedTuple):
    """Both halves of a CURVE key, in Z85."""

    public: str
    secret: Secret


class Certificate(NamedTuple):
    """What a certificate file says: the public key, and who wrote what beside it."""

    public: str
    metadata: Mapping[str, str]
    secret: Secret | None = None


def generate() -> KeyPair:
    """A new pair from the system's random numbers."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), Secret(secret.decode()))


def load_or_create(path: Path) -> KeyPair:
    """The pair in the file; without a file a new one, on disk before it is used.

    All that do so at once have the same.
    """
    if not path.exists():
        pair = generate()
        try:
            write_certificate(path, pair.public, {}, pair.secret, replace=False)
        except FileExistsError:  # another process has made one meanwhile
            return load(path)
        return pair
    return load(path)


def load(path: Path, *, guarded: bool = False) -> KeyPair:
    """The pair in a secret certificate file; every way it can be wrong is a ConfigurationError.

    UnavailableError when the disk does not give it: that may pass.
    `guarded`: its folder keeps others out, whatever the file's own mode (systemd's credentials,
    where an access list makes it look readable by a group).
    """
    public, _, secret = load_needed(path)
    if secret is None:
        raise ConfigurationError(f"{path}: has no secret key; this is the public half of a pair")
    if not guarded and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(
            f"{path}: others can read this secret key; `chmod 600 {path}` mends that"
        )
    if zmq.curve_public(secret.reveal().encode()).decode() != public:
        raise ConfigurationError(f"{path}: its two keys are not a pair; restore it, or delete it")
    return KeyPair(public, secret)


def load_certificate(path: Path) -> Certificate:
    """What a certificate file says, whether it has a secret half or not.

    ConfigurationError when it cannot be used now, whatever the reason: one of many such files.
    """
    try:
        return load_needed(path)
    except UnavailableError as error:
        raise ConfigurationError(str(error)) from error


def load_needed(path: Path) -> Certificate:
    """The same of a file without which nothing works.

    UnavailableError when the disk does not give it: then it is worth to try again.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such key file") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not a ZeroMQ certificate") from None
    matches = filter(None, map(_ENTRY.fullmatch, text.splitlines()))
    entries = {str(match[1]): str(match[2]) for match in matches}
    secret = entries.pop("secret-key", None)
    if "public-key" not in entries:
        raise ConfigurationError(f"{path}: is not a ZeroMQ certificate: it has no public-key")
    if secret is not None and not _is_key(secret):
        raise ConfigurationError(f"{path}: its secret-key is damaged")
    public = public_key(entries.pop("public-key"), str(path))
    return Certificate(public, entries, Secret(secret) if secret else None)


def write_certificate(
    path: Path,
    public: str,
    metadata: Mapping[str, str],
    secret: Secret | None = None,
    *,
    replace: bool = True,
) -> None:
    """Put the file there whole, in place of any other, and on disk before this returns.

    Without `replace` FileExistsError where there is one.
    """
    lines = ["# ZeroMQ CURVE certificate, " + ("SECRET: never share it" if secret else "public")]
    lines += ["metadata", *(f'    {name} = "{_plain(text)}"' for name, text in metadata.items())]
    lines += ["curve", f'    public-key = "{public}"']
    lines += [f'    secret-key = "{secret.reveal()}"'] if secret else []
    text = "\n".join(lines) + "\n"
    files.write(path, text.encode(), 0o600 if secret else 0o644, replace=replace)


def public_key(text: str, source: str) -> str:
    """A public key as a person gave it, Z85 or hexadecimal, in Z85; `source` begins a problem."""
    text = text.strip()
    if _HEX.fullmatch(text):
        return z85.encode(bytes.fromhex(text)).decode()
    if not _is_key(text):
        raise ConfigurationError(
            f"{source}: is not a public key: expected 40 characters of Z85 or 64 hexadecimal"
            f" digits, found {len(text)} characters"
        )
    return text


def given(text: str, source: str) -> str:
    """A public key as a person gave it, or in the certificate file that the text names."""
    path = Path(text)
    return load_certificate(path).public if path.is_file() else public_key(text, source)


def hexadecimal(public: str) -> str:
    """A public key in the form to paste into a command line."""
    return z85.decode(public).hex()


def fingerprint(public: str) -> str:
    """A short form for two people to compare: `3f2a-91c0-77de-04b8`."""
    digest = sha256(z85.decode(public)).hexdigest()
    return "-".join(digest[i : i + 4] for i in range(0, 16, 4))


def _is_key(text: str) -> bool:
    try:
        return len(z85.decode(text)) == 32
    except (ValueError, KeyError, struct.error):
        return False


def _plain(text: str) -> str:
    """A metadata text that fits on one line between quotes."""
    return " ".join(text.replace('"', "'").split())
