"""Forgets attempts that are older than they are to be kept, and anonymises those that are older than another age.

Both are one commit of the ledger, which every question obeys from then on. What ledger and log still have beyond that
is of no matter to any answer, so it may go piece by piece, through every crash.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from openusher.attemptlog.base import AttemptLog
from openusher.errors import LogDamaged, StoreError
from openusher.ledger.base import Ledger
from openusher.logs import event_log
from openusher.model.block import BLOCK_ROWS_MAX, Block
from openusher.shipper import Shipper

_HOUR_MS = 3_600_000
DAY_MS = 24 * _HOUR_MS
_PASS_S = 60.0
# Rows deleted or changed in one commit, as the shipper does it.
_WRITTEN_ROWS = 2_000
# Taking away or anonymising a part of a month writes that month anew.
_REWRITE_EVERY_S = 86_400.0
# Of the log, read and hashed in one go.
_HASHED_ROWS = 3 * BLOCK_ROWS_MAX
# How long questions that began before something was forgotten are waited for.
_ANSWERED_S_MAX = 30.0
# A clock that is so far ahead of where it should be has this long to be put right: nothing brings back what it forgets.
_CLOCK_AHEAD_MS_MAX = DAY_MS
_CLOCK_WAIT_S = 3_600.0

log = event_log()


class ReapStep(StrEnum):
    """The moments at which a crash must change no answer; the crash tests stop the node at each."""

    FORGOTTEN = "forgotten"
    DELETED = "deleted"
    RELEASED = "released"
    REMOVED = "removed"
    ANONYMISED = "anonymised"
    HASHED = "hashed"
    REWRITTEN = "rewritten"


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days attempts are kept, and for how many whole; 0: for ever."""

    keep_days: int = 0
    anonymise_days: int = 0


