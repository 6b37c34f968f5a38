"""Retention, killed at each step: an attempt is in every answer or in none, whatever is still there of what was
forgotten."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openusher.attemptlog.embedded import open_embedded_log
from openusher.ledger.sqlite import SqliteLedger
from tests.conftest import Promise
from tests.crash.agedfolder import DAY_MS, Past, by_day, counted_by_day, make_folder
from tests.crash.load import NO_ANSWER
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

KEEP_DAYS = 40
HOUR_MS = 3_600_000
_NODE = ("-m", "tests.crash.crashnode")
_KEEP = ("--keep-days", str(KEEP_DAYS))
_GONE_S_MAX = 60.0


class Aged:
    """A stopped node's folder with a past of 70 days, and what was in it."""

    def __init__(self, data: Path, account: Account, past: Past, *flags: str) -> None:
        self.data, self.account, self.past, self.flags = data, account, past, flags

    @classmethod
    def made(cls, data: Path, *flags: str) -> Aged:
        return cls(data, *make_folder(data, *flags), *flags)

    def copy(self, data: Path) -> Aged:
        shutil.copytree(self.data, data, symlinks=True)
        return Aged(data, self.account, self.past, *self.flags)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(usher("status", "--data", str(self.data), "--json").stdout)
        return found

    def kept_from_ms(self) -> int:
        """What the node says, where it can be right."""
        from_ms = int(self.status()["kept_from_ms"])
        due_ms = time.time_ns() // 1_000_000 - KEEP_DAYS * DAY_MS
        assert due_ms - 2 * HOUR_MS < from_ms <= due_ms
        return from_ms

    def compare(self, node: Node) -> None:
        """Every answer of the running node is what the list of its past says."""
        with node.connect() as connection:
            expected = by_day(self.past, from_ms=self.kept_from_ms())

            assert expected == counted_by_day(connection, self.account)
            assert sum(expected.values()) == connection.count(self.account)
            assert sum(expected.values()) == connection.count(self.account, ip="192.0.2.0/24")

    def check(self) -> None:
        checked = usher("check", "--data", str(self.data), *(("--log", "ledger") if "ledger" in self.flags else ()))
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def die_at(self, step: str) -> list[dict[str, int]]:
        """Start a node that forgets, and dies at that step; what it counted until then."""
        node = Node(self.data, *_KEEP, *self.flags, "--die-at-reap", step, command=_NODE)
        counted: list[dict[str, int]] = []
        try:
            node.start()
        except AssertionError:
            # It may die before it is ready.
            assert node.process.wait(30) == -signal.SIGKILL
            return counted
        with Connection(node.url, timeout_s=20) as connection:
            while node.process.poll() is None:
                try:
                    counted.append(counted_by_day(connection, self.account))
                except NO_ANSWER:
                    break
        assert node.process.wait(30) == -signal.SIGKILL
        return counted

    def forget_and_take_away(self) -> None:
        """Run the node until it has done both."""
        done = "attempts.deleted" if "ledger" in self.flags else "blocks.removed"
        with running_node(self.data, *_KEEP, *self.flags) as node:
            _await(lambda: done in node.log_file.read_text())

    def await_gone(self, gone: set[str]) -> None:
        """Return when the log has none of these blocks: it takes its time, and goes on after each start."""
        _await(lambda: not gone & self.rows_left())

    def rows_left(self) -> set[str]:
        """What the stopped node's files have rows of: videos in the ledger, blocks in the log."""
        return asyncio.run(self._rows_left())

    async def _rows_left(self) -> set[str]:
        ledger = await SqliteLedger.open(self.data / "ledger.db")
        found = await ledger._readers.ask(lambda c: {video for (video,) in c.execute("SELECT video FROM attempts")})
        await ledger.close()
        if "ledger" in self.flags:
            return found
        attempt_log = open_embedded_log(self.data / "log", memory_bytes_max=1_500_000_000, count_s_max=30)
        await attempt_log.start()
        held = await attempt_log.rows_by_block(table="attempts")
        await attempt_log.close()
        return found | {f"block {number}" for number in held}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Aged:
    return Aged.made(tmp_path_factory.mktemp("shipped") / "data")


@pytest.fixture(scope="module")
def ledger_only(tmp_path_factory: pytest.TempPathFactory) -> Aged:
    return Aged.made(tmp_path_factory.mktemp("ledger") / "data", "--log", "ledger")


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("shipped", "forgotten"),
        ("shipped", "released"),
        ("shipped", "removed"),
        ("ledger_only", "forgotten"),
        ("ledger_only", "deleted"),
    ],
)
def test_a_node_killed_while_it_forgets_counts_what_is_kept_before_and_after(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, step: str, promise: Promise
) -> None:
    made: Aged = request.getfixturevalue(kind)
    aged = made.copy(tmp_path / "data")
    counted = aged.die_at(step)
    expected = by_day(aged.past, from_ms=aged.kept_from_ms())
    assert all(seen == expected for seen in counted)
    # As it was left, with more to be kept, which brings nothing back; and to the end.
    for keep_days in ("60", str(KEEP_DAYS)):
        with running_node(aged.data, *aged.flags, "--keep-days", keep_days) as node:
            aged.compare(node)
            aged.check()
    aged.check()

    promise("Counted exactly once", kills_while_forgetting=1, counts_while_forgetting=len(counted))


def test_what_is_forgotten_is_gone_from_the_log(shipped: Aged, tmp_path: Path) -> None:
    aged = shipped.copy(tmp_path / "data")
    before = aged.rows_left()
    aged.forget_and_take_away()
    released = int(aged.status()["released_block"])
    gone = {f"block {number}" for number in range(1, released + 1)}

    assert 28 <= released <= 31
    aged.await_gone(gone)
    assert before - gone == aged.rows_left()


def test_what_is_forgotten_is_gone_from_a_ledger_that_is_its_own_log(ledger_only: Aged, tmp_path: Path) -> None:
    aged = ledger_only.copy(tmp_path / "data")
    aged.forget_and_take_away()
    from_ms = aged.kept_from_ms()

    assert {video for at_ms, video in aged.past if at_ms >= from_ms} == aged.rows_left()


def test_what_comes_back_after_a_kill_is_in_no_answer_and_goes_again(shipped: Aged, tmp_path: Path) -> None:
    """A kill may bring back a partition that was dropped, or half of it: both made by hand here."""
    aged = shipped.copy(tmp_path / "data")
    aged.forget_and_take_away()
    gone = {f"block {number}" for number in range(1, int(aged.status()["released_block"]) + 1)}
    aged.await_gone(gone)
    shutil.rmtree(aged.data / "log")
    shutil.copytree(shipped.data / "log", aged.data / "log", symlinks=True)
    for part in _parts(aged.data / "log")[1:]:
        shutil.rmtree(part)
    assert 0 < len(aged.rows_left() & gone) < len(gone)

    with running_node(aged.data, *aged.flags) as node:
        aged.compare(node)
        aged.check()
        _await(lambda: "blocks.removed" in node.log_file.read_text().split("log.started")[-1])
        aged.compare(node)
    aged.await_gone(gone)
    aged.check()


def test_a_kept_block_that_is_gone_is_still_a_fault(shipped: Aged, tmp_path: Path) -> None:
    aged = shipped.copy(tmp_path / "data")
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


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _GONE_S_MAX
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
