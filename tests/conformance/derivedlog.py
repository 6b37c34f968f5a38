"""A log with a table by time, with its engine in reach, for tests of what that table may be asked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.embedded.log import EmbeddedLog
from openusher.attemptlog.engine import Lane, Statement
from openusher.errors import LogDamaged
from openusher.model.block import Horizon
from tests.conformance.attempts_to_ship import BLOCKS, CDN, MONTH_END_MS, WHOLE, block_of, expected, search_of
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Filter

BY_TIME = "attempts_by_time"
NOVEMBER: Filter = {"from_ms": MONTH_END_MS + 1_000}
SEARCH = search_of(NOVEMBER)
ALL_ROWS = sum(len(rows) for rows in BLOCKS.values())
# In what fills it, month by month.
FILLING = "_partition_id ="


class AskedEngine(EmbeddedEngine):
    """Remembers what was asked of it, and says what it is told to of a statement with some words in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, memory_bytes_max=1_500_000_000)
        self.asked: list[str] = []
        # Of these, what a client's question was last.
        self.question = ""
        self.damaged = ""
        # Words of statements that wait until they may go on.
        self.waits = ""
        self.goes_on = asyncio.Event()

    async def text_of(self, statement: Statement) -> bytes:
        self.asked.append(statement.text)
        if statement.lane in (Lane.COUNT, Lane.SCAN):
            self.question = statement.text
        # The engine goes on with what it has begun, though nobody awaits it any more.
        return await asyncio.shield(self._carried_out(statement))

    async def _carried_out(self, statement: Statement) -> bytes:
        if self.waits and self.waits in statement.text:
            await self.goes_on.wait()
        if self.damaged and self.damaged in statement.text:
            raise LogDamaged("a checksum does not match")
        return await super().text_of(statement)


class Derived:
    """A log with its engine in reach, and a loop to ask it in."""

    def __init__(self, folder: Path, runner: asyncio.Runner, *, by_time: bool = True) -> None:
        self.engine = AskedEngine(folder)
        self.log: ColumnarLog = EmbeddedLog(self.engine, folder, count_s_max=30, by_time=by_time)
        self.run = runner.run
        self.run(self.log.start())

    def close(self) -> None:
        self.run(self.log.close())

    def insert(self, *numbers: int) -> None:
        for number in numbers:
            self.run(self.insert_block(number))

    async def insert_block(self, number: int) -> None:
        rows = BLOCKS[number]
        await self.log.insert(block_of(number, rows), oracle.block_bytes(rows), table="attempts")

    def derive(self, upto: int = 8, *, released: int = 0) -> None:
        """As the shipper does: again and again, until what goes on behind it is done."""
        self.run(self._derive(upto, released))

    async def _derive(self, upto: int, released: int) -> None:
        async with asyncio.timeout(30):
            await self.log.derive(upto, released=released)
            while not await self._answers_from(BY_TIME, replace(WHOLE, upto=upto)):
                await asyncio.sleep(0.02)
                await self.log.derive(upto, released=released)

    def execute(self, text: str) -> list[list[Any]]:
        return self.run(self.engine.execute(Statement(text=text, lane=Lane.CHECK, seconds_max=60)))

    def count(self, wanted: Filter = NOVEMBER, horizon: Horizon = WHOLE) -> int:
        return self.run(self.log.count(CDN, search_of(wanted), horizon))

    def is_by_time(self, horizon: Horizon = WHOLE) -> bool:
        """Whether a count of November is asked of the table by time."""
        return self.run(self._answers_from(BY_TIME, horizon))

    async def _answers_from(self, table: str, horizon: Horizon) -> bool:
        await self.log.count(CDN, SEARCH, horizon)
        return table in self.engine.question

    def settle(self) -> None:
        """Return once the engine has written all anew that it was told to."""
        deadline = time.monotonic() + 30
        while self.execute("SELECT count() FROM system.mutations WHERE NOT is_done") != [[0]]:
            assert time.monotonic() < deadline

    def rows(self) -> int:
        return int(self.execute(f"SELECT count() FROM usher.{BY_TIME}")[0][0])


def whole(folder: Path, runner: asyncio.Runner) -> Derived:
    """A log with all blocks, the last of which came one by one."""
    derived = Derived(folder, runner)
    derived.insert(*range(1, 7))
    derived.derive(6)
    for number in (7, 8):
        derived.insert(number)
        derived.derive(number)
    return derived


def again(derived: Derived, runner: asyncio.Runner, folder: Path) -> Derived:
    """The same log, opened by another process."""
    derived.close()
    return Derived(folder / "log", runner)


def expected_of(wanted: Filter, horizon: Horizon = WHOLE) -> int:
    """How many attempts match."""
    return len(expected(wanted, horizon))
