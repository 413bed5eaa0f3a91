"""Certificates for Elasticsearch and Kibana: of an authority of our own, or given ones.

The authority's key stays in the vault. Certificates are made by the `openssl` command, and made
anew a month before they end or when their names change; secrets go by file, never by argument.
"""

from __future__ import annotations

import re
import secrets
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from clima_core.errors import ConfigurationError, UnavailableError
from clima_elk.files import File, directory, put
from clima_elk.vault import CLIMA, Vault

SERVICES = ("elasticsearch", "kibana")
AUTHORITY_DAYS, CERTIFICATE_DAYS, RENEW_DAYS = 3650, 397, 30
_NAME = re.compile(r"(\*\.)?([\w-]+\.)*[\w-]*[a-z][\w-]*", re.ASCII | re.IGNORECASE)
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates(NamedTuple):
    """What the services show, and the authority that their clients trust."""

    authority: bytes
    pairs: Mapping[str, tuple[bytes, bytes]]  # certificate and key, by service

    def of(self, service: str) -> dict[str, bytes]:
        """The files of one service, by name."""
        certificate, key = self.pairs[service]
        return {f"{service}.crt": certificate, f"{service}.key": key, "ca.crt": self.authority}

    def __repr__(self) -> str:
        return f"Certificates({', '.join(self.pairs)})"


def own(vault: Vault, kibana_names: Sequence[str] = ()) -> Certificates:
    """Certificates of our own authority, which is made the first time.

    `kibana_names` are the names and addresses that browsers use beside localhost; raises
    ConfigurationError for what is neither.
    """
    folder = vault.folder / "tls"
    directory(folder, CLIMA)
    if not (folder / "ca.key").exists():
        _make_authority(folder)
    for service in SERVICES:
        names = (service, "localhost", "127.0.0.1", *(kibana_names if service == "kibana" else ()))
        wanted = ",".join(map(_subject, names))
        if not _stands(folder, service, wanted):
            _make(folder, service, wanted)
    return _read(folder)


def given(folder: Path) -> Certificates:
    """The certificates in a folder: ca.crt, and for each service SERVICE.crt and SERVICE.key.

    Raises ConfigurationError with all that is wrong with them.
    """
    names = ["ca.crt", *(f"{service}.{kind}" for service in SERVICES for kind in ("crt", "key"))]
    problems = [
        f"{folder / name}: missing; CLIMA_CERTIFICATES names the folder with {', '.join(names)}"
        for name in names
        if not (folder / name).is_file()
    ]
    for service in [] if problems else SERVICES:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / f"{service}.crt", folder / f"{service}.key", str)
            context.load_verify_locations(folder / "ca.crt")
        except (ssl.SSLError, OSError) as error:
            problems.append(
                f"{folder / service}.crt: it, its key (without a password, of the same pair) or"
                f" ca.crt cannot be used: {error.strerror or error}"
            )
    if not problems and not _covers(folder / "elasticsearch.crt", "elasticsearch"):
        problems.append(f"{folder / 'elasticsearch.crt'}: is not for the name elasticsearch")
    if problems:
        raise ConfigurationError(problems)
    return _read(folder)


def _covers(certificate: Path, name: str) -> bool:
    said = _openssl("x509", "-noout", "-checkhost", name, "-in", str(certificate))
    return "does NOT match" not in said


def _read(folder: Path) -> Certificates:
    pairs = {
        service: (
            (folder / f"{service}.crt").read_bytes(),
            (folder / f"{service}.key").read_bytes(),
        )
        for service in SERVICES
    }
    return Certificates((folder / "ca.crt").read_bytes(), pairs)


def _make_authority(folder: Path) -> None:
    """The certificate first: where the key is there, the authority is whole."""
    made, key = folder / "ca.crt.new", folder / "ca.key.new"
    _openssl(
        *("req", "-x509", *_KEY, "-days", str(AUTHORITY_DAYS), "-subj", "/CN=Clima authority"),
        *("-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", str(key), "-out", str(made)),
    )
    _keep(made, folder / "ca.crt")
    _keep(key, folder / "ca.key")


def _stands(folder: Path, service: str, wanted: str) -> bool:
    """Whether there is a certificate of these names that does not end within the month."""
    certificate, names = folder / f"{service}.crt", folder / f"{service}.names"
    if not names.is_file() or names.read_text("utf-8") != wanted:
        return False
    seconds = str(RENEW_DAYS * 86400)
    check = ("openssl", "x509", "-noout", "-checkend", seconds, "-in", str(certificate))
    return subprocess.run(check, check=False, capture_output=True).returncode == 0


def _make(folder: Path, service: str, wanted: str) -> None:
    request, key, made = (folder / f"{service}.{kind}.new" for kind in ("csr", "key", "crt"))
    extensions = folder / f"{service}.extensions"
    extensions.write_text(
        f"subjectAltName={wanted}\nbasicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n",
        "utf-8",
    )
    subject = ("-subj", f"/CN={service}", "-keyout", str(key), "-out", str(request))
    _openssl("req", "-new", *_KEY, *subject)
    _openssl(
        *("x509", "-req", "-in", str(request), "-out", str(made), "-days", str(CERTIFICATE_DAYS)),
        *("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")),
        *("-set_serial", str(secrets.randbits(127)), "-extfile", str(extensions)),
    )
    _keep(key, folder / f"{service}.key")
    _keep(made, folder / f"{service}.crt")
    put(File(folder / f"{service}.names", wanted.encode(), CLIMA))
    request.unlink()
    extensions.unlink()


def _keep(made: Path, place: Path) -> None:
    """Put what openssl has written in its place, whole."""
    put(File(place, made.read_bytes(), CLIMA))
    made.unlink()


def _openssl(*arguments: str) -> str:
    """What `openssl` prints; UnavailableError when it fails, or is not there."""
    try:
        done = subprocess.run(("openssl", *arguments), check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise UnavailableError(
            "no `openssl` command here to make certificates with: install it, or give certificates"
            " of your own (CLIMA_CERTIFICATES)"
        ) from None
    if done.returncode != 0:
        raise UnavailableError(f"openssl {arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def _subject(name: str) -> str:
    """A name as openssl is told it; ConfigurationError for one that no certificate can have."""
    with suppress(ValueError):
        return f"IP:{ip_address(name)}"
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f'CLIMA_KIBANA_NAMES: "{name}" is neither a host name (in ASCII) nor an IP address'
        )
    return f"DNS:{name}"
