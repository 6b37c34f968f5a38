"""Moves attempts from the ledger to the attempt log in blocks, each exactly once, through every crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

from openusher.attemptlog.base import AttemptLog, Held, Rows
from openusher.consistency import find_row_faults
from openusher.errors import CountUnavailable, LogDamaged, LogUnavailable, StoreError
from openusher.ledger.base import Ledger, LedgerStats
from openusher.logs import event_log
from openusher.model.block import BLOCK_ROWS_MAX, Block
from openusher.model.limits import INTEGER_MAX
from openusher.tally import SHIP_BOUNDS_S, Distribution

# Rows deleted in one commit: few enough that a decision waiting behind it does not notice.
_DELETED_ROWS = 2_000
# For so long the attempts of the last block stay in the ledger too: a question that was asked before it moved, and is
# asked again, then finds all that came since there, and needs nothing of the log.
_LAST_BLOCK_STAYS_S = 60.0
_POLL_S = 1.0
_RETRY_S_MAX = 30.0

log = event_log()


class Step(StrEnum):
    """The moments at which a crash must lose and repeat nothing; the crash tests stop the node at each."""

    ASSIGNED = "assigned"
    READ = "read"
    INSERTED = "inserted"
    VERIFIED = "verified"
    DERIVED = "derived"
    SHIPPED = "shipped"
    DELETED = "deleted"


class Shipper:
    """One for a ledger. Ships when `rows_min` attempts wait or the oldest has waited `age_s_max`.

    Rows go by `rows_file` where there is one, and not through this process. `fault` is a sentence once ledger and log
    disagree; from then on nothing is shipped and nothing counted.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt_log: AttemptLog,
        *,
        rows_min: int,
        age_s_max: float,
        wall_ms: Callable[[], int],
        rows_file: Path | None = None,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self._ledger = ledger
        self._log = attempt_log
        self._rows_min = min(rows_min, BLOCK_ROWS_MAX)
        self._age_ms_max = age_s_max * 1000
        self._wall_ms = wall_ms
        self._rows_file = rows_file
        self._on_step = on_step
        self._verified_start = -1
        self._verifying = asyncio.Lock()
        self._shipping = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._last_goes_at = 0.0
        self.fault: str | None = None
        # How long each block took until the log was seen to hold it, and how many attempts were in them.
        self.took_s = Distribution.within(SHIP_BOUNDS_S)
        self.shipped_attempts = 0
        # How often shipping failed and was put off.
        self.put_off = 0

    def lag_ms(self, oldest_pending_ms: int | None) -> int:
        """For how long the oldest pending attempt should have been shipped by now; 0 where it is not due."""
        if oldest_pending_ms is None:
            return 0
        return max(0, self._wall_ms() - oldest_pending_ms - int(self._age_ms_max))

    def start(self) -> None:
        if self._log.ships:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="shipper")

    async def close(self) -> None:
        """Stop between two steps; what is half done is taken up at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """A while in which no block moves: the one under way is finished first. Attempts wait in the ledger."""
        async with self._shipping:
            yield

    async def be_verified(self) -> None:
        """Return once the log, since its last start, is known to hold what the ledger says it must.

        Raises CountUnavailable when it does not, LogUnavailable when it cannot be asked.
        """
        if not self._log.ships or (self.fault is None and self._verified_start == self._log.starts):
            return
        async with self._verifying:
            # It may be started again meanwhile: what was seen then is of no use.
            while self._verified_start != (start := self._log.starts):
                await self._verify()
                self._verified_start = start
        if self.fault is not None:
            raise CountUnavailable(f"{self.fault}; run usher check")

    async def _verify(self) -> None:
        # The ledger first: a block that is shipped while we ask is then one that may be there or not.
        blocks = await self._ledger.blocks()
        self.fault = None
        for fault in (await find_row_faults(self._ledger, self._log, blocks))[:1]:
            self._fail(fault.found)
        for block in blocks:
            if not block.shipped:
                await self._verify_unshipped(block)

    async def _verify_unshipped(self, block: Block) -> None:
        """A block between two steps is in each table whole or not at all; a fault seen before is not forgotten."""
        for table in await self._log.tables():
            try:
                await self._holds(block, table)
            except LogDamaged:
                if self.fault is None:
                    raise

    def _fail(self, fault: str) -> None:
        self.fault = fault
        log.error("shipper.stopped", fault=fault)

    async def _run(self) -> None:
        retry_s = _POLL_S
        while True:
            try:
                await self.be_verified()
                async with self._shipping:
                    stats = await self._ledger.stats()
                    await self._derive(stats.shipped_block, released=stats.released_block)
                if self._is_due(stats):
                    await self.ship_next()
                else:
                    if time.monotonic() >= self._last_goes_at:
                        await self._delete_shipped()
                    await asyncio.sleep(_POLL_S)
                retry_s = _POLL_S
            except Exception as error:
                # Nobody awaits this task: whatever broke must be seen, and must not end shipping for good.
                self.put_off += 1
                is_known = isinstance(error, StoreError)
                log.warning("shipper.waited", error=error if is_known else None, exc_info=None if is_known else error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_S_MAX)

    def _is_due(self, stats: LedgerStats) -> bool:
        if stats.last_block > stats.shipped_block or stats.pending >= self._rows_min:
            return True
        oldest = stats.oldest_pending_ms
        return oldest is not None and self._wall_ms() - oldest >= self._age_ms_max

    async def ship_all(self) -> int:
        """Ship until nothing is pending; returns the number of blocks. For a clean stop, checks and tests."""
        shipped = 0
        await self.be_verified()
        while await self.ship_next():
            shipped += 1
        await self._delete_shipped()
        return shipped

    async def ship_next(self) -> bool:
        """Ship the oldest block there is to ship; False when no attempt is pending, or there is no log to ship to.

        Raises LogDamaged when the log holds something else under its number, LogUnavailable and the ledger's errors
        when it must be tried again.
        """
        if not self._log.ships:
            return False
        # One at a time: two that both see that a table holds nothing of a block would both insert it.
        async with self._shipping:
            block = await self._ledger.next_block(now_ms=self._wall_ms())
            if block is None:
                return False
            await self._ship(block)
            return True

    async def _ship(self, block: Block) -> None:
        began = time.perf_counter()
        self._on_step(Step.ASSIGNED)
        rows: Rows | None = None
        for table in await self._log.tables():
            # Read back before every insert: the log's own deduplication forgets, across crashes and many blocks.
            if await self._holds(block, table):
                continue
            if rows is None:
                rows = await self._read(block)
                self._on_step(Step.READ)
            await self._log.insert(block, rows, table=table)
            self._on_step(Step.INSERTED)
            if not await self._holds(block, table):
                raise LogUnavailable(f"table {table} took block {block.number} but does not show it")
        self._on_step(Step.VERIFIED)
        await self._derive(block.number, released=(await self._ledger.stats()).released_block)
        self._on_step(Step.DERIVED)
        if self._rows_file is not None:
            await asyncio.to_thread(self._rows_file.unlink, missing_ok=True)
        await self._ledger.mark_shipped(block)
        self.took_s.add(time.perf_counter() - began)
        self.shipped_attempts += block.rows
        self._on_step(Step.SHIPPED)
        log.info("block.shipped", number=block.number, rows=block.rows)
        self._last_goes_at = time.monotonic() + _LAST_BLOCK_STAYS_S
        await self._delete_shipped(upto=block.first_id - 1)
        self._on_step(Step.DELETED)

    async def _derive(self, upto: int, *, released: int) -> None:
        """While nothing else changes the log. Where it fails, answers take longer, and it is tried again."""
        try:
            await self._log.derive(upto, released=released)
        except StoreError as error:
            log.warning("log.not_derived", upto=upto, error=error)

    async def _read(self, block: Block) -> Rows:
        if self._rows_file is None:
            return await self._ledger.block_rows(block)
        await self._ledger.write_rows(block, str(self._rows_file))
        return self._rows_file

    async def _holds(self, block: Block, table: str) -> bool:
        held = await self._log.held(block.number, table=table)
        expected = Held(rows=block.rows, first_id=block.first_id, last_id=block.last_id, digest=block.digest)
        if held.rows == 0:
            return False
        if held == expected:
            return True
        self._fail(f"table {table} of the attempt log holds something else as block {block.number}")
        raise LogDamaged(f"{self.fault}; run usher check")

    async def _delete_shipped(self, *, upto: int = INTEGER_MAX) -> None:
        while await self._ledger.delete_shipped(limit=_DELETED_ROWS, upto=upto) == _DELETED_ROWS:
            pass