class Reaper:
    """One for a ledger. Keeps attempts as `ages` says, to the hour.

    `answered` returns once every question that was asked before it was called has its answer.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt_log: AttemptLog,
        shipper: Shipper,
        *,
        ages: Ages,
        answered: Callable[[], Awaitable[None]],
        wall_ms: Callable[[], int],
        on_step: Callable[[ReapStep], None] = lambda step: None,
    ) -> None:
        self._ledger = ledger
        self._log = attempt_log
        self._shipper = shipper
        self._keep_ms = ages.keep_days * DAY_MS
        self._whole_ms = ages.anonymise_days * DAY_MS
        self._answered = answered
        self._clock = TrustedClock(wall_ms, last_ms=ledger.clock_ms)
        self._on_step = on_step
        self._kept_from_ms = self._anonymised_before_ms = 0
        # Up to when ended sessions are known to be anonymised.
        self._sessions_before_ms = 0
        # The log's start for which, and until when, there is nothing to be written anew.
        self._rewritten = (-1, 0.0)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Forget and anonymise what is due before any question is answered; then go on, every minute."""
        try:
            stats = await self._ledger.stats()
            self._kept_from_ms, self._anonymised_before_ms = stats.kept_from_ms, stats.anonymised_before_ms
            await self._move_borders()
        except StoreError as error:
            # On a full disk. A node that decides and keeps too much is better than none.
            log.warning("reaper.waited", error=error)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="reaper")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._move_borders()
                await self._anonymise_sessions()
                await self._follow_borders()
            except Exception as error:
                # Nobody awaits this task: whatever broke must be seen, and must not end it.
                is_known = isinstance(error, StoreError | TimeoutError)
                log.warning("reaper.waited", error=error if is_known else None, exc_info=None if is_known else error)
            await asyncio.sleep(_PASS_S)

    async def _move_borders(self) -> None:
        now_ms = self._clock.now_ms() if self._keep_ms or self._whole_ms else None
        if now_ms is None:
            return
        # Whole hours: no hour of a grouped count is cut, and most passes have nothing to commit.
        hour_ms = now_ms // _HOUR_MS * _HOUR_MS
        if self._keep_ms and hour_ms - self._keep_ms > self._kept_from_ms:
            await self.forget(before_ms=hour_ms - self._keep_ms)
            self._kept_from_ms = hour_ms - self._keep_ms
        if self._whole_ms and hour_ms - self._whole_ms > self._anonymised_before_ms:
            await self.anonymise(before_ms=hour_ms - self._whole_ms)
            self._anonymised_before_ms = hour_ms - self._whole_ms

    async def forget(self, *, before_ms: int) -> None:
        """From here on no answer knows an attempt from before `before_ms`. Raises the ledger's errors."""
        await self._ledger.forget(before_ms=before_ms)
        log.info("attempts.forgotten", before=_shown(before_ms))
        self._on_step(ReapStep.FORGOTTEN)

    async def anonymise(self, *, before_ms: int) -> None:
        """From here on every answer has attempts from before `before_ms` anonymised. Raises the ledger's errors."""
        await self._ledger.anonymise(before_ms=before_ms)
        log.info("attempts.anonymised", before=_shown(before_ms))
        self._on_step(ReapStep.ANONYMISED)

    async def _anonymise_sessions(self) -> None:
        """Those that ended before; with no question waiting, since there may be a million."""
        before_ms = self._anonymised_before_ms
        if before_ms > self._sessions_before_ms:
            while await self._ledger.anonymise_sessions(before_ms=before_ms, limit=_WRITTEN_ROWS):
                pass
            self._sessions_before_ms = before_ms

    async def _follow_borders(self) -> None:
        if self._log.ships:
            starts, until = self._rewritten
            if starts == self._log.starts and time.monotonic() < until:
                return
            # What was taken away before a crash may be there again after it.
            starts = self._log.starts
            await self.follow()
            self._rewritten = (starts, time.monotonic() + _REWRITE_EVERY_S)
        else:
            await self.follow()

    async def follow(self) -> None:
        """Take away what is forgotten, and write anew what is anonymised, in ledger and log.

        Raises StoreError, or TimeoutError where old questions are still being answered: the rest has another time.
        """
        stats = await self._ledger.stats()
        if not (stats.kept_from_ms or stats.anonymised_before_ms):
            return
        # From here on no answer tells what was already written anew from what is still to be.
        async with asyncio.timeout(_ANSWERED_S_MAX):
            await self._answered()
        if not self._log.ships:
            if rows := await self._write_rows(self._ledger.delete_forgotten, ReapStep.DELETED):
                log.info("attempts.deleted", rows=rows)
            if rows := await self._write_rows(self._ledger.anonymise_rows, ReapStep.REWRITTEN):
                log.info("attempts.rewritten", rows=rows)
            return
        await self._shipper.be_verified()
        for table in await self._log.tables():
            await self._remove_blocks(stats.kept_from_ms, table=table)
            await self._anonymise_blocks(stats.anonymised_before_ms, table=table)

    async def _write_rows(self, write: Callable[..., Awaitable[int]], step: ReapStep) -> int:
        written = 0
        while number := await write(limit=_WRITTEN_ROWS):
            self._on_step(step)
            written += number
        return written

    async def _remove_blocks(self, from_ms: int, *, table: str) -> None:
        # Nothing is shipped meanwhile: it could be of a partition that is about to go; and no backup is begun.
        async with self._shipper.paused():
            upto = await self._log.last_block_before(from_ms, table=table)
            # What a crash has left of released ones may lie where that does not look.
            upto = max(upto, (await self._ledger.stats()).released_block)
            if upto == 0:
                return
            # Before the first row goes: from then on nobody misses them.
            await self._ledger.release_blocks(upto=upto)
            self._on_step(ReapStep.RELEASED)
            if rows := await self._log.remove(upto=upto, table=table):
                log.info("blocks.removed", upto=upto, rows=rows)
            self._on_step(ReapStep.REMOVED)

    async def _anonymise_blocks(self, before_ms: int, *, table: str) -> None:
        upto = await self._log.last_block_before(before_ms, table=table)
        stats = await self._ledger.stats()
        after = max(stats.anonymised_block, stats.released_block)
        blocks = [block for block in await self._ledger.blocks() if block.shipped and after < block.number <= upto]
        for some in _runs(blocks):
            async with self._shipper.paused():
                await self._hash_anonymised(some, table=table)
            self._on_step(ReapStep.HASHED)
        async with self._shipper.paused():
            # Those whose digests the ledger has by now, and no other.
            upto = (await self._ledger.stats()).anonymised_block
            if upto and (rows := await self._log.anonymise(upto=upto, table=table)):
                log.info("blocks.rewritten", upto=upto, rows=rows)
        self._on_step(ReapStep.REWRITTEN)

    async def _hash_anonymised(self, blocks: list[Block], *, table: str) -> None:
        """Let the ledger have the digests of these as anonymised, which they are still to be. Raises LogDamaged where
        the log does not hold what was shipped: that must not get a digest of its own."""
        first, last = blocks[0].number, blocks[-1].number
        held = await self._log.held_between(first, last, table=table)
        if any(block.number not in held or held[block.number].digest != block.digest for block in blocks):
            raise LogDamaged(f"table {table} holds other attempts than were shipped as blocks {first} to {last}")
        anonymised = await self._log.held_between(first, last, table=table, anonymised_upto=last)
        await self._ledger.anonymise_blocks({block.number: anonymised[block.number].digest for block in blocks})


def _runs(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Runs of them that can be hashed in one go."""
    some: list[Block] = []
    rows = 0
    for block in blocks:
        if some and rows + block.rows > _HASHED_ROWS:
            yield some
            some, rows = [], 0
        some.append(block)
        rows += block.rows
    if some:
        yield some


def _shown(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1_000, tz=UTC):%Y-%m-%dT%H:%MZ}"


class TrustedClock:
    """The wall clock, unless it has just gone ahead by more than a day: a wrong one, put right within the hour, must
    not forget years. A node that was away for so long waits as well."""

    def __init__(
        self, wall_ms: Callable[[], int], *, last_ms: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        # A new ledger has seen no clock, and has nothing to forget.
        self._last_ms = last_ms or wall_ms()
        self._last = monotonic()
        self._trusted_from = self._last

    def now_ms(self) -> int | None:
        """Unix milliseconds; None while it is not to be trusted."""
        wall_ms, now = self._wall_ms(), self._monotonic()
        ahead_ms = wall_ms - self._last_ms - int((now - self._last) * 1_000)
        self._last_ms, self._last = wall_ms, now
        if ahead_ms > _CLOCK_AHEAD_MS_MAX:
            self._trusted_from = now + _CLOCK_WAIT_S
            log.warning("reaper.clock_distrusted", ahead_h=ahead_ms // _HOUR_MS)
        return wall_ms if now >= self._trusted_from else None
