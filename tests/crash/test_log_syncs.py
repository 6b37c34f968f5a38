"""What the attempt log syncs, counted in its system calls: each setting that its durability rests on must show."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Promise

pytestmark = [pytest.mark.crash, pytest.mark.client]

_ROOT = Path(__file__).resolve().parents[2]
# One part of 19 columns in the compact format: data, marks, primary index, skip indexes, checksums and a few more.
_FILES_OF_A_PART_MIN = 8


def _syncs(folder: Path, without: str = "") -> Counter[str]:
    """How many files and folders were synced during each step of synctrace.py."""
    trace = folder / "trace"
    calls = "trace=fsync,fdatasync,mkdir,mkdirat"
    script = [sys.executable, "-m", "tests.crash.synctrace", str(folder / "log"), "--without", without]
    command = ["strace", "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(trace), *script]
    subprocess.run(command, cwd=_ROOT, check=True, timeout=120, capture_output=True)
    found: Counter[str] = Counter()
    step = "start"
    for line in trace.read_text(errors="replace").splitlines():
        mark = re.search(r"/nowhere/mark-(\w+)", line)
        if mark:
            step = mark.group(1)
        elif re.search(r"\bf(data)?sync\(", line):
            found[step] += 1
    return found


def test_an_insert_and_a_merge_sync_every_file_and_folder_they_write(tmp_path: Path, promise: Promise) -> None:
    syncs = _syncs(tmp_path)

    assert syncs["insert2"] >= _FILES_OF_A_PART_MIN
    assert syncs["merge"] >= _FILES_OF_A_PART_MIN
    promise("Durable before answered", syncs_of_an_insert=syncs["insert2"], syncs_of_a_merge=syncs["merge"])


@pytest.mark.parametrize(
    ("setting", "step"),
    [
        ("fsync_after_insert = 0", "insert2"),
        ("fsync_part_directory = 0", "insert2"),
        ("min_rows_to_fsync_after_merge = 0", "merge"),
    ],
)
def test_without_one_of_its_settings_the_log_syncs_less(tmp_path: Path, setting: str, step: str) -> None:
    """Were a setting lost, the test above or this one would turn red: it is the setting that makes the difference."""
    (tmp_path / "as it is").mkdir()
    (tmp_path / "without").mkdir()
    whole = _syncs(tmp_path / "as it is")
    less = _syncs(tmp_path / "without", without=setting)

    assert less[step] < whole[step]
