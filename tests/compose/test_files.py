"""What compose/ promises, read from the files themselves: no engine is needed for this."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from clima_core import __version__
from clima_elk import stack
from tests.conftest import missing

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "compose"
STATION = COMPOSE / "compose.yaml"
OVERLAYS = ("single.yaml", "tls.yaml", "ca.yaml")
ONE_SHOT = {"init", "provision", "dashboards", "cli", "demo-init"}
REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)(?::-((?:\$\{[^}]*\}|[^{}])*)\})?")
SECRET = re.compile(r"pass|secret|token|api.?key|encryption", re.IGNORECASE)
YAMLLINT = """\
extends: default
rules:
  line-length: {max: 160}
  document-start: disable
  comments: {min-spaces-from-content: 1}
"""

every_file = pytest.mark.parametrize("path", sorted(COMPOSE.glob("*.yaml")), ids=lambda p: p.name)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def services(*paths: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths or (STATION, COMPOSE / "agent.compose.yaml"):
        yield from read(path)["services"].items()


def tool(name: str) -> str:
    """A linter of the development dependencies, beside this Python."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        missing("linters", f"no {name} here; `uv sync` brings it")
    return str(found)


def said_by(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in listed.stdout.decode().split("\0") if name]


def resolved(text: str) -> str:
    """A value with the defaults of its references."""
    while (match := re.search(r"\$\{[A-Z0-9_]+:-([^{}]*)\}", text)) is not None:
        text = text.replace(match[0], match[1])
    return text


@every_file
def test_yamllint_has_nothing_to_say(path: Path) -> None:
    """Not one warning."""
    assert "" == said_by(tool("yamllint"), "--strict", "-d", YAMLLINT, str(path))


def test_shellcheck_has_nothing_to_say() -> None:
    """Of every script that is tracked."""
    scripts = [
        name
        for name in tracked()
        if (ROOT / name).is_file()
        and re.match(rb"#!\S+[/ ](ba)?sh\b", (ROOT / name).read_bytes()[:40])
    ]
    assert "compose/install.sh" in scripts
    assert "" == said_by(tool("shellcheck"), *scripts)


def test_hadolint_has_nothing_to_say() -> None:
    """Nor of the images that tests use in place of others."""
    files = [name for name in tracked() if Path(name).name == "Dockerfile"]
    assert "compose/Dockerfile" in files
    assert "" == said_by(tool("hadolint"), *files)


def test_every_image_is_pinned_and_can_be_another() -> None:
    """A variable each, whose default has a tag that is a version."""
    for name, service in services():
        image = service["image"]
        assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-.*\}", image), name
        assert re.search(r":\d+\.\d+\.\d+$", resolved(image)), name


def test_the_versions_agree() -> None:
    """Our images are of this version, and the stack's of the one that init takes by default."""
    text = "".join(path.read_text("utf-8") for path in COMPOSE.glob("*.yaml"))
    bake = (ROOT / "docker-bake.hcl").read_text("utf-8")
    dockerfile = (COMPOSE / "Dockerfile").read_text("utf-8")
    assert {__version__} == set(re.findall(r":-clima-\w+:([\d.]+)\}", text))
    assert [__version__] == re.findall(r'variable "VERSION" { default = "(.*)" }', bake)
    assert [__version__] == re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE)
    assert {stack.NEWEST} == set(re.findall(r"STACK_VERSION:-([^}]*)\}", text))
    pythons = re.findall(r"python:\d+\.\d+\.\d+-[\w-]+", text + bake + dockerfile)
    assert 1 == len(set(pythons))


def test_our_images_run_as_nobody_special_and_hold_no_key() -> None:
    """Each final stage ends as 10001; what is copied into them is named, and no key is."""
    text = (COMPOSE / "Dockerfile").read_text("utf-8")
    for target in ("agent", "forwarder"):
        stage = re.search(
            rf"^FROM base AS {target}$(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL
        )
        assert stage is not None
        assert ["10001:10001"] == re.findall(r"^USER (.*)$", stage[1], re.MULTILINE)
        assert [f"--from=build-{target} /opt/clima /opt/clima"] == re.findall(
            r"^COPY (.*)$", stage[1], re.MULTILINE
        )
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    assert ignored.index("**/*.key") > ignored.index("!compose/install.sh")


