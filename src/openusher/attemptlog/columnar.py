"""The attempt log over a ClickHouse engine: chDB beside the node, or a server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from openusher.attemptlog.base import COLUMNS, AttemptLog, Copy, Frozen, GroupedLog, Held, Rows, Span
from openusher.attemptlog.bytime import ByTime
from openusher.attemptlog.counting import Counting
from openusher.attemptlog.engine import Engine, Lane, Statement
from openusher.attemptlog.query import (
    TEXT_BYTES,
    Query,
    column,
    finds_few,
    lane_of,
    newest_query,
    rows_query,
    sizes_query,
)
from openusher.attemptlog.rewriting import Rewriting
from openusher.attemptlog.schema import (
    DATABASE,
    TABLES,
    check_statement,
    create_statements,
    insert_statement,
    tune_statement,
)
from openusher.attemptlog.withoutcopies import WithoutCopies
from openusher.errors import LogUnavailable, StoreError
from openusher.model.attempt import Attempt
from openusher.model.block import BLOCK_BYTES_MAX, BLOCK_ROWS_MAX, Block, Horizon, attempt_of
from openusher.model.search import AttemptFilter, GroupBy, GroupValue, Total

# Reads all of the log.
_CHECK_S_MAX = 900.0
# Reads one narrow column. Counts wait for it after every start, so a process that hangs then must be found out soon.
_VERIFY_S_MAX = 20.0
# What a check takes at a time: each time it reads the table anew, and the engine has all of its text in memory.
_CHECKED_ROWS = 3 * BLOCK_ROWS_MAX
_CHECKED_BYTES = 2 * BLOCK_BYTES_MAX
_INSERT_S_MAX = 60.0
# Rows of one block lie all over a merged part, so that the whole table is read: three seconds in ten million.
_SPAN_S_MAX = 120.0
# An export takes long anyway, and counts go on beside it.
_SPAN_THREADS = 1
# `newest` first looks at so many of the last blocks: ids rise with blocks, so if they hold enough, they hold
# the answer.
_NEWEST_BLOCKS = 16

_NONE_HELD = Held(rows=0, first_id=0, last_id=0, digest="")


def _canonical(name: str, form: str) -> str:
    """The SQL of one column of the canonical rows of base.py."""
    text = column(name, anonymised="block <= {anonymised:UInt64}")
    if form == "number":
        return f"toString({text}), ','"
    if form == "address":
        return f"lower(hex({text})), ','"
    return f"toString(length({text})), ':', {text}, ','"


_ROW = ", ".join(_canonical(name, form) for name, form in COLUMNS)

# arraySort, since the order in which groupArray sees rows is nobody's promise.
_HELD = f"""
SELECT block, count(), min(id), max(id),
    lower(hex(SHA256(arrayStringConcat(arrayMap(x -> x.2, arraySort(x -> x.1, groupArray((id, concat({_ROW})))))))))
