"""What holds for the project as a whole: who imports whom, how long things get, what is shipped."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clima_core import __version__

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "clima_core": ROOT / "core/clima_core",
    "clima_agent": ROOT / "agent/clima_agent",
    "clima_forwarder": ROOT / "forwarder/clima_forwarder",
    "clima_elk": ROOT / "elk/clima_elk",
    "clima_dashboards": ROOT / "kibana-dashboards/clima_dashboards",
}
MAY_IMPORT = {
    "clima_core": {"clima_core"},
    "clima_agent": {"clima_core", "clima_agent"},
    "clima_forwarder": {"clima_core", "clima_forwarder", "clima_elk", "clima_dashboards"},
    "clima_elk": {"clima_core", "clima_elk"},
    "clima_dashboards": {"clima_core", "clima_elk", "clima_dashboards"},
}
MOST_LINES = 400


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(module: Path) -> Iterator[str]:
    """The first part of the name of all that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_agent_and_forwarder_share_only_the_core(package: str) -> None:
    """They run on different machines, at times in different versions: they share the wire."""
    wrong = {
        f"{module.relative_to(ROOT)} imports {name}"
        for module in modules(PACKAGES[package])
        for name in set(imported(module)) & PACKAGES.keys() - MAY_IMPORT[package]
    }
    assert set() == wrong


def test_no_module_has_a_long_tail() -> None:
    """A module that has grown past this has two subjects."""
    every = [module for folder in PACKAGES.values() for module in modules(folder)]
    lines = {
        str(each.relative_to(ROOT)): len(each.read_text("utf-8").splitlines()) for each in every
    }
    assert {} == {name: count for name, count in lines.items() if count > MOST_LINES}


def test_every_test_says_what_must_hold() -> None:
    """In a docstring: the name alone seldom does."""
    without = [
        f"{module.relative_to(ROOT)}: {node.name}"
        for module in modules(ROOT / "tests")
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert [] == without


@pytest.fixture(scope="module")
def uv() -> str:
    """The uv that runs the tests."""
    found = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    if not Path(found).exists():
        pytest.skip("needs uv, as `make test` has it")
    return found


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, as it would be published."""
    folder = tmp_path_factory.mktemp("dist")
    command = [uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Index templates, examples and the demo's data are of no use on GitHub alone."""
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    expected = {
        path.relative_to(folder.parent).as_posix()
        for folder in PACKAGES.values()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert set() == expected - names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_works_where_nothing_else_is(uv: str, wheel: Path, tmp_path: Path) -> None:
    """Installed in an empty environment, away from this folder, both commands answer."""
    environment = tmp_path / "venv"
    environ = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([uv, "venv", "--quiet", str(environment)], check=True, env=environ)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    install = [uv, "pip", "install", "--quiet", "--python", str(scripts / "python")]
    subprocess.run([*install, f"{wheel}[agent,station]"], check=True, env=environ)
    for command in (["clima", "--help"], ["clima-agent", "sample-config"]):
        found = subprocess.run(
            [str(scripts / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (0, "") == (found.returncode, found.stderr)
        assert found.stdout


def test_the_version_is_that_of_the_distribution() -> None:
    """It stands in two places, so that the agent need not look it up."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__