def test_no_secret_goes_by_environment_or_argument() -> None:
    """Files alone: an environment shows in `docker inspect`, an argument in the process list."""
    for name, service in chain(services(), *(services(COMPOSE / each) for each in OVERLAYS)):
        for variable in service.get("environment", {}):
            assert not SECRET.search(variable) or variable.endswith("_FILE"), (name, variable)
        for argument in service.get("command", []):
            assert not SECRET.search(str(argument)), (name, argument)


def test_whatever_goes_on_running_has_what_it_needs_for_that() -> None:
    """A health check, a restart policy and time to stop; those that run once have neither."""
    for name, service in services():
        if name in ONE_SHOT:
            assert "no" == service["restart"], name
            assert "healthcheck" not in service, name
        else:
            assert "unless-stopped" == service["restart"], name
            assert {"test", "interval", "timeout", "start_period"} <= service["healthcheck"].keys()
            assert "stop_grace_period" in service, name


def test_every_service_is_bounded_and_can_do_little() -> None:
    """Memory and logs have a limit, rights are dropped, and the root file system is read-only."""
    for name, service in services():
        assert service["mem_limit"], name
        assert {"max-size", "max-file"} == service["logging"]["options"].keys(), name
        assert ["ALL"] == service["cap_drop"], name
        assert ["no-new-privileges:true"] == service["security_opt"], name
        assert name == "elasticsearch" or service["read_only"], name
        assert "privileged" not in service, name
        assert name == "init" or "cap_add" not in service, name
        assert name == "init" or "user" not in service, name


def test_the_order_of_starting_is_by_conditions() -> None:
    """Nothing starts before what it needs is ready, or done."""
    found = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in services(STATION)
    }
    done, healthy = "service_completed_successfully", "service_healthy"
    assert {"init": done} == found["elasticsearch"]
    assert {"elasticsearch": healthy} == found["provision"]
    configured = {"init": done, "provision": done}
    assert configured == found["kibana"] == found["logstash"]
    assert {"provision": done, "kibana": healthy} == found["dashboards"]
    assert {**configured, "logstash": "service_started"} == found["forwarder"]
    assert {"demo-init": done} == found["demo-jfk"] == found["demo-lga"]


def test_who_reads_a_configuration_is_restarted_with_a_new_one() -> None:
    """When `init` is made anew (another overlay, variable or image) they start after it, again."""
    for name, service in services(STATION):
        if name in {"kibana", "logstash", "forwarder"}:
            assert service["depends_on"]["init"]["restart"], name


def test_three_ports_are_published() -> None:
    """Kibana's to this machine alone, and the stations' two; the rest has no way out, or in."""
    published = {
        name: [
            (resolved(port["host_ip"]), resolved(port["published"])) for port in service["ports"]
        ]
        for name, service in services()
        if "ports" in service
    }
    stations = [("0.0.0.0", "5570"), ("0.0.0.0", "5573")]
    assert {"kibana": [("127.0.0.1", "5601")], "forwarder": stations} == published
    assert read(STATION)["networks"]["inner"]["internal"]
    for name, service in services(STATION):
        assert service.get("network_mode") in (None, "none"), name
        outside = "outer" in service.get("networks", [])
        assert outside == (name in published or name in {"demo-jfk", "demo-lga"})


def test_configurations_are_read_only_where_they_are_used() -> None:
    """Only whoever writes them can: `init`, and `provision` and `cli` for the forwarder's key."""
    for name, service in services(STATION):
        for volume in service["volumes"]:
            source, target, *mode = str(volume).split(":")
            if source.endswith("-config") and not target.startswith("/services"):
                assert ["ro"] == mode, (name, volume)
            if source == "vault":
                assert name in {"init", "provision", "dashboards", "cli"}, name


