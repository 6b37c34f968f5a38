"""Completion of the command line, as each shell asks for it; bash itself is tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def usher(tmp_path: Path) -> Path:
    """The command as it is found on a path."""
    script = tmp_path / "bin" / "usher"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom openusher.cli.main import main\n\nmain()\n")
    script.chmod(0o755)
    return script


def asked(usher: Path, how: str, **variables: str) -> str:
    environment = {**os.environ, "_USHER_COMPLETE": how, **variables}
    return subprocess.run([usher], env=environment, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("usher sta", "status"), ("usher account dis", "disable"), ("usher serve --tls-c", "--tls-cert")],
)
def test_bash_completes_what_is_typed(usher: Path, typed: str, offered: str, tmp_path: Path) -> None:
    script = tmp_path / "usher.bash"
    script.write_text(asked(usher, "source_bash"))
    words = f"COMP_WORDS=({typed}); COMP_CWORD={typed.count(' ')}"
    completing = f"source {script}; {words}; _usher_completion usher; echo ${{COMPREPLY[@]}}"
    environment = {**os.environ, "PATH": f"{usher.parent}:{os.environ['PATH']}"}
    shown = subprocess.run(
        ["bash", "-c", completing], env=environment, capture_output=True, text=True, timeout=60, check=True
    )

    assert shown.stdout.split() == [offered]


def test_zsh_and_fish_are_offered_the_same(usher: Path) -> None:
    assert "#compdef usher" in asked(usher, "source_zsh")
    assert "complete --command usher" in asked(usher, "source_fish")
    assert "status" in asked(usher, "complete_zsh", _TYPER_COMPLETE_ARGS="usher sta")
    offered = asked(usher, "complete_fish", _TYPER_COMPLETE_ARGS="usher sta", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert offered.startswith("status")


def test_a_values_words_are_offered(usher: Path) -> None:
    offered = asked(usher, "complete_zsh", _TYPER_COMPLETE_ARGS="usher serve --log ")

    assert {"chdb", "ledger"} <= set(offered.replace('"', " ").split())
