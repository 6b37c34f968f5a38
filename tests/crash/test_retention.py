"""Retention, killed at each step: an attempt is in every answer or in none, whatever is still there of what was
forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Promise
from tests.crash.agedfolder import AGE_DAYS, Aged, by_day, wait_until
from tests.nodes import running_node, usher

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

_KEEP = ("--keep-days", str(AGE_DAYS))


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("aged_with_log", "forgotten"),
        ("aged_with_log", "released"),
        ("aged_with_log", "removed"),
        ("aged_ledger_only", "forgotten"),
        ("aged_ledger_only", "deleted"),
    ],
)
def test_a_node_killed_while_it_forgets_counts_what_is_kept_before_and_after(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, step: str, promise: Promise
) -> None:
    made: Aged = request.getfixturevalue(kind)
    aged = made.copy(tmp_path / "data")
    counted = aged.die_at(step, *_KEEP)
    expected = by_day(aged.past, from_ms=aged.border_ms())
    assert all(seen == expected for seen in counted)
    # As it was left, with more to be kept, which brings nothing back; and to the end.
    for keep_days in ("60", str(AGE_DAYS)):
        with running_node(aged.data, *aged.flags, "--keep-days", keep_days) as node:
            aged.compare(node)
            aged.check()
    aged.check()

    promise("Counted exactly once", kills_while_forgetting=1, counts_while_forgetting=len(counted))


def test_what_is_forgotten_is_gone_from_the_log(aged_with_log: Aged, tmp_path: Path) -> None:
    aged = aged_with_log.copy(tmp_path / "data")
    before = aged.rows_left()
    aged.forget_and_take_away()
    released = int(aged.status()["released_block"])
    gone = {f"block {number}" for number in range(1, released + 1)}

    assert 28 <= released <= 31
    aged.await_gone(gone)
    assert before - gone == aged.rows_left()


def test_what_is_forgotten_is_gone_from_a_ledger_that_is_its_own_log(aged_ledger_only: Aged, tmp_path: Path) -> None:
    aged = aged_ledger_only.copy(tmp_path / "data")
    aged.forget_and_take_away()
    from_ms = aged.border_ms()

    assert {video for at_ms, video in aged.past if at_ms >= from_ms} == aged.rows_left()


def test_what_comes_back_after_a_kill_is_in_no_answer_and_goes_again(aged_with_log: Aged, tmp_path: Path) -> None:
    """A kill may bring back a partition that was dropped, or half of it: both made by hand here."""
    aged = aged_with_log.copy(tmp_path / "data")
    aged.forget_and_take_away()
    gone = {f"block {number}" for number in range(1, int(aged.status()["released_block"]) + 1)}
    aged.await_gone(gone)
    shutil.rmtree(aged.data / "log")
    shutil.copytree(aged_with_log.data / "log", aged.data / "log", symlinks=True)
    for part in _parts(aged.data / "log")[1:]:
        shutil.rmtree(part)
    assert 0 < len(aged.rows_left() & gone) < len(gone)

    with running_node(aged.data, *aged.flags) as node:
        aged.compare(node)
        aged.check()
        wait_until(lambda: "blocks.removed" in node.log_file.read_text().split("log.started")[-1])
        aged.compare(node)
    aged.await_gone(gone)
    aged.check()


def test_a_kept_block_that_is_gone_is_still_a_fault(aged_with_log: Aged, tmp_path: Path) -> None:
    aged = aged_with_log.copy(tmp_path / "data")
    aged.forget_and_take_away()
    for part in _parts(aged.data / "log", newest=True):
        shutil.rmtree(part)
    with running_node(aged.data) as node, node.connect() as connection:
        reply = connection.call(aged.account, "sevu.errorcount")

        assert reply["code"] == 2053
    assert usher("check", "--data", str(aged.data)).returncode == 3


def _parts(log: Path, *, newest: bool = False) -> list[Path]:
    """The parts of the oldest month, or the newest, that have rows, by their place in it."""
    found = [path for path in (log / "chdb" / "store").rglob("20????_*_*_*") if path.is_dir()]
    months = sorted({path.name[:6] for path in found})
    month = months[-1] if newest else months[0]
    return sorted((path for path in found if path.name.startswith(month)), key=lambda path: path.name)
