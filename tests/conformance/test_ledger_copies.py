"""What any ledger promises of a copy of itself: all of it as of one moment, for its owner only, while it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openusher.ledger.base import Decide, Ledger
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.search import AttemptFilter
from tests.conformance.asking import NOON_MS, request

pytestmark = pytest.mark.anyio


async def test_a_copy_is_of_one_moment_and_says_of_which(ledger: Ledger, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    # Of a copy that was broken off.
    copy.write_text("half of one")
    await ledger.commit_batch([Decide(request(1))] * 5, now_ms=NOON_MS)
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    await ledger.mark_shipped(block)
    stopped = asyncio.Event()

    async def go_on() -> int:
        batches = 0
        while not stopped.is_set():
            await ledger.commit_batch([Decide(request(1))] * 3, now_ms=NOON_MS)
            batches += 1
        return batches

    going_on = asyncio.get_running_loop().create_task(go_on())
    await asyncio.sleep(0)
    told = await ledger.copy_to(str(copy))
    stopped.set()
    batches = await going_on
    copied = await SqliteLedger.open(copy)
    try:
        stats, faults = await copied.stats(), await copied.check(quick=False)
        pending = (await copied.count_pending(1, AttemptFilter())).count
    finally:
        await copied.close()

    assert (told, []) == (stats, faults)
    assert (told.shipped_block, told.pending) == (block.number, pending)
    assert (told.last_attempt_id - 5) % 3 == 0
    assert 5 <= told.last_attempt_id <= 5 + 3 * batches
    assert copy.stat().st_mode & 0o777 == 0o600
