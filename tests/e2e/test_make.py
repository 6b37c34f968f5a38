"""`make run` after the first time sets up and fetches nothing; and what it says where it cannot begin."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_DEMO = ".venv/bin/usher demo"
_SERVE = ".venv/bin/usher serve"
_READY = Path(".venv/.ready")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make reads of this project, an hour old, without a `.venv`."""
    copy = tmp_path / "usher"
    shutil.copytree(_ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tests").mkdir()
    for name in ("Makefile", "README.md", "pyproject.toml", "packages.txt", "tests/check-python"):
        shutil.copy(_ROOT / name, copy / name)
    for path in _files(copy):
        _age(path, minutes=60)
    return copy


@pytest.fixture
def ready(checkout: Path) -> Path:
    """The same where `make run` has been run half an hour ago: its programs are those that run this test."""
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (checkout / _READY).touch()
    _age(checkout / _READY, minutes=30)
    return checkout


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _age(path: Path, *, minutes: int) -> None:
    changed_s = time.time() - 60 * minutes
    os.utime(path, (changed_s, changed_s))


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run it as from a shell, also where these tests were started by make, which hands its own settings down."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def _planned(folder: Path, target: str) -> list[str]:
    """The commands that `make` would run for `target`."""
    plan = _run(folder, "make", "-n", target)
    assert plan.returncode == 0, plan.stderr
    return plan.stdout.splitlines()


def test_a_second_run_does_nothing_but_start_whatever_was_edited(ready: Path) -> None:
    for path in _files(ready):
        if path not in (ready / "pyproject.toml", ready / _READY):
            path.touch()

    assert _planned(ready, "run") == [_DEMO]
    assert _planned(ready, "serve") == [_SERVE]


def test_a_pyproject_that_was_written_anew_is_set_up_again_once(ready: Path) -> None:
    """As git does when another version is checked out, whether or not that is older."""
    (ready / "pyproject.toml").touch()
    again = _planned(ready, "run")
    (ready / _READY).touch()

    assert any(" -m venv " in command for command in again)
    assert any(" -m pip install " in command for command in again)
    assert again[-2:] == [f"touch {_READY}", _DEMO]
    assert _planned(ready, "run") == [_DEMO]


def test_a_set_up_that_did_not_come_to_its_end_is_begun_again(ready: Path) -> None:
    (ready / _READY).unlink()

    assert any(" -m pip install " in command for command in _planned(ready, "run"))


@pytest.mark.client
def test_a_second_run_installs_nothing_and_connects_to_nothing_but_its_own_node(ready: Path) -> None:
    trace = ready / "trace"
    only = ("-e", "trace=connect,execve", "-e", "signal=none", "-s", "1000")
    ran = _run(ready, "strace", "-f", "-qq", "--seccomp-bpf", *only, "-o", str(trace), "make", "run")
    assert ran.returncode == 0, ran.stderr
    lines = trace.read_text(errors="replace").splitlines()
    connects = [line for line in lines if " connect(" in line]
    addresses = {_address(line) for line in connects}
    commands = [re.findall(r'"([^"]*)"', line) for line in lines if " execve(" in line]
    port = re.search(r" to http://127\.0\.0\.1:([0-9]+)\.", ran.stdout)

    assert port is not None
    assert {f"127.0.0.1:{port[1]}", "admin.sock"} == addresses
    assert any({"openusher", "serve"} <= set(command) for command in commands)
    assert [command for command in commands if {"pip", "ensurepip", "venv"} & set(command)] == []


def _address(line: str) -> str:
    """Whom a traced connect() was for: address and port, or a unix socket's name; the line where it was neither."""
    inet = re.search(r'sin_port=htons\(([0-9]+)\), sin_addr=inet_addr\("([0-9.]+)"\)', line)
    if inet:
        return f"{inet[2]}:{inet[1]}"
    unix = re.search(r'sun_path="([^"]+)"', line)
    return Path(unix[1]).name if unix else line


def _python(folder: Path, *, version: str, without: str = "") -> str:
    """A Python that says it is of that version, and lacks the module `without`."""
    program = folder / "python"
    numbers = version.replace(".", ", ")
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -V ] && echo "Python {version}" && exit\n'
        f'exec {sys.executable} -c \'import sys; sys.version_info = ({numbers}); sys.modules["{without}"] = None; '
        'exec(sys.argv[2])\' "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("version", "without", "said"),
    [
        ("3.10.14", "", "usher needs Python 3.11 or newer; '{python}' is Python 3.10.14. Try: make PYTHON=python3.11"),
        ("2.7.18", "", "usher needs Python 3.11 or newer; '{python}' is Python 2.7.18. Try: make PYTHON=python3.11"),
        ("3.11.2", "ensurepip", "usher needs Python's venv module. On Debian: apt install python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_named_before_anything_is_made(
    checkout: Path, tmp_path: Path, version: str, without: str, said: str
) -> None:
    python = _python(tmp_path, version=version, without=without)
    refused = _run(checkout, "make", "run", f"PYTHON={python}")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert said.format(python=python) == refused.stderr.splitlines()[0]
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_not_there_is_named(checkout: Path) -> None:
    refused = _run(checkout, "make", "run", "PYTHON=python3.99")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        refused.stderr.splitlines()[0]
        == "usher needs Python 3.11 or newer; 'python3.99' was not found. On Debian: apt install python3 python3-venv"
    )


@pytest.mark.parametrize("version", ["3.11.0", "3.14.1", "4.0.0"])
def test_a_python_of_3_11_or_newer_will_do(checkout: Path, tmp_path: Path, version: str) -> None:
    checked = _run(checkout, "tests/check-python", _python(tmp_path, version=version))

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
