"""The lines that `make test` ends with must not call a promise kept whose test failed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

_TESTS = """
import pytest

OTHER = "Another"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one(promise, n):
    assert n != 3
    promise("One", attempts=500 * n)


@pytest.fixture
def broken():
    raise RuntimeError


def test_other(promise, broken):
    promise(OTHER, lost=0)


def test_kept(promise):
    promise("Kept", kills=2, lost=0)


def test_of_no_promise():
    assert False
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two processes"])
def test_a_promise_whose_test_failed_is_not_told_as_kept(tmp_path: Path, workers: list[str]) -> None:
    shutil.copyfile(Path(conftest.__file__), tmp_path / "conftest.py")
    (tmp_path / "test_some.py").write_text(_TESTS)
    options = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), *workers]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = ran.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if " promises " in line) + 1

    assert sorted(lines[first : first + 3]) == [
        "Another: NOT KEPT, 1 of its tests failed; by the others nothing was tried",
        "Kept: 2 kills, 0 lost",
        "One: NOT KEPT, 1 of its tests failed; by the others 1,500 attempts",
    ]
