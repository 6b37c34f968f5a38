"""Any ledger's retention: what is forgotten is in no answer from then on, whatever is still there of it."""

from __future__ import annotations

from typing import Any

import pytest

from openusher.ledger.base import Ledger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance.asking import NOON_MS, request, row
from tests.conformance.ledgers import LedgerBench
from tests.conformance.test_ledger_blocks import next_block, record

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000


async def record_hourly(ledger: Ledger, *, hours: int) -> list[dict[str, Any]]:
    """Two attempts an hour, from noon on."""
    rows: list[dict[str, Any]] = []
    for hour in range(hours):
        asked = [request(1, video=f"v{hour}", ip=f"192.0.2.{n}") for n in range(2)]
        rows += await record(ledger, asked, now_ms=NOON_MS + hour * HOUR_MS)
    return rows


async def shown(ledger: Ledger) -> tuple[int, list[dict[str, Any]], int]:
    """How many pend, which, and how many in their groups."""
    every = AttemptFilter()
    listed = await ledger.newest_pending(1, every, limit=100)
    grouped = await ledger.group_pending(1, every, GroupBy.VIDEO, top=None)
    return (
        (await ledger.count_pending(1, every)).count,
        [row(attempt) for attempt in listed.attempts],
        sum(group.count for group in grouped.groups),
    )


@pytest.mark.parametrize(("before_ms", "left"), [(0, 8), (HOUR_MS, 6), (HOUR_MS + 1, 4), (3 * HOUR_MS + 1, 0)])
async def test_what_is_older_is_in_no_answer_from_then_on(ledger: Ledger, before_ms: int, left: int) -> None:
    rows = await record_hourly(ledger, hours=4)
    await ledger.forget(before_ms=NOON_MS + before_ms)
    expected = rows[::-1][:left]

    assert (left, expected, left) == await shown(ledger)
    for by_key in (AttemptFilter(key="k"), AttemptFilter(user="user1"), AttemptFilter(from_ms=0)):
        assert left == (await ledger.count_pending(1, by_key)).count
    assert Horizon(upto=0, from_ms=NOON_MS + before_ms) == (await ledger.count_pending(1, AttemptFilter())).horizon
    stats = await ledger.stats()
    assert (left, NOON_MS + before_ms) == (stats.pending, stats.kept_from_ms)
    assert await ledger.check(quick=False) == []


async def test_what_is_forgotten_stays_so_through_a_restart_and_an_earlier_border(bench: LedgerBench) -> None:
    ledger = await bench.open()
    rows = await record_hourly(ledger, hours=3)
    await ledger.forget(before_ms=NOON_MS + 2 * HOUR_MS)
    await ledger.forget(before_ms=NOON_MS)
    await ledger.close()
    ledger = await bench.open()

    assert (2, rows[:3:-1], 2) == await shown(ledger)
    assert (await ledger.stats()).kept_from_ms == NOON_MS + 2 * HOUR_MS
    await ledger.close()


async def test_no_attempt_is_born_forgotten_though_the_clock_goes_back(ledger: Ledger) -> None:
    await record(ledger, [request(1)])
    await ledger.forget(before_ms=NOON_MS + HOUR_MS)
    await record(ledger, [request(1)])
    counted, listed, _ = await shown(ledger)

    assert (counted, listed[0]["at_ms"], ledger.clock_ms) == (1, NOON_MS + HOUR_MS, NOON_MS + HOUR_MS)
    assert await ledger.check(quick=False) == []


async def test_forgotten_rows_go_in_chunks_and_no_answer_changes(ledger: Ledger) -> None:
    await record_hourly(ledger, hours=4)
    assert await ledger.delete_forgotten(limit=100) == 0
    await ledger.forget(before_ms=NOON_MS + 2 * HOUR_MS + 1)
    before = await shown(ledger)
    deleted = []
    while number := await ledger.delete_forgotten(limit=4):
        deleted.append(number)
        assert await shown(ledger) == before
        assert await ledger.check(quick=False) == []

    assert deleted == [4, 2]


async def test_the_first_block_of_a_log_that_is_added_later_begins_behind_what_was_deleted(ledger: Ledger) -> None:
    await record_hourly(ledger, hours=4)
    await ledger.forget(before_ms=NOON_MS + 2 * HOUR_MS)
    await ledger.delete_forgotten(limit=3)
    block = await next_block(ledger)

    assert (block.first_id, block.last_id, block.rows) == (4, 8, 5)
    await ledger.mark_shipped(block)
    while await ledger.delete_shipped(limit=100):
        pass
    assert await ledger.check(quick=False) == []
    assert (await ledger.stats()).pending == 0


async def test_the_rows_of_a_block_under_way_stay_as_they_are_promised(ledger: Ledger) -> None:
    await record_hourly(ledger, hours=2)
    block = await next_block(ledger)
    await record(ledger, [request(1)] * 3, now_ms=NOON_MS + 2 * HOUR_MS)
    rows = await ledger.block_rows(block)
    await ledger.forget(before_ms=NOON_MS + 9 * HOUR_MS)

    assert await ledger.delete_forgotten(limit=100) == 3
    assert await ledger.delete_forgotten(limit=100) == 0
    assert await shown(ledger) == (0, [], 0)
    assert await next_block(ledger) == block
    assert await ledger.block_rows(block) == rows
    assert await ledger.check(quick=False) == []


async def test_blocks_that_were_released_stay_so(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await ledger.release_blocks(upto=7)
    await ledger.release_blocks(upto=3)
    await ledger.close()
    ledger = await bench.open()

    assert (await ledger.stats()).released_block == 7
    await ledger.close()


async def test_a_check_finds_what_retention_would_never_leave(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await record_hourly(ledger, hours=3)
    await ledger.forget(before_ms=NOON_MS + HOUR_MS)
    await ledger.close()
    bench.tamper("UPDATE attempts SET at_ms = 5 WHERE id = 3; DELETE FROM attempts WHERE id = 4")
    ledger = await bench.open()
    faults = await ledger.check(quick=False)
    await ledger.close()

    repair = "restore ledger and log from one backup"
    assert faults == [
        f"attempt 3 is older than one with a smaller id; {repair}",
        f"attempt 3 is from before what is kept; {repair}",
        f"of the attempts 3 to 6, none of them shipped or forgotten, the ledger holds 3; {repair}",
    ]