def test_the_example_of_the_environment_is_complete_and_true() -> None:
    """Every variable is in it, and what is commented out is the default."""
    defaults: dict[str, str] = {}
    used: set[str] = set()
    for path in (STATION, *(each for each in COMPOSE.glob("*.yaml") if each != STATION)):
        for name, default in REFERENCE.findall(path.read_text("utf-8")):
            used.add(name)
            if default:
                defaults.setdefault(name, resolved(default))
    text = (COMPOSE / ".env.example").read_text("utf-8")
    said = dict(re.findall(r"^# ([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    examples = set(re.findall(r"^#   ([A-Z0-9_]+)=.+$", text, re.MULTILINE))

    assert used == said.keys() | examples
    assert {name: defaults.get(name, "") for name in said} == said
    assert [] == [line for line in text.splitlines() if line and not line.startswith("#")]


def test_a_checkout_by_git_for_windows_works() -> None:
    """No text that is tracked has a carriage return, and Git is told to put none in."""
    names = tracked()
    listed = subprocess.run(
        ["git", "check-attr", "-z", "--stdin", "eol"],
        cwd=ROOT,
        input="\0".join(names),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    attributes = dict(zip(listed[::3], listed[2::3], strict=False))
    for name in names:
        path = ROOT / name
        if path.suffix in (".db", ".gz", ".png") or not path.is_file():
            continue
        assert "lf" == attributes[name], name
        assert b"\r" not in path.read_bytes(), name


@pytest.mark.parametrize(
    "overlays",
    [chosen for size in range(4) for chosen in combinations(OVERLAYS, size)],
    ids=lambda chosen: "+".join(chosen) or "alone",
)
def test_compose_takes_every_combination(overlays: tuple[str, ...]) -> None:
    """As `docker compose config` says; the profiles included."""
    files = [part for name in ("compose.yaml", *overlays) for part in ("-f", str(COMPOSE / name))]
    config = compose(*files, "--profile", "*", "config", "--format", "json")
    found = set(yaml.safe_load(config)["services"])
    assert {"init", "elasticsearch", "provision", "kibana", "forwarder", "cli", "logstash"} <= found
    usual = set(compose(*files, "config", "--services").split())
    assert ("logstash" in usual) == ("single.yaml" not in overlays)
    assert not {"cli", "demo-jfk"} & usual


def test_compose_takes_the_agent() -> None:
    """With its configuration beside it."""
    config = compose("-f", str(COMPOSE / "agent.compose.yaml"), "config")
    (agent,) = yaml.safe_load(config)["services"].values()
    assert str(COMPOSE / "agent.toml") in {volume["source"] for volume in agent["volumes"]}


def test_the_agents_commented_lines_are_for_gpio() -> None:
    """Without their `# ` the file goes as well, and a station with a rain gauge has its device."""
    text = (COMPOSE / "agent.compose.yaml").read_text("utf-8")
    with_gpio, lines = re.subn(r"^( +)# (?=- )", r"\1", text, flags=re.MULTILINE)
    agent = yaml.safe_load(with_gpio)["services"]["agent"]
    assert 2 == lines
    assert "/dev/gpiochip0:/dev/gpiochip0" == agent["devices"][1]
    assert all(isinstance(group, str) for group in agent["group_add"])


def compose(*arguments: str) -> str:
    """What `docker compose` answers."""
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        missing("docker", "no `docker compose` here")
    environ = {name: text for name, text in os.environ.items() if not name.startswith("CLIMA_")}
    done = subprocess.run(
        ["docker", "compose", *arguments],
        env={**environ, "CLIMA_CA_FILE": "ca.pem"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_the_images_have_no_python_but_the_locked_one() -> None:
    """What install.sh needs beside uv.lock is pinned, and the lock names every hash."""
    pinned = re.findall(
        r'^[A-Z]+="(\w+)==[\d.]+"', (COMPOSE / "install.sh").read_text(), re.MULTILINE
    )
    assert ["uv", "hatchling", "setuptools"] == pinned
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    assert all(
        "hash" in file
        for package in lock["package"]
        for file in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
    )
