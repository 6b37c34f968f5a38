"""Forgetting by the clock, and taking away beside those who still ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from openusher.attemptlog.plainlist import PlainListLog
from openusher.consistency import REPAIR, find_log_faults
from openusher.errors import LogDamaged
from openusher.gate import Gate
from openusher.ledger.base import Decide, EndSessions, Issue, Start
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.address import parse_address, parse_net
from openusher.model.anonymity import anonymised
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from openusher.model.session import EndedBy, SessionWish, Started
from openusher.reaper import DAY_MS, Ages, TrustedClock
from openusher.shipper import Shipper
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, new_account, request, ticket

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


def node(
    ledger: SqliteLedger,
    attempt_log: PlainListLog,
    *,
    keep_days: int = 0,
    anonymise_days: int = 0,
    wall_ms: int = NOON_MS,
) -> Usher:
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: wall_ms)
    shipper = Shipper(ledger, attempt_log, rows_min=1, age_s_max=60, wall_ms=lambda: wall_ms)
    return Usher(
        ledger,
        attempt_log,
        gate,
        shipper,
        wall_ms=lambda: wall_ms,
        ages=Ages(keep_days=keep_days, anonymise_days=anonymise_days),
    )


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
    taking_away = asyncio.create_task(usher.reaper.follow())
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
    await usher.reaper.follow()
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
    await usher.reaper.follow()

    assert await attempt_log.rows_by_block(table="attempts") == {1: 10}
    assert await usher.searching.count(1, EVERY) == 5
    assert await usher.check() == []


async def test_older_attempts_are_anonymised_and_hashed_so_whatever_of_them_is_written(ledger: SqliteLedger) -> None:
    attempt_log = PlainListLog()
    usher = node(ledger, attempt_log, wall_ms=NOON_MS + HOUR_MS)
    await usher.shipper.ship_all()
    await ledger.commit_batch([Decide(request(1, ip="192.0.2.9", user_agent="new"))], now_ms=NOON_MS + HOUR_MS)
    await usher.shipper.ship_all()
    before = dict(attempt_log._blocks)
    digests = [block.digest for block in await ledger.blocks()]
    usher = node(ledger, attempt_log, wall_ms=NOON_MS + HOUR_MS + 3 * DAY_MS - 1, anonymise_days=3)
    await usher.reaper.anonymise(before_ms=NOON_MS + HOUR_MS)
    await usher.reaper.follow()
    blocks = await ledger.blocks()

    assert digests[0] != blocks[0].digest
    assert digests[1] == blocks[1].digest
    assert {parse_address("192.0.2.0")} == {attempt.ip for attempt in attempt_log._blocks[1]}
    for written in (attempt_log._blocks[1], before[1], before[1][:4] + attempt_log._blocks[1][4:]):
        attempt_log._blocks[1] = written
        listed = await usher.searching.newest(1, EVERY, seek=0, limit=100)

        assert [parse_address("192.0.2.9")] + [parse_address("192.0.2.0")] * 10 == [attempt.ip for attempt in listed]
        assert await usher.searching.count(1, AttemptFilter(ip=parse_net("192.0.2.1"))) == 0
        assert await usher.searching.count(1, AttemptFilter(ip=parse_net("192.0.2.0/24"))) == 11
        assert await find_log_faults(ledger, attempt_log, quick=False) == []
    attempt_log._blocks[1] = [*before[1][1:], anonymised(replace(before[1][0], video="another"))]
    (fault,) = await find_log_faults(ledger, attempt_log, quick=False)
    assert fault.block == 1


async def test_what_is_not_what_was_shipped_gets_no_digest_of_its_own(ledger: SqliteLedger) -> None:
    attempt_log = PlainListLog()
    usher = node(ledger, attempt_log)
    await usher.shipper.ship_all()
    attempt_log._blocks[1][0] = replace(attempt_log._blocks[1][0], video="another")
    digests = [block.digest for block in await ledger.blocks()]
    await usher.reaper.anonymise(before_ms=NOON_MS + 1)
    with pytest.raises(LogDamaged, match="other attempts than were shipped as blocks 1 to 1"):
        await usher.reaper.follow()

    assert digests == [block.digest for block in await ledger.blocks()]
    assert (await ledger.stats()).anonymised_block == 0


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


@pytest.mark.parametrize("was_killed", [False, True])
async def test_sessions_that_ended_before_are_anonymised_while_a_node_answers_also_after_a_kill(
    ledger: SqliteLedger, was_killed: bool
) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS - 5 * DAY_MS)
    wish = SessionWish(id="s", base="v", resume_ms=HOUR_MS, idle_ms=1, hop_ms=1, hold_ms=1)
    start = Start(request(1, user_agent="a player"), wish)
    (started,) = await ledger.commit_batch([start], now_ms=NOON_MS)
    assert isinstance(started, Started)
    await ledger.commit_batch([EndSessions(numbers=[started.session.number], by=EndedBy.STOPPED)], now_ms=NOON_MS)
    wall_ms = NOON_MS + 4 * DAY_MS
    if was_killed:
        # With the border committed, and nothing else.
        await ledger.anonymise(before_ms=wall_ms - 3 * DAY_MS)
    usher = node(ledger, PlainListLog(), anonymise_days=3, wall_ms=wall_ms)
    usher.reaper._clock = TrustedClock(lambda: wall_ms, last_ms=wall_ms)
    await usher.reaper.start()
    agents = ["a player"]
    async with asyncio.timeout(10):
        while agents == ["a player"]:
            await asyncio.sleep(0.01)
            agents = [each.user_agent for each in (await ledger.ended_sessions(1, from_ms=0, limit=10)).sessions]
    await usher.reaper.close()

    assert agents == [""]