FROM {DATABASE}.{{table}}
WHERE block >= {{low:UInt64}} AND block <= {{high:UInt64}}
GROUP BY block ORDER BY block"""

_SIZES = f"""
SELECT block, count(), sum({TEXT_BYTES}) FROM {DATABASE}.{{table}}
GROUP BY block ORDER BY block"""

_MADE = f"SELECT engine_full FROM system.tables WHERE database = '{DATABASE}' AND name = {{table:String}}"

# Thousands of blocks in a row: rows are what costs on the way to Python.
_ROWS_BY_BLOCK = f"""
WITH groupArray((block, rows)) AS pairs
SELECT pairs.1, pairs.2
FROM (SELECT block, count() AS rows FROM {DATABASE}.{{table}} GROUP BY block)
GROUP BY intDiv(block, 4096)"""


class ColumnarLog(WithoutCopies):
    """An `AttemptLog` in the tables of schema.py. A question of a client may run for `count_s_max` seconds;
    `table_engine` is the only thing that differs between engines. Without `by_time` there is no table by time."""

    def __init__(
        self, engine: Engine, *, count_s_max: float, table_engine: str = "MergeTree", by_time: bool = True
    ) -> None:
        self._engine = engine
        self._rewriting = Rewriting(engine)
        self._by_time = ByTime(engine, self._rows_by_block) if by_time else None
        self._counting = Counting(engine, self._by_time, seconds_max=count_s_max)
        self._seconds_max = {
            Lane.INSERT: _INSERT_S_MAX,
            Lane.COUNT: count_s_max,
            Lane.SCAN: count_s_max,
            Lane.CHECK: _CHECK_S_MAX,
        }
        self._table_engine = table_engine
        self._drawn = secrets.token_hex(4)

    @property
    def ships(self) -> bool:
        return True

    @property
    def starts(self) -> int:
        return self._engine.starts

    @property
    def pid(self) -> int | None:
        return self._engine.pid

    async def start(self) -> None:
        texts = create_statements(engine=self._table_engine, by_time=self._by_time is not None)
        await self._engine.start([Statement(text=text, lane=Lane.INSERT, seconds_max=_INSERT_S_MAX) for text in texts])
        # Without it counts only take longer, and the next start tries again.
        with suppress(StoreError):
            await self._tune()

    async def _tune(self) -> None:
        for table in TABLES:
            for (made,) in await self._rows(Query(_MADE, {"table": table}), lane=Lane.CHECK):
                if (text := tune_statement(table, made=made)) is not None:
                    await self._engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=_INSERT_S_MAX))

    async def tables(self) -> Sequence[str]:
        return TABLES

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        self._counting.will_hold(block.number)
        # Not only by its starts, which begin anew with the door.
        life = f"{self._drawn}-{self._engine.starts}"
        text = insert_statement(block, table=_known(table), life=life, seconds_max=_INSERT_S_MAX)
        await self._engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=_INSERT_S_MAX, data=rows))

    async def held(self, number: int, *, table: str) -> Held:
        # In the lane of inserts: what was just written is read back before the next is written.
        found = await self._held_between(number, number, 0, table=table, lane=Lane.INSERT)
        return found.get(number, _NONE_HELD)

    async def held_between(self, first: int, last: int, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        return await self._held_between(first, last, anonymised_upto, table=table, lane=Lane.CHECK)

    async def all_held(self, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        sizes = await self._rows(Query(_SIZES.format(table=_known(table)), {}), lane=Lane.CHECK)
        found: dict[int, Held] = {}
        for span in _spans(sizes, rows_max=_CHECKED_ROWS, bytes_max=_CHECKED_BYTES):
            found |= await self.held_between(
                span.first_block, span.last_block, table=table, anonymised_upto=anonymised_upto
            )
        return found

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        rows_by_block = await self._rows_by_block(_known(table))
        self._counting.was_found_to_hold(max(rows_by_block, default=0))
        return rows_by_block

    async def _rows_by_block(self, table: str) -> dict[int, int]:
        query = Query(_ROWS_BY_BLOCK.format(table=table), {})
        runs = await self._rows(query, lane=Lane.CHECK, seconds_max=_VERIFY_S_MAX)
        # In a thread: a year of blocks is half a million, and decisions go on.
        return await asyncio.to_thread(_by_number, runs)

    async def last_block_before(self, at_ms: int, *, table: str) -> int:
        return await self._rewriting.last_block_before(at_ms, _known(table))

    async def remove(self, *, upto: int, table: str) -> int:
        removed = await self._rewriting.remove(upto, _known(table))
        if self._by_time is not None:
            await self._by_time.rewrite(self._rewriting.remove, upto)
        return removed

    async def anonymise(self, *, upto: int, table: str) -> int:
        written = await self._rewriting.anonymise(upto, _known(table))
        if self._by_time is not None:
            await self._by_time.rewrite(self._rewriting.anonymise, upto)
        return written

    async def derive(self, upto: int, *, released: int) -> None:
        if self._by_time is not None:
            await self._by_time.follow(upto, released=released)

    async def wrongly_derived(self, *, released: int, anonymised_upto: int) -> Sequence[int]:
        if self._by_time is None:
            return ()
        return await self._by_time.differing(behind=released, anonymised_upto=anonymised_upto)

    async def derive_anew(self) -> None:
        if self._by_time is not None:
            await self._by_time.make_anew()

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        return await self._counting.count(cdn, search, horizon)

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int) -> GroupedLog:
        return await self._counting.groups(cdn, search, by, horizon, top=top)

    async def counts_of(
        self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, values: Sequence[GroupValue]
    ) -> dict[GroupValue, int]:
        return await self._counting.counts_of(cdn, search, by, horizon, values=values)

    async def totals(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int) -> list[Total]:
        return await self._counting.totals(cdn, search, horizon, most=most)

    async def newest(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, seek: int = 0, limit: int
    ) -> list[Attempt]:
        if limit <= 0:
            return []
        above = 0 if finds_few(search) else max(0, horizon.upto - _NEWEST_BLOCKS)
        rows = await self._newest_above(above, cdn, search, horizon, seek=seek, limit=limit)
        if above and len(rows) < limit:
            rows = await self._newest_above(0, cdn, search, horizon, seek=seek, limit=limit)
        return [attempt_of(row) for row in rows]

    async def spans(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> Sequence[Span]:
        query = sizes_query(cdn, search, horizon)
        statement = query.statement(lane=Lane.EXPORT, seconds_max=_SPAN_S_MAX, cdn=cdn, threads=_SPAN_THREADS)
        runs = await self._engine.execute(statement)
        # In a thread: a year of blocks is half a million, and decisions go on.
        return await asyncio.to_thread(_spans_of, runs)

    async def rows(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, span: Span, copy: Copy | None = None
    ) -> bytes:
        return await self._rows_of(rows_query(cdn, search, horizon, span=span), cdn=cdn)

    async def _rows_of(self, query: Query, *, cdn: int) -> bytes:
        statement = query.statement(lane=Lane.EXPORT, seconds_max=_SPAN_S_MAX, cdn=cdn, threads=_SPAN_THREADS)
        return await self._engine.text_of(statement)

    async def broken_parts(self, *, table: str) -> list[str]:
        statement = Statement(text=check_statement(table), lane=Lane.CHECK, seconds_max=_CHECK_S_MAX)
        return [str(name) for name, is_sound, _ in await self._engine.execute(statement) if not is_sound]

    async def freeze(self) -> Frozen:
        raise LogUnavailable("an attempt log on a server is backed up by that server's own means")

    async def thaw(self) -> None:
        return

    async def close(self) -> None:
        if self._by_time is not None:
            await self._by_time.close()
        await self._engine.close()

    async def _newest_above(
        self, above: int, cdn: int, search: AttemptFilter, horizon: Horizon, *, seek: int, limit: int
    ) -> list[list[Any]]:
        query = newest_query(cdn, search, horizon, above_block=above, seek=seek, limit=limit)
        return await self._rows(query, lane=lane_of(search), cdn=cdn)

    async def _held_between(
        self, low: int, high: int, anonymised_upto: int, *, table: str, lane: Lane
    ) -> dict[int, Held]:
        text = _HELD.replace("{table}", _known(table))
        params = {"low": f"{low:d}", "high": f"{high:d}", "anonymised": f"{anonymised_upto:d}"}
        rows = await self._rows(Query(text, params), lane=lane)
        return {
            number: Held(rows=count, first_id=first, last_id=last, digest=digest)
            for number, count, first, last, digest in rows
        }

    async def _rows(
        self, query: Query, *, lane: Lane, seconds_max: float | None = None, cdn: int = 0
    ) -> list[list[Any]]:
        """The rows of `query`, which may run as long as its lane allows where `seconds_max` is None."""
        seconds_max = self._seconds_max[lane] if seconds_max is None else seconds_max
        return await self._engine.execute(query.statement(lane=lane, seconds_max=seconds_max, cdn=cdn))


def _by_number(runs: list[list[Any]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for numbers, counts in runs:
        found.update(zip(numbers, counts, strict=True))
    return found


def _known(table: str) -> str:
    assert table in TABLES
    return table


def _spans(sizes: Iterable[Sequence[int]], *, rows_max: int, bytes_max: int) -> list[Span]:
    """Runs of blocks, given as number, rows and bytes: each as much as is read at once, and one block at least."""
    spans: list[Span] = []
    size = 0
    for number, rows, block_bytes in sizes:
        size += block_bytes
        last = spans[-1] if spans else None
        if last is not None and last.attempts + rows <= rows_max and size <= bytes_max:
            spans[-1] = Span(last.first_block, number, last.attempts + rows, size)
        else:
            spans.append(Span(number, number, rows, block_bytes))
            size = block_bytes
    return spans


def _spans_of(runs: list[list[Any]]) -> list[Span]:
    sizes = chain.from_iterable(zip(*run, strict=True) for run in runs)
    return _spans(sizes, rows_max=BLOCK_ROWS_MAX, bytes_max=BLOCK_BYTES_MAX)


_: type[AttemptLog] = ColumnarLog
