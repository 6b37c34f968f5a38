"""A log whose process can be reached and killed, and blocks to put into it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openusher.attemptlog.base import Held
from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Engine, Lane, Statement
from openusher.errors import LogUnavailable
from openusher.model.block import Block
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Row

BLOCK_ROWS = 4_000
CDN = 158
# From then on each block stays a part of its own, also for those who open the log later: the engine would merge them
# meanwhile, and damage to a part that was merged is none.
KEEP_PARTS = "ALTER TABLE usher.attempts MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1"
NONE_HELD = Held(rows=0, first_id=0, last_id=0, digest="")


class Opened:
    """A columnar log with its engine in reach, for tests that kill what the engine runs."""

    def __init__(self, folder: Path, *, count_s_max: float = 20) -> None:
        self.engine = EmbeddedEngine(folder, memory_bytes_max=1_500_000_000)
        self.log = ColumnarLog(self.engine, count_s_max=count_s_max)

    async def __aenter__(self) -> Opened:
        await self.log.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()

    @property
    def pid(self) -> int:
        assert self.engine.pid is not None
        return self.engine.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def restarted(self, starts: int) -> None:
        """Return once the log has been started more often than `starts`."""
        await until(lambda: self.engine.starts > starts and self.engine.pid is not None)

    async def keep_parts(self) -> None:
        await keep_parts(self.engine)

    async def insert(self, number: int, rows: list[Row]) -> None:
        await self.log.insert(block_of(number, rows), oracle.block_bytes(rows), table="attempts")

    async def insert_until_killed(self, number: int, rows: list[Row], *, after_s: float) -> bool:
        """Insert, and kill the process after so long; says whether the insert was acknowledged. Returns when a new
        process is there."""
        block, data, starts = block_of(number, rows), oracle.block_bytes(rows), self.engine.starts
        insert = asyncio.create_task(self.log.insert(block, data, table="attempts"))
        await asyncio.wait([insert], timeout=after_s)
        self.signal(signal.SIGKILL)
        await asyncio.wait([insert])
        await self.restarted(starts)
        assert insert.exception() is None or isinstance(insert.exception(), LogUnavailable)
        return insert.exception() is None


async def keep_parts(engine: Engine) -> None:
    await engine.execute(Statement(text=KEEP_PARTS, lane=Lane.INSERT, seconds_max=60))


async def until(is_so: Callable[[], bool], *, seconds_max: float = 30.0) -> None:
    async with asyncio.timeout(seconds_max):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def log_process(data: Path) -> int:
    """The log process that last had the log of the data folder `data`."""
    # `process 123, started by process 122`
    return int((data / "log" / "lock").read_text().split(",")[0].removeprefix("process "))


def is_reaped(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@contextmanager
def chdb_is(lines: str, folder: Path) -> Iterator[None]:
    """In processes that start meanwhile, chDB is a module of these lines."""
    package = folder.parent / "path" / "chdb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(lines)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
        try:
            yield
        finally:
            shutil.rmtree(package)


def rows_of(number: int, count: int = BLOCK_ROWS) -> list[Row]:
    texts = {
        "key": f"key{number}",
        "pass": "it's|\\%",
        "app": "live",
        "video": "é/*",
        "appinst": "",
        "pageurl": "p" * 40,
    }
    addresses = {"ip": "192.0.2.1", "server_ip": "2001:db8::1"}
    numbers = {"cdn": CDN, "at_ms": 1_793_484_000_000, "edge": 1, "cut": 0}
    return [
        {**texts, **addresses, **numbers, "id": number * 100_000 + i, "refurl": "", "user_agent": str(i), "reason": ""}
        for i in range(count)
    ]


def block_of(number: int, rows: list[Row]) -> Block:
    return Block(
        number=number,
        incarnation=5,
        first_id=rows[0]["id"],
        last_id=rows[-1]["id"],
        rows=len(rows),
        digest=oracle.digest(rows),
        shipped=False,
    )


def held_of(number: int, rows: list[Row]) -> Held:
    block = block_of(number, rows)
    return Held(rows=block.rows, first_id=block.first_id, last_id=block.last_id, digest=block.digest)
