"""The wheel: it has everything, says what it needs, and works in an environment of its own, outside of the checkout."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from openusher import __version__
from tests.packaged import ROOT, build_wheel, install_wheel, outside

SRC = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def usher(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheel(wheel, tmp_path_factory.mktemp("environment"))


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    here = {
        str(path.relative_to(SRC))
        for path in (SRC / "openusher").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert here == packed
    assert {".sql", ".conf", ".lua", ".php", ".yaml"} <= {Path(name).suffix for name in packed}


def normal(distribution: str) -> str:
    """Its name as all spellings of it are compared."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_wheel_needs_what_the_code_imports_and_nothing_else(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    lines = (line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line)
    needed = {normal(re.split(r"[^\w.-]", line)[0]) for line in lines}
    imported = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    modules = imported - set(sys.stdlib_module_names) - {"openusher"}
    providers = {module: set(map(normal, packages_distributions()[module])) for module in modules}

    assert (metadata["Name"], metadata["Version"]) == ("openusher", __version__)
    assert {module for module, provided_by in providers.items() if not needed & provided_by} == set()
    # The parser of the server, which takes it where it is there, and does not ask for it.
    assert needed - set().union(*providers.values()) == {"httptools"}


def test_it_is_the_wheel_that_runs(usher: Path, tmp_path: Path) -> None:
    python = usher.with_name("python")
    found = outside(python, "-c", "import openusher; print(openusher.__file__)", folder=tmp_path)

    assert found.stdout.startswith(str(usher.parents[1])), found.stderr
    assert outside(usher, "--version", folder=tmp_path).stdout == f"usher {__version__}\n"


@pytest.mark.parametrize("log", ["ledger", "chdb"])
def test_the_demo_runs_from_the_wheel(usher: Path, log: str, tmp_path: Path) -> None:
    demo = outside(usher, "demo", "--log", log, folder=tmp_path)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "each on disk before it was answered" in demo.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_python_is_found_in_the_wheel(usher: Path, tmp_path: Path) -> None:
    """The tables of a new ledger, and an edge's configuration."""
    data = ("--data", str(tmp_path / "data"))
    assert outside(usher, "account", "create", "acme", "--cdn", "158", *data, folder=tmp_path).returncode == 0
    made = outside(usher, "edge", "create", "158", "--kind", "nginx", *data, folder=tmp_path)
    assert (made.returncode, "auth_request" in made.stdout) == (0, True), made.stderr
    assert "function" in outside(usher, "edge", "lua", folder=tmp_path).stdout
