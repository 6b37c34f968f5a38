"""Counts of attempts, asked of the table that answers soonest, and bounded by blocks only where that leaves any out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from openusher.attemptlog.base import GroupedLog
from openusher.attemptlog.bytime import ByTime, is_about_time
from openusher.attemptlog.engine import Engine, Lane
from openusher.attemptlog.query import (
    EVERY_BLOCK,
    Query,
    count_query,
    counts_of_query,
    group_value,
    groups_query,
    lane_of,
    totals_query,
)
from openusher.attemptlog.schema import BY_TIME, TABLES
from openusher.errors import LogDamaged
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, Total
from openusher.piecework import in_pieces

# Whoever goes on from what he has, behind so few blocks, waits for nobody who reads all.
_FEW_BLOCKS = 16

_row = msgspec.json.Decoder(list[Any])
_total = msgspec.json.Decoder(Total)


class Counting:
    """Counts in the table of attempts of `engine` and in the one by time, where there is one. A question may run for
    `seconds_max`, and once more where a block came meanwhile.

    Whoever inserts a block says so before, and nobody else does: an engine's process does not outlive the one that
    keeps it, so that what an earlier one inserted is there when it is looked at, or never comes.

    The methods for questions take and raise what those of `AttemptLog` do.
    """

    def __init__(self, engine: Engine, by_time: ByTime | None, *, seconds_max: float) -> None:
        self._engine = engine
        self._by_time = by_time
        self._seconds_max = seconds_max
        # The last block that may be in any table; before anybody has looked, there may be later ones.
        self._last_block = 0
        self._was_looked_at = False

    def will_hold(self, block: int) -> None:
        """To be called before block number `block` is inserted, whether that comes to an end or not."""
        self._last_block = max(self._last_block, block)

    def was_found_to_hold(self, last_block: int) -> None:
        """What the table of attempts holds was looked at; that by time holds no other blocks."""
        self._last_block = max(self._last_block, last_block)
        self._was_looked_at = True

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        query = partial(count_query, cdn, search)
        rows = _row.decode_lines(await self._answered(query, cdn, search, horizon))
        return int(rows[0][0])

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int) -> GroupedLog:
        query = partial(groups_query, cdn, search, by, top=top)
        rows = _row.decode_lines(await self._answered(query, cdn, search, horizon, by))
        groups = [Group(group_value(by, value), count) for value, count, _, _ in rows]
        group_count, attempts = rows[0][2:] if rows else (0, 0)
        return GroupedLog(groups[:top], group_count, attempts)

    async def counts_of(
        self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, values: Sequence[GroupValue]
    ) -> dict[GroupValue, int]:
        if not values:
            return {}
        query = partial(counts_of_query, cdn, search, by, values=values)
        rows = _row.decode_lines(await self._answered(query, cdn, search, horizon, by))
        return {group_value(by, value): count for value, count in rows}

    async def totals(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int) -> list[Total]:
        query = partial(totals_query, cdn, search, most=most)
        is_short = horizon.upto - horizon.behind <= _FEW_BLOCKS
        text = await self._answered(query, cdn, search, horizon, lane=Lane.COUNT if is_short else Lane.SCAN)
        totals: list[Total] = []
        async for lines in in_pieces(text.splitlines()):
            totals += map(_total.decode, lines)
        return totals

    async def _answered(
        self,
        query: partial[Query],
        cdn: int,
        search: AttemptFilter,
        horizon: Horizon,
        by: GroupBy | None = None,
        *,
        lane: Lane | None = None,
    ) -> bytes:
        """What answers `query`, which lacks a horizon and a table, from the table that answers it soonest."""
        lane = lane or lane_of(search)

        async def ask(table: str, horizon: Horizon) -> bytes:
            statement = query(horizon, table=table).statement(lane=lane, seconds_max=self._seconds_max, cdn=cdn)
            return await self._engine.text_of(statement)

        async def ask_bounded(table: str) -> bytes:
            """The bound is a column to be read: a tenth to a half of what a count takes."""
            if self._holds_none_above(horizon):
                found = await ask(table, msgspec.structs.replace(horizon, upto=EVERY_BLOCK))
                if self._holds_none_above(horizon):
                    return found
            return await ask(table, horizon)

        by_time = self._by_time
        if by_time is not None and is_about_time(search, horizon, by) and by_time.holds(horizon):
            doubts = by_time.doubts
            try:
                found = await ask_bounded(BY_TIME)
            except LogDamaged:
                by_time.doubt(is_damaged=True)
            else:
                if by_time.doubts == doubts:
                    return found
        return await ask_bounded(TABLES[0])

    def _holds_none_above(self, horizon: Horizon) -> bool:
        """Whether no table had anything of a block above it until now: true after a question, it was so throughout."""
        return self._was_looked_at and self._last_block <= horizon.upto
