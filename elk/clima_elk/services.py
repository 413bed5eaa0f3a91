"""Each service's own configuration files, with the secrets in them: for `clima init`.

No secret goes by environment, where `docker inspect` and every child process would show it, so
the services read files of mode 0600 that belong to the user of their image. The texts come from
the assets beside this module; `${CLIMA_…}` in them is replaced by the value itself.

What always holds: the same vault and settings render the same files, so a second time nothing
is written; and what others keep in the same folders (the forwarder's API key) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from clima_core.errors import ConfigurationError
from clima_elk.files import File, Owner, directory, put
from clima_elk.roles import roles_yml
from clima_elk.stack import NEWEST, Version, parse
from clima_elk.tls import Certificates
from clima_elk.users import users
from clima_elk.vault import CLIMA, ELASTIC, KIBANA_KEYS, LOGSTASH_INPUT, PERSON, Vault

STACK = Owner(1000, 0)  # who Elastic's images run as

OWNERS = {"elasticsearch": STACK, "kibana": STACK, "logstash": STACK, "forwarder": CLIMA}
"""The services, each with a folder of its own, and whose it is."""

_REFERENCE = re.compile(r"\$\{(CLIMA_\w+)(?::([^}]*))?\}")
PINNED = parse(NEWEST)
CLEANING = Version(8, 4, 0)  # from here Logstash can delete dead letters that it has read
_HOSTS = re.compile(r"^( *)hosts => .*$", re.MULTILINE)


@dataclass(frozen=True)
class Settings:
    """What the files depend on, beside the secrets."""

    output: Literal["logstash", "elasticsearch"] = "logstash"
    users: Literal["native", "file"] = "native"
    stack: Version = PINNED
    public_url: str = "http://localhost:5601"  # of Kibana, for people
    certificates: Certificates | None = None  # none: no TLS on the inner network

    @property
    def elasticsearch_url(self) -> str:
        """Where Elasticsearch is for the other services."""
        return f"{'https' if self.certificates else 'http'}://elasticsearch:9200"


def render(vault: Vault, folder: Path, settings: Settings) -> list[Path]:
    """Have every service's files be in its folder below `folder`; returns those that changed.

    Raises ConfigurationError for a secret that is missing, UnavailableError where this user may
    not write.
    """
    for service, owner in OWNERS.items():
        directory(folder / service, owner)
    if settings.users == "file":
        directory(folder / "elasticsearch" / "file-users", STACK)
    return [file.path for file in files(vault, folder, settings) if put(file)]


def files(vault: Vault, folder: Path, settings: Settings) -> Iterator[File]:
    """Every file of every service."""
    for service, contents in (
        ("elasticsearch", _elasticsearch(vault, settings)),
        ("kibana", _kibana(vault, settings)),
        ("logstash", _logstash(vault, settings)),
        ("forwarder", _forwarder(vault, settings)),
    ):
        for name, content in contents.items():
            yield File(folder / service / name, content, OWNERS[service])


def _elasticsearch(vault: Vault, settings: Settings) -> dict[str, bytes]:
    """The first password of `elastic`; where there are no native users, users and roles too."""
    found = {ELASTIC: _secret(vault, ELASTIC)}
    if settings.certificates:
        found |= settings.certificates.of("elasticsearch")
    if settings.users == "file":
        members: dict[str, list[str]] = {}
        for user in users(settings.output):
            for role in user.roles or ():
                members.setdefault(role, []).append(user.name)
            if user.roles is not None:
                found[f"file-users/{user.name}"] = _secret(vault, user.name)
        lines = (f"{role}:{','.join(names)}\n" for role, names in sorted(members.items()))
        found["file-users/users_roles"] = "".join(lines).encode()
        found["roles.yml"] = roles_yml().encode()
    return found


def _kibana(vault: Vault, settings: Settings) -> dict[str, bytes]:
    assets = resources.files("clima_elk").joinpath("kibana")
    text = assets.joinpath("kibana.yml").read_text("utf-8")
    found: dict[str, bytes] = {}
    if settings.certificates:
        text += assets.joinpath("tls.yml").read_text("utf-8")
        found = settings.certificates.of("kibana")
    return {"kibana.yml": filled(text, values(vault, settings)), **found}


def _logstash(vault: Vault, settings: Settings) -> dict[str, bytes]:
    known = values(vault, settings)
    texts = {
        asset.name: asset.read_text("utf-8")
        for asset in resources.files("clima_elk").joinpath("logstash").iterdir()
        if asset.name.endswith((".conf", ".yml", ".properties"))
    }
    found: dict[str, bytes] = {}
    if settings.certificates:
        # The option has another name in 9, and each version refuses the other's.
        option = "ssl_certificate_authorities" if settings.stack.major >= 9 else "cacert"
        line = f'\\g<0>\n\\g<1>{option} => "/etc/clima/ca.crt"'
        texts = {name: _HOSTS.sub(line, text) for name, text in texts.items()}
        found["ca.crt"] = settings.certificates.authority
    if settings.stack >= CLEANING:
        texts = {name: text.replace("# from 8.4: ", "") for name, text in texts.items()}
    return {**found, **{name: filled(text, known) for name, text in texts.items()}}


def _forwarder(vault: Vault, settings: Settings) -> dict[str, bytes]:
    """The forwarder's configuration, and that of commands which run beside it."""
    found = {
        "forwarder.toml": _toml(settings, feed="tcp://*:5571", http="0.0.0.0"),  # noqa: S104
        "cli.toml": _toml(settings, feed="tcp://forwarder:5571", http="forwarder"),
        LOGSTASH_INPUT: _secret(vault, LOGSTASH_INPUT),
    }
    if settings.users == "file":
        found["clima_forwarder"] = _secret(vault, "clima_forwarder")
    if settings.certificates:
        found["ca.crt"] = settings.certificates.authority
    return found


