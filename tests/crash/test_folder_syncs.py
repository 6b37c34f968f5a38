"""A data folder that was just made is on the disk, by name, before anything in it is answered: seen in system calls."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.crash, pytest.mark.client]


def _calls_of_a_first_command(data: Path, trace: Path) -> list[str]:
    """The system calls of making an account in a folder that is not there, each with the paths of its descriptors."""
    calls = "trace=fsync,fdatasync,mkdir,openat,write"
    command = [sys.executable, "-m", "openusher", "account", "create", "acme", "--data", str(data), "--json"]
    traced = ["strace", "-f", "-y", "-qq", "-s", "200", "-e", calls, "-e", "signal=none", "-o", str(trace), *command]
    subprocess.run(traced, check=True, timeout=120, capture_output=True)
    return trace.read_text(errors="replace").splitlines()


def _first(calls: list[str], pattern: str, *, after: int = 0) -> int:
    for number, call in enumerate(calls[after:], after):
        if re.search(pattern, call):
            return number
    raise AssertionError(f"no call of {pattern} after {calls[after]}")


def test_a_new_folder_and_its_ledger_are_synced_by_name_before_the_first_answer(tmp_path: Path) -> None:
    data = tmp_path / "a" / "new" / "data"
    calls = _calls_of_a_first_command(data, tmp_path / "trace")
    answer = _first(calls, r"write\(1<.*edge_token")
    for folder in (data, *data.parents[:2]):
        made = _first(calls, rf'mkdir\("{folder}", \d+\) += 0')
        assert _first(calls, rf"sync\(\d+<{folder.parent}>\)", after=made) < answer
    made = _first(calls, rf'openat\(.*"{data}/ledger\.db", .*O_CREAT')
    assert _first(calls, rf"sync\(\d+<{data}>\)", after=made) < answer


def test_a_folder_that_is_there_is_not_synced_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    calls = _calls_of_a_first_command(data, tmp_path / "trace")

    assert not [call for call in calls if re.search(rf"sync\(\d+<{tmp_path}>\)", call)]
