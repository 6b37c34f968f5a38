"""What a ledger's age must not cost: after a year of a block a minute there are half a million."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from openusher.ledger.base import Decide, Ledger
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.search import AttemptFilter
from tests.conformance.asking import NOON_MS, new_account, request
from tests.conformance.ledgers import each_connection

pytestmark = pytest.mark.anyio

_BLOCKS = 20_000
_SHIPPED = f"""
WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < {_BLOCKS})
INSERT INTO blocks SELECT number, 5, number, number, 1, hex(number), 1 FROM n;
UPDATE node SET last_block = {_BLOCKS}, last_attempt = {_BLOCKS}, shipped_attempt = {_BLOCKS}
"""
_BEHIND = 300_000
_IN_THE_NEXT_MONTH = f"""
WITH RECURSIVE n(number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM n WHERE number <= {_BEHIND})
INSERT INTO attempts (id, cdn, at_ms, key, pass, app, appinst, video, ip, pageurl, refurl, user_agent, server_ip, edge,
  cut, reason)
SELECT number, cdn, at_ms + 31 * 86400000, key, pass, app, appinst, video, ip, pageurl, refurl, user_agent, server_ip,
  edge, cut, reason FROM n, attempts WHERE id = 1
"""
# Steps of SQLite's machine; one row costs three at the least.
_STEPS_MAX = 1_000

QUESTIONS: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "a count": lambda ledger: ledger.count_pending(1, AttemptFilter(key="k")),
    "a list": lambda ledger: ledger.newest_pending(1, AttemptFilter(), limit=5),
    "the next block": lambda ledger: ledger.next_block(now_ms=NOON_MS),
    "shipped rows": lambda ledger: ledger.delete_shipped(limit=10),
    "the status": lambda ledger: ledger.stats(),
}


async def _of_age(file: Path) -> SqliteLedger:
    """A ledger with many shipped blocks, one that is not, and an attempt that belongs to none."""
    ledger = await SqliteLedger.open(file)
    await ledger.create_account(new_account(1))
    await ledger.close()
    with apsw.Connection(str(file)) as connection:
        connection.execute(_SHIPPED)
    connection.close()
    ledger = await SqliteLedger.open(file)
    await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
    await ledger.next_block(now_ms=NOON_MS)
    await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
    return ledger


@pytest.mark.parametrize("asked", QUESTIONS)
@pytest.mark.parametrize("is_open", [True, False], ids=["a block is under way", "none is"])
async def test_no_question_looks_at_every_block_that_was_shipped(tmp_path: Path, asked: str, is_open: bool) -> None:
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    with each_connection(lambda connection: connection.set_progress_handler(step, 1, id="steps")):
        ledger = await _of_age(tmp_path / "ledger.db")
        if not is_open:
            block = await ledger.next_block(now_ms=NOON_MS)
            assert block is not None
            await ledger.mark_shipped(block)
        # Once before, so that its connection is there.
        await ledger.stats()
        steps = 0
        await QUESTIONS[asked](ledger)
        await ledger.close()

    assert 0 < steps < _STEPS_MAX


async def test_a_month_ends_without_a_look_at_all_that_waits_behind_it(tmp_path: Path) -> None:
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    await ledger.create_account(new_account(1))
    await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
    await ledger.close()
    with apsw.Connection(str(tmp_path / "ledger.db")) as connection:
        connection.execute(_IN_THE_NEXT_MONTH)
    connection.close()
    with each_connection(lambda connection: connection.set_progress_handler(step, 1_000, id="steps")):
        ledger = await SqliteLedger.open(tmp_path / "ledger.db")
        block = await ledger.next_block(now_ms=NOON_MS)
        await ledger.close()

    assert block is not None
    assert (block.first_id, block.last_id) == (1, 1)
    assert 0 < steps < _BEHIND // 1_000


async def test_all_blocks_are_read_in_order_and_the_one_that_is_not_shipped_is_known(tmp_path: Path) -> None:
    ledger = await _of_age(tmp_path / "ledger.db")
    found = await ledger.blocks()
    await ledger.close()

    assert [block.number for block in found] == list(range(1, _BLOCKS + 2))
    assert [block.shipped for block in found] == [True] * _BLOCKS + [False]
    assert [(block.first_id, block.last_id, block.rows) for block in found[-2:]] == [
        (_BLOCKS, _BLOCKS, 1),
        (_BLOCKS + 1, _BLOCKS + 1, 1),
    ]


async def test_a_short_read_does_not_stand_behind_the_reading_of_all_blocks(tmp_path: Path) -> None:
    read_on = threading.Event()
    reading = threading.Event()

    def hold(cursor: apsw.Cursor, statement: str, values: object) -> bool:
        if "'digest', digest" in statement:
            reading.set()
            read_on.wait(60)
        return True

    def prepare(connection: apsw.Connection) -> None:
        connection.exec_trace = hold

    with each_connection(prepare):
        ledger = await _of_age(tmp_path / "ledger.db")
        blocks = asyncio.create_task(ledger.blocks())
        try:
            assert await asyncio.to_thread(reading.wait, 60)

            assert await asyncio.wait_for(ledger.ticket(1, "nobody's"), 10) is None
        finally:
            read_on.set()
            assert len(await blocks) == _BLOCKS + 1
            await ledger.close()