def _toml(settings: Settings, *, feed: str, http: str) -> bytes:
    straight = settings.output == "elasticsearch"
    lines = [
        "# Written by `clima init`: what is changed here is written over.",
        "[stations]",
        'listen = "tcp://*:5570"',
        'directory = "/var/lib/clima/stations"',
        'key_file = "/var/lib/clima/forwarder.key"',
        "",
        "[pairing]",
        'listen = "tcp://*:5573"',
        "advertise = false  # multicast does not leave the bridge",
        "",
        "[output]",
        f'type = "{settings.output}"',
    ]
    if not straight:
        lines += [
            'url = "http://logstash:8080"',
            *_input_login(),
            'statistics_url = "http://logstash:9600"',
            "",
            "[output.elasticsearch]",
        ]
    lines += [f'url = "{settings.elasticsearch_url}"', "install_templates = false"]
    if settings.users == "file":
        lines += ['username = "clima_forwarder"', 'password = { file = "clima_forwarder" }']
    else:
        lines += ['api_key = { file = "api_key" }']
    if settings.certificates:
        lines += ['ca_file = "ca.crt"']
    if not straight:
        lines += ["", "[log.logstash]", 'url = "http://logstash:8081"', *_input_login()]
    lines += ["", "[feed]", f'address = "{feed}"', "", "[http]", f'host = "{http}"', ""]
    return "\n".join(lines).encode()


def _input_login() -> list[str]:
    return [f'username = "{PERSON}"', f'password = {{ file = "{LOGSTASH_INPUT}" }}']


def values(vault: Vault, settings: Settings) -> Mapping[str, str]:
    """What the references in the assets stand for."""
    found = {
        "CLIMA_INPUT_PASSWORD": LOGSTASH_INPUT,
        "CLIMA_ELASTICSEARCH_PASSWORD": "clima_logstash",
        "CLIMA_KIBANA_SYSTEM_PASSWORD": "kibana_system",
        **{f"CLIMA_{name.upper()}": name for name in KIBANA_KEYS},
    }
    return {
        **{reference: vault.read(name).reveal() for reference, name in found.items()},
        "CLIMA_ELASTICSEARCH_URL": settings.elasticsearch_url,
        "CLIMA_LOGSTASH_PIPELINES": "/etc/clima",
        "CLIMA_PUBLIC_URL": settings.public_url,
    }


def filled(text: str, known: Mapping[str, str]) -> bytes:
    """The text with its references replaced by what is known, or by the default they name.

    Raises ConfigurationError for one that has neither.
    """
    unknown = {name for name, default in _REFERENCE.findall(text) if not default} - known.keys()
    if unknown:
        raise ConfigurationError(f"the assets of this Clima name {', '.join(sorted(unknown))}")
    return _REFERENCE.sub(lambda match: known.get(match[1], match[2]), text).encode()


def _secret(vault: Vault, name: str) -> bytes:
    return vault.read(name).reveal().encode()
