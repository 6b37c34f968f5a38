"""Forgets attempts that are older than they are to be kept, and later takes away what is left of them.

An attempt is forgotten by one commit of the ledger, which every question obeys from then on. What lies behind it in
ledger and log is then of no matter to any answer, so it may go piece by piece, through every crash.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum

from openusher.attemptlog.base import AttemptLog
from openusher.errors import StoreError
from openusher.ledger.base import Ledger
from openusher.logs import event_log
from openusher.shipper import Shipper

_HOUR_MS = 3_600_000
DAY_MS = 24 * _HOUR_MS
_PASS_S = 60.0
# Rows deleted in one commit, as the shipper does it.
_DELETED_ROWS = 2_000
# Taking away a part of a month writes the rest of that month anew.
_REMOVE_EVERY_S = 86_400.0
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


class Reaper:
    """One for a ledger. Keeps attempts for `keep_days` days, to the hour; 0: for ever.

    `answered` returns once every question that was asked before it was called has its answer.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt_log: AttemptLog,
        shipper: Shipper,
        *,
        keep_days: int,
        answered: Callable[[], Awaitable[None]],
        wall_ms: Callable[[], int],
        on_step: Callable[[ReapStep], None] = lambda step: None,
    ) -> None:
        self._ledger = ledger
        self._log = attempt_log
        self._shipper = shipper
        self._keep_ms = keep_days * DAY_MS
        self._answered = answered
        self._clock = TrustedClock(wall_ms, last_ms=ledger.clock_ms)
        self._on_step = on_step
        self._kept_from_ms = 0
        # The log's start for which, and until when, there is nothing to take away.
        self._removed = (-1, 0.0)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Forget what is due before any question is answered; then go on, every minute."""
        try:
            self._kept_from_ms = (await self._ledger.stats()).kept_from_ms
            await self._forget_due()
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
                await self._forget_due()
                await self._take_away_due()
            except Exception as error:
                # Nobody awaits this task: whatever broke must be seen, and must not end it.
                is_known = isinstance(error, StoreError | TimeoutError)
                log.warning("reaper.waited", error=error if is_known else None, exc_info=None if is_known else error)
            await asyncio.sleep(_PASS_S)

    async def _forget_due(self) -> None:
        now_ms = self._clock.now_ms() if self._keep_ms else None
        if now_ms is None:
            return
        # Whole hours: no hour of a grouped count is cut, and most passes have nothing to commit.
        before_ms = (now_ms - self._keep_ms) // _HOUR_MS * _HOUR_MS
        if before_ms > self._kept_from_ms:
            await self.forget(before_ms=before_ms)
            self._kept_from_ms = before_ms

    async def forget(self, *, before_ms: int) -> None:
        """From here on no answer knows an attempt from before `before_ms`. Raises the ledger's errors."""
        await self._ledger.forget(before_ms=before_ms)
        log.info("attempts.forgotten", before=f"{datetime.fromtimestamp(before_ms / 1_000, tz=UTC):%Y-%m-%dT%H:%MZ}")
        self._on_step(ReapStep.FORGOTTEN)

    async def _take_away_due(self) -> None:
        if self._log.ships:
            starts, until = self._removed
            if starts == self._log.starts and time.monotonic() < until:
                return
            # What was taken away before a crash may be there again after it.
            starts = self._log.starts
            await self.take_away()
            self._removed = (starts, time.monotonic() + _REMOVE_EVERY_S)
        else:
            await self.take_away()

    async def take_away(self) -> None:
        """Take away what is forgotten, from ledger and log.

        Raises StoreError, or TimeoutError where old questions are still being answered: the rest goes another time.
        """
        if not self._log.ships:
            await self._delete_forgotten()
            return
        from_ms = (await self._ledger.stats()).kept_from_ms
        if not from_ms:
            return
        async with asyncio.timeout(_ANSWERED_S_MAX):
            await self._answered()
        await self._shipper.be_verified()
        for table in await self._log.tables():
            # Nothing is shipped meanwhile: it could be of a partition that is about to go.
            async with self._shipper.paused():
                upto = await self._log.last_block_before(from_ms, table=table)
                if upto == 0:
                    continue
                # Before the first row goes: from then on nobody misses them.
                await self._ledger.release_blocks(upto=upto)
                self._on_step(ReapStep.RELEASED)
                if rows := await self._log.remove(upto=upto, table=table):
                    log.info("blocks.removed", upto=upto, rows=rows)
                self._on_step(ReapStep.REMOVED)

    async def _delete_forgotten(self) -> None:
        deleted = 0
        while number := await self._ledger.delete_forgotten(limit=_DELETED_ROWS):
            self._on_step(ReapStep.DELETED)
            deleted += number
        if deleted:
            log.info("attempts.deleted", rows=deleted)


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
