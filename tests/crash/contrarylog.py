"""A log on an engine whose every default is the worst one: nothing helps but what the log's own statements state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.embedded.wire import HANDLES
from openusher.attemptlog.engine import Engine, Lane, Statement
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter, GroupBy
from tests.crash.openedlog import CDN
from tests.crash.settingreasons import INSERT, SHARPENED, STATEMENT
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Row

Ask = Callable[[], Coroutine[Any, Any, Any]]

COUNT_S_MAX = 17
# Six granules a block: two entries of each skip index.
BLOCK_ROWS = 12_000
BLOCKS = 3
WHOLE = Horizon(upto=BLOCKS)

_SETTINGS = "SETTINGS "
_TELLS_MAX = 20


class RecordingEngine:
    """Keeps the statements that pass, and takes the settings of `without` out of them."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self.seen: list[Statement] = []
        self.without: frozenset[str] = frozenset()

    @property
    def starts(self) -> int:
        return self._engine.starts

    @property
    def pid(self) -> int | None:
        return self._engine.pid

    async def start(self, first: Sequence[Statement] = ()) -> None:
        await self._engine.start(first)

    async def execute(self, statement: Statement) -> list[list[Any]]:
        return await self._engine.execute(self._passed(statement))

    async def text_of(self, statement: Statement) -> bytes:
        return await self._engine.text_of(self._passed(statement))

    def _passed(self, statement: Statement) -> Statement:
        self.seen.append(statement)
        head, _, clause = statement.text.rpartition(_SETTINGS)
        kept = [one for one in clause.split(", ") if one.split(" = ")[0] not in self.without]
        return msgspec.structs.replace(statement, text=head + _SETTINGS + ", ".join(kept))

    async def close(self) -> None:
        await self._engine.close()


_: type[Engine] = RecordingEngine


class ContraryLog:
    """Asked from outside a loop. Its process must not be restarted: the defaults are those of its handles."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.engine = EmbeddedEngine(folder, memory_bytes_max=1_500_000_000)
        self.recording = RecordingEngine(self.engine)
        self.log = ColumnarLog(self.recording, count_s_max=COUNT_S_MAX)
        self.run = runner.run
        self.run(self.log.start())
        self.set({name: stated.worst for name, stated in {**STATEMENT, **INSERT}.items()} | SHARPENED)
        # Each block is to stay the part that it came as.
        self.command("SYSTEM STOP MERGES usher.attempts")

    def close(self) -> None:
        self.run(self.log.close())

    def set(self, defaults: dict[str, str]) -> None:
        """Make these the defaults of every handle."""
        for lane in Lane:
            self.run(self._set(lane, defaults))

    async def _set(self, lane: Lane, defaults: dict[str, str]) -> None:
        text = "SET " + ", ".join(f"{name} = '{value}'" for name, value in defaults.items())
        names = ", ".join(f"'{name}'" for name in defaults)
        # Which idle handle takes a statement is chance, but two that take a while are taken by two.
        look = f"SELECT name, toString(value), sleep(0.01) FROM system.settings WHERE name IN ({names})"
        for _ in range(_TELLS_MAX):
            # As many at a time as reach every handle of the lane.
            await asyncio.gather(*(self._execute(text, lane) for _ in range(HANDLES[lane])))
            found = await asyncio.gather(*(self._execute(look, lane) for _ in range(HANDLES[lane])))
            if all({name: value for name, value, _ in rows} == defaults for rows in found):
                return
        raise AssertionError(f"the engine does not take all of: {text}")

    def command(self, text: str) -> None:
        self.run(self._execute(text, Lane.INSERT))

    def rows(self, text: str) -> list[list[Any]]:
        """The rows of a query that is none of the log's own."""
        return self.run(self._execute(f"{text} SETTINGS output_format_json_quote_64bit_integers = 0", Lane.CHECK))

    async def _execute(self, text: str, lane: Lane) -> list[list[Any]]:
        return await self.engine.execute(Statement(text=text, lane=lane, seconds_max=30))

    def insert(self, number: int, rows: list[Row], *, without: Collection[str] = ()) -> None:
        self.recording.without = frozenset(without)
        try:
            self.run(self.log.insert(_block(number, rows), oracle.block_bytes(rows), table="attempts"))
        finally:
            self.recording.without = frozenset()

    def parts(self, number: int) -> list[int]:
        """How many rows of block `number` each part holds."""
        return [
            count for (count,) in self.rows(f"SELECT count() FROM usher.attempts WHERE block = {number} GROUP BY _part")
        ]

    def event(self, name: str, ask: Ask, *, without: Collection[str] = ()) -> int:
        """How often the engine counted the event `name` of its own work while it answered `ask`."""
        text = f"SELECT sum(value) FROM system.events WHERE event = '{name}'"
        before = self.rows(text)[0][0]
        self.recording.without = frozenset(without)
        try:
            self.run(ask())
        finally:
            self.recording.without = frozenset()
        return int(self.rows(text)[0][0]) - int(before)

    def stated(self, ask: Ask) -> list[dict[str, str]]:
        """For each statement that `ask` leads to: the settings it states, as the engine takes them."""
        self.recording.seen.clear()
        self.run(ask())
        return [self.run(self._stated(statement)) for statement in self.recording.seen]

    async def _stated(self, statement: Statement) -> dict[str, str]:
        clause = statement.text.rpartition(_SETTINGS)[2]
        names = [one.split(" = ")[0] for one in clause.split(", ")]
        text = f"SELECT name, toString(value) FROM system.settings {_SETTINGS}{clause}"
        shown = dict(await self._execute(text, statement.lane))
        return {name: shown[name] for name in names}

    def questions(self) -> dict[str, Ask]:
        """One of every kind that is asked of a log."""
        log, anything = self.log, AttemptFilter()
        return {
            "count": lambda: log.count(CDN, anything, WHOLE),
            "count of a key": lambda: log.count(CDN, AttemptFilter(key="key5"), WHOLE),
            "groups": lambda: log.groups(CDN, anything, GroupBy.KEY, WHOLE, top=3),
            "counts of groups": lambda: log.counts_of(CDN, anything, GroupBy.KEY, WHOLE, values=["key5"]),
            "newest": lambda: log.newest(CDN, anything, WHOLE, limit=5),
            "held": lambda: log.held(2, table="attempts"),
            "all held": lambda: log.all_held(table="attempts"),
            "rows by block": lambda: log.rows_by_block(table="attempts"),
        }


def _block(number: int, rows: list[Row]) -> Block:
    """Without a digest, which a row that must be refused has none of."""
    first, last = rows[0]["id"], rows[-1]["id"]
    return Block(number=number, incarnation=5, first_id=first, last_id=last, rows=len(rows), digest="", shipped=False)


def varied_rows(number: int, count: int = BLOCK_ROWS) -> list[Row]:
    """A block of many viewers, each with attempts all over it."""
    texts = {"app": "live", "appinst": "", "pageurl": "p" * 40, "refurl": "", "reason": ""}
    numbers = {"cdn": CDN, "at_ms": 1_793_484_000_000, "edge": 1, "cut": 0}
    return [
        {
            **texts,
            **numbers,
            "id": number * 100_000 + i,
            "key": f"key{(7 * number + i) % 97}",
            "pass": f"user{i % 31}|pass{i % 101}",
            "video": f"video{i % 13}",
            "user_agent": f"agent {i}",
            "ip": f"10.0.{i % 97}.{i % 250}",
            "server_ip": "192.0.2.2",
        }
        for i in range(count)
    ]
