"""Forgetting by the clock, and taking away beside those who still ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openusher.attemptlog.plainlist import PlainListLog
from openusher.consistency import REPAIR
from openusher.gate import Gate
from openusher.ledger.base import Decide
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from openusher.reaper import DAY_MS, TrustedClock
from openusher.shipper import Shipper
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, new_account, request

pytestmark = pytest.mark.anyio
EVERY = AttemptFilter()
HOUR_MS = 3_600_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    """One attempt a day at noon, for ten days; the last is of today."""
    opened = await SqliteLedger.open(tmp_path / "ledger.db")
    await opened.create_account(new_account(1))
    for day in range(9, -1, -1):
        await opened.commit_batch([Decide(request(1, video=f"{day} days old"))], now_ms=NOON_MS - day * DAY_MS)
    yield opened
    await opened.close()


class SlowLog(PlainListLog):
    """One whose counts wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        self.asked.set()
        await self.may_answer.wait()
        return await super().count(cdn, search, horizon)


def node(ledger: SqliteLedger, attempt_log: PlainListLog, *, keep_days: int = 0, wall_ms: int = NOON_MS) -> Usher:
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: wall_ms)
    shipper = Shipper(ledger, attempt_log, rows_min=1, age_s_max=60, wall_ms=lambda: wall_ms)
    return Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: wall_ms, keep_days=keep_days)


@pytest.mark.parametrize(
    ("wall_ms", "left"), [(NOON_MS, 4), (NOON_MS + HOUR_MS - 1, 4), (NOON_MS + HOUR_MS, 3), (NOON_MS + 12 * HOUR_MS, 3)]
)
async def test_a_node_forgets_before_its_first_answer_whole_hours_at_a_time(
    ledger: SqliteLedger, wall_ms: int, left: int
) -> None:
    usher = node(ledger, PlainListLog(), keep_days=3, wall_ms=wall_ms)
    await usher.reaper.start()
    counted = await usher.searching.count(1, EVERY)
    await usher.reaper.close()

    assert counted == left


async def test_a_node_that_keeps_for_ever_forgets_nothing_and_what_is_forgotten_stays_so(ledger: SqliteLedger) -> None:
    counted = []
    for keep_days in (0, 5, 8, 0):
        usher = node(ledger, PlainListLog(), keep_days=keep_days)
        await usher.reaper.start()
        counted.append(await usher.searching.count(1, EVERY))
        await usher.reaper.close()

    assert counted == [10, 6, 6, 6]


async def test_what_was_asked_before_is_answered_before_anything_is_taken_away(ledger: SqliteLedger) -> None:
    attempt_log = SlowLog()
    usher = node(ledger, attempt_log)
    await usher.shipper.ship_all()
    attempt_log.may_answer.clear()
    asked_before = asyncio.create_task(usher.searching.count(1, EVERY))
    await attempt_log.asked.wait()
    await usher.reaper.forget(before_ms=NOON_MS + 1)
    taking_away = asyncio.create_task(usher.reaper.take_away())
    asked_after = asyncio.create_task(usher.searching.count(1, EVERY))
    # Long enough to take all away, if it waited for nobody.
    done, _ = await asyncio.wait([taking_away], timeout=0.5)
    assert not done
    assert await attempt_log.rows_by_block(table="attempts") == {1: 10}
    attempt_log.may_answer.set()

    assert (await asked_before, await asked_after) == (10, 0)
    await taking_away
    assert await attempt_log.rows_by_block(table="attempts") == {}
    assert await usher.check() == []


async def test_blocks_that_are_half_gone_or_back_again_are_no_fault_and_in_no_answer(ledger: SqliteLedger) -> None:
    attempt_log = PlainListLog()
    usher = node(ledger, attempt_log, wall_ms=NOON_MS + HOUR_MS)
    await usher.shipper.ship_all()
    for video in ("a", "b"):
        await ledger.commit_batch([Decide(request(1, video=video))] * 3, now_ms=NOON_MS + HOUR_MS)
        await usher.shipper.ship_all()
    before = dict(attempt_log._blocks)
    await usher.reaper.forget(before_ms=NOON_MS + HOUR_MS)
    await usher.reaper.take_away()
    assert attempt_log._blocks.keys() == {2, 3}
    for there in (before[1], before[1][3:], []):
        attempt_log._blocks = {1: there, 2: before[2], 3: before[3]} if there else {2: before[2], 3: before[3]}
        again = node(ledger, attempt_log, wall_ms=NOON_MS + HOUR_MS)

        assert await again.check() == []
        assert await again.searching.count(1, EVERY) == 6
        assert len(await again.searching.newest(1, EVERY, seek=0, limit=100)) == 6
    del attempt_log._blocks[2]
    fault = f"table attempts does not hold block 2 (3 attempts); {REPAIR}"
    assert await node(ledger, attempt_log, wall_ms=NOON_MS + HOUR_MS).check() == [fault]


async def test_a_block_of_which_some_attempts_are_kept_stays_whole(ledger: SqliteLedger) -> None:
    attempt_log = PlainListLog()
    usher = node(ledger, attempt_log)
    await usher.shipper.ship_all()
    await usher.reaper.forget(before_ms=NOON_MS - 4 * DAY_MS)
    await usher.reaper.take_away()

    assert await attempt_log.rows_by_block(table="attempts") == {1: 10}
    assert await usher.searching.count(1, EVERY) == 5
    assert await usher.check() == []


def test_a_clock_that_jumps_ahead_is_not_trusted_for_an_hour() -> None:
    wall_ms, monotonic = NOON_MS, 0.0
    clock = TrustedClock(lambda: wall_ms, last_ms=NOON_MS - DAY_MS, monotonic=lambda: monotonic)

    def after(seconds: float, *, ahead_ms: int = 0) -> int | None:
        nonlocal wall_ms, monotonic
        monotonic += seconds
        wall_ms += int(seconds * 1_000) + ahead_ms
        return clock.now_ms()

    # A day that passed, and steps of less, are how things are.
    assert after(1) == wall_ms
    assert after(86_400, ahead_ms=HOUR_MS) == wall_ms
    assert after(60, ahead_ms=-HOUR_MS) == wall_ms
    assert after(60, ahead_ms=3650 * DAY_MS) is None
    assert after(3_000) is None
    # It was put right.
    assert after(540, ahead_ms=-3650 * DAY_MS) is None
    assert after(60) == wall_ms < NOON_MS + 3 * DAY_MS
    # And one that stays is right.
    assert after(60, ahead_ms=2 * DAY_MS) is None
    assert after(3_600) == wall_ms


def test_a_node_that_was_away_for_days_waits_and_one_that_is_new_does_not() -> None:
    assert TrustedClock(lambda: NOON_MS, last_ms=NOON_MS - 2 * DAY_MS).now_ms() is None
    assert TrustedClock(lambda: NOON_MS, last_ms=0).now_ms() == NOON_MS
