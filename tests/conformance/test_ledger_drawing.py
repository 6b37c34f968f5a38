"""When a ledger draws its next batch: as late as it can, so that the batch holds all who wait by then."""

from __future__ import annotations

import asyncio

import pytest

from openusher.ledger.base import Drawn, Ledger, Operation
from tests.conformance.asking import NOON_MS
from tests.conformance.ledgers import Fault, LedgerBench
from tests.conformance.test_ledger import ask, commit, issue, reasons

pytestmark = pytest.mark.anyio


async def test_a_batch_is_drawn_once_and_not_before_the_ledger_can_begin_on_it(
    bench: LedgerBench, ledger: Ledger
) -> None:
    """So that whoever comes while another batch is written is in the next one."""
    waiting: list[Operation] = [issue()]
    drawn: list[int] = []
    loop, began = asyncio.get_running_loop(), asyncio.Event()

    def draw() -> Drawn:
        taken = list(waiting)
        waiting.clear()
        drawn.append(len(taken))
        loop.call_soon_threadsafe(began.set)
        return Drawn(operations=taken, now_ms=NOON_MS)

    bench.fault = Fault.SYNC_HANGS
    early = [asyncio.ensure_future(ledger.commit_next(draw))]
    await began.wait()
    # Those that stand ready for it to begin on.
    for _ in range(bench.batches_ahead):
        waiting.append(ask())
        began.clear()
        early.append(asyncio.ensure_future(ledger.commit_next(draw)))
        await began.wait()
    waiting.append(ask())
    second = asyncio.ensure_future(ledger.commit_next(draw))
    # Whatever it does at once, it has done by then.
    for _ in range(100):
        await asyncio.sleep(0)
    waiting.append(ask())
    bench.fault = Fault.NONE

    assert [len(await batch) for batch in early] == [1] * len(early)
    assert reasons(await second) == ["", ""]
    assert drawn == [1] * len(early) + [2]


async def test_a_draw_that_finds_nobody_waiting_writes_nothing(bench: LedgerBench, ledger: Ledger) -> None:
    with bench.statements() as statements:
        outcomes = await ledger.commit_next(lambda: Drawn(operations=[], now_ms=NOON_MS + 1))

    assert (outcomes, list(statements)) == ([], [])


async def test_a_draw_that_fails_is_its_askers_alone(ledger: Ledger) -> None:
    def fail() -> Drawn:
        raise RuntimeError("nothing to draw from")

    await commit(ledger, issue())
    with pytest.raises(RuntimeError):
        await ledger.commit_next(fail)

    assert reasons(await commit(ledger, ask())) == [""]
