"""The log process, killed, stopped and lied to: a block is there whole or not, a count is right or an error, and a new
process takes over."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openusher.attemptlog.base import Held
from openusher.attemptlog.embedded import child
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Lane, Statement
from openusher.errors import LogDamaged, LogUnavailable
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.crash.openedlog import (
    BLOCK_ROWS,
    CDN,
    NONE_HELD,
    Opened,
    block_of,
    held_of,
    is_reaped,
    is_running,
    rows_of,
    until,
)
from tests.oracles import attempt_rows as oracle

pytestmark = [pytest.mark.crash]

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "12"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


# A block whose insert only shows how long one takes.
_TIMED = 1000


async def _seconds_of_an_insert(opened: Opened) -> float:
    rows = rows_of(_TIMED)
    block, data = block_of(_TIMED, rows), oracle.block_bytes(rows)
    begun = time.monotonic()
    await opened.log.insert(block, data, table="attempts")
    return time.monotonic() - begun


def test_a_block_is_held_whole_or_not_at_all_when_the_process_is_killed(folder: Path, promise: Promise) -> None:
    seed = int(os.environ.get("CRASH_SEED", str(random.randrange(10**6))))
    print(f"seed {seed}: CRASH_SEED={seed} repeats the moments of the kills")
    rng = random.Random(seed)

    async def rounds() -> tuple[int, int]:
        whole = acknowledged = 0
        expected: dict[int, Held] = {}
        async with Opened(folder) as opened:
            insert_s = await _seconds_of_an_insert(opened)
            for number in range(1, ROUNDS + 1):
                rows = rows_of(number)
                answered = await opened.insert_until_killed(number, rows, after_s=rng.uniform(0, 1.5 * insert_s))
                held = await opened.log.held(number, table="attempts")

                assert held in (NONE_HELD, held_of(number, rows))
                assert held != NONE_HELD or not answered
                acknowledged += answered
                whole += held != NONE_HELD
                if held == NONE_HELD:
                    await opened.insert(number, rows)
                expected[number] = held_of(number, rows)
            expected[_TIMED] = held_of(_TIMED, rows_of(_TIMED))
            assert expected == await opened.log.all_held(table="attempts")
            assert await opened.log.count(CDN, AttemptFilter(), Horizon(upto=ROUNDS)) == ROUNDS * BLOCK_ROWS
        return whole, acknowledged

    whole, acknowledged = asyncio.run(rounds())

    print(f"{ROUNDS} kills: {whole} blocks were there, {acknowledged} of them acknowledged")
    promise("Counted exactly once", kills_of_the_log_while_it_inserts=ROUNDS)


def test_a_process_that_hangs_is_killed_and_replaced_and_counts_fail_meanwhile(folder: Path) -> None:
    async def hang() -> None:
        async with Opened(folder, count_s_max=1) as opened:
            await opened.insert(1, rows_of(1, 10))
            pid, starts = opened.pid, opened.engine.starts
            opened.signal(signal.SIGSTOP)
            asked = time.monotonic()

            with pytest.raises(LogUnavailable):
                await opened.log.count(CDN, AttemptFilter(), Horizon(upto=1))
            assert time.monotonic() - asked < 8
            await opened.restarted(starts)
            assert is_reaped(pid)
            assert opened.pid != pid
            assert await opened.log.count(CDN, AttemptFilter(), Horizon(upto=1)) == 10

    asyncio.run(hang())


def test_what_waits_when_the_process_dies_fails_at_once_and_is_not_asked_of_the_next(folder: Path) -> None:
    async def die() -> None:
        async with Opened(folder) as opened:
            slow = Statement(
                text="SELECT sleepEachRow(1) FROM numbers(10) SETTINGS max_block_size = 1",
                lane=Lane.COUNT,
                seconds_max=20,
            )
            starts = opened.engine.starts
            asked = [asyncio.create_task(opened.engine.execute(slow)) for _ in range(6)]
            # Once it answers another lane it has read what came before, too.
            await opened.log.rows_by_block(table="attempts")
            opened.signal(signal.SIGKILL)
            killed = time.monotonic()
            failed = await asyncio.gather(*asked, return_exceptions=True)

            assert [LogUnavailable] * 6 == [type(error) for error in failed]
            assert time.monotonic() - killed < 2
            with pytest.raises(LogUnavailable):
                await opened.log.rows_by_block(table="attempts")
            await opened.restarted(starts)
            assert await opened.log.rows_by_block(table="attempts") == {}

    asyncio.run(die())


def test_what_waits_when_the_log_is_closed_fails_and_nobody_waits_on(folder: Path) -> None:
    async def close() -> None:
        async with Opened(folder) as opened:
            slow = Statement(
                text="SELECT sleepEachRow(1) FROM numbers(2) SETTINGS max_block_size = 1",
                lane=Lane.COUNT,
                seconds_max=60,
            )
            asked = [asyncio.create_task(opened.engine.execute(slow)) for _ in range(6)]
            # Now the process has two of them, and four wait for their turn.
            await opened.log.rows_by_block(table="attempts")
        failed, waiting = await asyncio.wait(asked, timeout=1)

        assert (len(failed), len(waiting)) == (6, 0)
        for task in failed:
            with pytest.raises(LogUnavailable, match="is closed"):
                task.result()
        with pytest.raises(LogUnavailable, match="is closed"):
            await opened.engine.execute(slow)

    asyncio.run(close())


def test_a_statement_over_its_time_is_an_error_and_the_process_goes_on(folder: Path) -> None:
    async def overrun() -> None:
        async with Opened(folder) as opened:
            pid = opened.pid
            text = "SELECT sleepEachRow(0.1) FROM numbers(100) SETTINGS max_block_size = 1, max_execution_time = 1"

            with pytest.raises(LogUnavailable, match="TIMEOUT_EXCEEDED"):
                await opened.engine.execute(Statement(text=text, lane=Lane.COUNT, seconds_max=5))
            assert opened.pid == pid
            assert await opened.log.rows_by_block(table="attempts") == {}

    asyncio.run(overrun())


def test_an_error_of_the_engine_never_shows_a_value(folder: Path) -> None:
    async def fail() -> None:
        async with Opened(folder) as opened:
            for text in (
                "SELECT toUInt8({p0:String})",
                "SELECT {p0:UInt8}",
                "SELECT * FROM nowhere WHERE a = {p0:String}",
            ):
                statement = Statement(text=text, params={"p0": "s3cret"}, lane=Lane.COUNT, seconds_max=5)
                with pytest.raises((LogUnavailable, LogDamaged)) as raised:
                    await opened.engine.execute(statement)

                assert "s3cret" not in str(raised.value)
                assert "s3cret" not in repr(statement)

    asyncio.run(fail())


def test_the_process_ignores_signals_meant_for_the_door_and_ends_within_seconds_when_closed(folder: Path) -> None:
    async def stop() -> None:
        async with Opened(folder) as opened:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                opened.signal(number)
            await opened.insert(1, rows_of(1, 10))
            pid = opened.pid
            assert await opened.log.count(CDN, AttemptFilter(), Horizon(upto=1)) == 10
            asked = time.monotonic()
            await opened.log.close()

            assert time.monotonic() - asked < 6
            assert is_reaped(pid)
            with pytest.raises(LogUnavailable):
                await opened.log.rows_by_block(table="attempts")

    asyncio.run(stop())


_DOOR = """
import asyncio, sys
from pathlib import Path
from openusher.attemptlog.embedded.client import EmbeddedEngine

async def main():
    engine = EmbeddedEngine(Path(sys.argv[1]), memory_bytes_max=1_500_000_000)
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("is_stopped", [False, True], ids=["while it runs", "while it is stopped"])
def test_the_process_dies_with_the_door(folder: Path, is_stopped: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", _DOOR, str(folder)], stdout=subprocess.PIPE, text=True) as door:
        assert door.stdout is not None
        pid = int(door.stdout.readline())
        assert is_running(pid)
        if is_stopped:
            os.kill(pid, signal.SIGSTOP)
        door.kill()

    asyncio.run(until(lambda: not is_running(pid), seconds_max=5))


def test_a_process_that_breaks_the_frame_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PROCESS", "tests.crash.babbling")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    async def babble() -> None:
        engine = EmbeddedEngine(folder, memory_bytes_max=1_500_000_000)
        await engine.start()
        pid = engine.pid
        assert pid is not None
        with pytest.raises(LogUnavailable):
            await engine.execute(Statement(text="SELECT 1", lane=Lane.COUNT, seconds_max=5))
        await until(lambda: is_reaped(pid))
        await engine.close()

    asyncio.run(babble())
