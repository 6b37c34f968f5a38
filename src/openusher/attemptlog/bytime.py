"""The table of attempts once more, narrow and in the order of time, for questions about a stretch of time.

In the table of attempts rows lie by ticket, so what happened in the last hour lies all over it. This one is made of it
by the engine, a block at a time as blocks come, and whole months where a log of an older version, or one from a backup,
has none. It holds nothing that could be lost: nothing is asked of it before it was seen to agree with the table of
attempts, and it is made anew when anything about it is in doubt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from openusher.attemptlog.engine import Engine, Lane, Statement
from openusher.attemptlog.query import Query, column, finds_few
from openusher.attemptlog.schema import (
    BY_TIME,
    DATABASE,
    TABLES,
    append_statement,
    empty_by_time_statements,
    fill_statement,
)
from openusher.errors import LogDamaged, LogUnavailable, StoreError
from openusher.logs import event_log
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy

# A hundred million attempts took six minutes of a busy machine.
_FILL_S_MAX = 7_200.0
_READ_S_MAX = 120.0
# Compares all attempts with each other.
_CHECK_S_MAX = 900.0
# So many blocks that are missing are put in by themselves; each may take a reading of all attempts.
_APPENDED_MAX = 4
# Where it could not be made, for want of disk.
_RETRY_S = 60.0

_ADDRESS = column("ip", anonymised="block <= {anonymised:UInt64}")
_SUMS = f"""
SELECT block, count(), sum(cityHash64(id, cdn, at_ms, key, user, app, video, {_ADDRESS}, server_ip, reason))
FROM {DATABASE}.{{table}} WHERE block > {{behind:UInt64}} AND block <= {{upto:UInt64}}
GROUP BY block ORDER BY block"""

_MONTHS = f"""
SELECT DISTINCT partition_id FROM system.parts
WHERE database = '{DATABASE}' AND table = '{TABLES[0]}' AND active ORDER BY partition_id"""

_REWRITING = f"""
SELECT 1 FROM system.mutations
WHERE database = '{DATABASE}' AND table = '{TABLES[0]}' AND NOT is_done LIMIT 1"""

log = event_log()


def is_about_time(search: AttemptFilter, horizon: Horizon, by: GroupBy | None = None) -> bool:
    """Whether the order of time helps to answer: of attempts within a time, those that came since, and by the hour. Not
    where the indexes of the table of attempts leave few."""
    bounds = (search.from_ms, search.before_ms, search.after_id, search.before_id)
    is_bounded = horizon.behind > 0 or any(bound is not None for bound in bounds)
    return (is_bounded or by in (GroupBy.HOUR, GroupBy.DAY)) and not finds_few(search)


class ByTime:
    """What is known of the table by time of an `engine`. `rows_by_block` says how many rows a table has of each block.

    Whoever asks it takes `doubts` before, and is answered only if there are no more of them after: one that is emptied
    meanwhile finds nothing to count.
    """

    def __init__(self, engine: Engine, rows_by_block: Callable[[str], Awaitable[dict[int, int]]]) -> None:
        self._engine = engine
        self._rows_by_block = rows_by_block
        # It holds the blocks behind `_after` up to `_upto`, as long as the engine has not been started again.
        self._start = 0
        self._after = self._upto = 0
        self.doubts = 0
        # What was read of it is not what was written.
        self._is_damaged = False
        # One at a time looks at it and changes it, but for a fill that goes on behind.
        self._changing = asyncio.Lock()
        self._filling: asyncio.Task[None] | None = None
        self._not_before = 0.0

    @property
    def is_filling(self) -> bool:
        return self._filling is not None and not self._filling.done()

    def holds(self, horizon: Horizon) -> bool:
        """Whether it has all that is asked of `horizon`."""
        return self._start == self._engine.starts and self._after <= horizon.behind and horizon.upto <= self._upto

    def doubt(self, *, is_damaged: bool = False) -> None:
        """Ask it nothing before it has been looked at again, or made anew where it is damaged."""
        self._start = 0
        self.doubts += 1
        self._is_damaged |= is_damaged

    async def follow(self, upto: int, *, released: int) -> None:
        """Let it hold all blocks behind `released` up to `upto`, which the table of attempts is known to hold.

        Raises StoreError: it may hold them or not, and is looked at again. What takes long goes on behind the call.
        """
        async with self._changing:
            is_known = self._start == self._engine.starts
            if (is_known and self._upto >= upto) or time.monotonic() < self._not_before:
                return
            if not is_known and self.is_filling:
                # The engine goes on with what it has begun, whoever awaits it.
                return
            try:
                if not is_known:
                    await self._look(upto, released=released)
                while self._start == self._engine.starts and self._upto < upto:
                    await self._append(self._upto + 1)
            except BaseException:
                self._give_up()
                raise

    async def close(self) -> None:
        """Before the engine is."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)

    async def differing(self, *, behind: int, anonymised_upto: int) -> list[int]:
        """The blocks behind `behind` of which it holds other attempts than the table of attempts. It reads both as a
        whole, also where nobody has looked at it yet; of one that is not whole, or made anew meanwhile, it says
        nothing."""
        if self.is_filling:
            return []
        doubts = self.doubts
        expected_rows = await self._counted(TABLES[0], behind)
        try:
            held_rows = await self._counted(BY_TIME, behind)
            if not _agree(held_rows, expected_rows):
                return []
            span = {"behind": behind, "upto": max(held_rows, default=0), "anonymised": anonymised_upto}
            held = await self._sums(BY_TIME, lane=Lane.CHECK, **span)
        except LogDamaged:
            return sorted(expected_rows)
        expected = await self._sums(TABLES[0], lane=Lane.CHECK, **span)
        differing = sorted(block for block in held_rows if held.get(block) != expected.get(block))
        return differing if self.doubts == doubts else []

    async def rewrite(self, rewrite: Callable[[int, str], Awaitable[int]], upto: int) -> None:
        """Do what was done in the table of attempts with its blocks up to `upto`. Raises LogUnavailable while a fill
        may still bring what was there before."""
        if self.is_filling:
            raise LogUnavailable(f"table {BY_TIME} is being filled")
        try:
            await rewrite(upto, BY_TIME)
        except LogDamaged:
            # It is emptied, and with it what should go.
            self.doubt(is_damaged=True)

    async def make_anew(self) -> None:
        """Empty it; it is filled when blocks are followed next."""
        async with self._changing:
            await self._empty()

    async def _look(self, upto: int, *, released: int) -> None:
        """See what it holds, and where that is not what it should be, begin anew."""
        start, doubts = self._engine.starts, self.doubts
        expected = await self._counted(TABLES[0], released)
        held = None if self._is_damaged else await self._held(released)
        if held is not None:
            missing = sorted(expected.keys() - held.keys())
            last = max(held, default=released)
            if _agree(held, expected) and (not missing or (len(missing) <= _APPENDED_MAX and missing[0] > last)):
                if self.doubts == doubts:
                    self._start, self._after, self._upto = start, 0, last
                return
        if await self._execute(_REWRITING, lane=Lane.CHECK):
            # What is still to go, or to be anonymised, is not to be put in.
            self._not_before = time.monotonic() + _RETRY_S
            return
        await self._empty()
        self._start, self._is_damaged = start, False
        self._after = self._upto = max(upto, max(expected, default=0))
        filling = self._fill(self._upto, released=released)
        self._filling = asyncio.get_running_loop().create_task(filling, name="log, filled by time")

    async def _held(self, released: int) -> dict[int, int] | None:
        """How many rows it has of each block behind `released`; None where that cannot be read."""
        try:
            return await self._counted(BY_TIME, released)
        except LogDamaged:
            return None

    async def _append(self, number: int) -> None:
        await self._execute(append_statement(number, seconds_max=_READ_S_MAX), lane=Lane.INSERT)
        span = {"behind": number - 1, "upto": number, "anonymised": 0}
        held, expected = [await self._sums(table, lane=Lane.INSERT, **span) for table in (BY_TIME, TABLES[0])]
        if held != expected:
            await self._empty()
            raise LogUnavailable(f"table {BY_TIME} took block {number} but does not show it")
        self._upto = number

    async def _fill(self, upto: int, *, released: int) -> None:
        """Make it anew, as far as `upto`; later blocks are put in meanwhile."""
        began, doubts = time.monotonic(), self.doubts
        log.info("log.filling", table=BY_TIME, upto=upto)
        try:
            for (month,) in await self._execute(_MONTHS, lane=Lane.EXPORT):
                text = fill_statement(partition=str(month), behind=released, upto=upto, seconds_max=_FILL_S_MAX)
                await self._execute(text, lane=Lane.EXPORT, seconds_max=_FILL_S_MAX)
            expected = await self._counted(TABLES[0], released)
            held = await self._counted(BY_TIME, released)
            if not _agree({block: rows for block, rows in expected.items() if block <= upto}, held):
                raise LogUnavailable(f"table {BY_TIME} does not show what it took")
        except StoreError as error:
            log.warning("log.unfilled", table=BY_TIME, error=error)
            self._give_up()
            return
        if self.doubts == doubts:
            self._after = 0
            log.info("log.filled", table=BY_TIME, upto=upto, seconds=round(time.monotonic() - began, 1))

    def _give_up(self) -> None:
        self.doubt()
        self._not_before = time.monotonic() + _RETRY_S

    async def _counted(self, table: str, released: int) -> dict[int, int]:
        """How many rows a table has of each block behind `released`."""
        return {block: rows for block, rows in (await self._rows_by_block(table)).items() if block > released}

    async def _sums(self, table: str, *, lane: Lane, **span: int) -> dict[int, tuple[int, int]]:
        query = Query(_SUMS.replace("{table}", table), {name: f"{bound:d}" for name, bound in span.items()})
        statement = query.statement(lane=lane, seconds_max=_CHECK_S_MAX)
        return {block: (rows, hashed) for block, rows, hashed in await self._engine.execute(statement)}

    async def _empty(self) -> None:
        self.doubt()
        for text in empty_by_time_statements():
            await self._execute(text, lane=Lane.INSERT)

    async def _execute(self, text: str, *, lane: Lane, seconds_max: float = _READ_S_MAX) -> list[list[Any]]:
        return await self._engine.execute(Statement(text=text, lane=lane, seconds_max=seconds_max))


def _agree(rows_by_block: dict[int, int], others: dict[int, int]) -> bool:
    """Whether `others` has as many rows of each block that is in the first."""
    return all(others.get(block) == rows for block, rows in rows_by_block.items())
