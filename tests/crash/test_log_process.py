"""The log process, killed, stopped, lied to and robbed of its files: a block is there whole or not, a count is right or
an error, and a new process takes over."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openusher.attemptlog.base import Held
from openusher.attemptlog.columnar import ColumnarLog
from openusher.attemptlog.embedded import child
from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Lane, Statement
from openusher.errors import LogDamaged, LogUnavailable, SetupError
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter
from tests.conftest import Promise
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Row

pytestmark = [pytest.mark.crash]

ROUNDS = int(os.environ.get("USHER_CRASH_ROUNDS", "12"))
BLOCK_ROWS = 4_000
CDN = 158
NONE_HELD = Held(rows=0, first_id=0, last_id=0, digest="")
ROOT = Path(__file__).resolve().parents[2]


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


def is_reaped(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


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
    seed = int(os.environ.get("USHER_CRASH_SEED", str(random.randrange(10**6))))
    print(f"seed {seed}: USHER_CRASH_SEED={seed} repeats the moments of the kills")
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
            await opened.log.newest_block()
            opened.signal(signal.SIGKILL)
            killed = time.monotonic()
            failed = await asyncio.gather(*asked, return_exceptions=True)

            assert [LogUnavailable] * 6 == [type(error) for error in failed]
            assert time.monotonic() - killed < 2
            with pytest.raises(LogUnavailable):
                await opened.log.newest_block()
            await opened.restarted(starts)
            assert await opened.log.newest_block() == 0

    asyncio.run(die())


def test_a_statement_over_its_time_is_an_error_and_the_process_goes_on(folder: Path) -> None:
    async def overrun() -> None:
        async with Opened(folder) as opened:
            pid = opened.pid
            text = "SELECT sleepEachRow(0.1) FROM numbers(100) SETTINGS max_block_size = 1, max_execution_time = 1"

            with pytest.raises(LogUnavailable, match="TIMEOUT_EXCEEDED"):
                await opened.engine.execute(Statement(text=text, lane=Lane.COUNT, seconds_max=5))
            assert opened.pid == pid
            assert await opened.log.newest_block() == 0

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
                await opened.log.newest_block()

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


def test_a_second_door_is_told_who_has_the_log(folder: Path) -> None:
    async def collide() -> None:
        async with Opened(folder) as first:
            with pytest.raises(SetupError, match=f"in use by process {first.pid}, started by process {os.getpid()}"):
                await Opened(folder).log.start()
            assert await first.log.newest_block() == 0

    asyncio.run(collide())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "killed by SIGILL"),
        ("import os, sys\nsys.stderr.write('no AVX here\\n')\nos._exit(3)", "status 3"),
        ("raise ImportError('GLIBC_2.99 not found')", "cannot open it"),
    ],
    ids=["a CPU it was not built for", "it gives up", "it cannot be imported"],
)
def test_where_chdb_cannot_run_the_error_names_the_small_mode(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, said: str
) -> None:
    package = tmp_path / "path" / "chdb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(lines)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    with pytest.raises(SetupError, match="--log ledger") as raised:
        asyncio.run(Opened(folder).log.start())

    assert said in str(raised.value)


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


# Damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log of four blocks, of which each test takes a copy."""
    folder = tmp_path_factory.mktemp("sound") / "log"

    async def fill() -> None:
        async with Opened(folder) as opened:
            for number in range(1, 5):
                await opened.insert(number, rows_of(number, 300))

    asyncio.run(fill())
    return folder


@pytest.fixture
def copy(sound: Path, folder: Path) -> Iterator[Path]:
    shutil.copytree(sound, folder, symlinks=True)
    yield folder
    shutil.rmtree(folder)


def parts(folder: Path) -> list[Path]:
    found = sorted(path for path in (folder / "chdb" / "store").rglob("2026*_*") if path.is_dir())
    assert found
    return found


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "columns cut short": lambda part: _cut(part / "data.bin"),
    "a byte of the columns flipped": lambda part: _flip(part / "data.bin"),
    "columns removed": lambda part: (part / "data.bin").unlink(),
    "marks cut short": lambda part: _cut(next(part.glob("data.cmrk*"))),
    "number of rows removed": lambda part: (part / "count.txt").unlink(),
    "skip index cut short": lambda part: _cut(next(part.glob("skp_idx*"))),
    "primary key cut short": lambda part: _cut(next(part.glob("primary.*"))),
    "a part removed": lambda part: _remove(part),
    "every part removed": lambda part: _remove(*part.parent.glob("2026*_*")),
    "the table's definition removed": lambda part: _remove(*part.parents[3].rglob("attempts.sql")),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damage_is_an_error_or_shows_in_what_is_held(copy: Path, damage: str, promise: Promise) -> None:
    expected = {number: held_of(number, rows_of(number, 300)) for number in range(1, 5)}
    _DAMAGES[damage](parts(copy)[0])

    async def look() -> str:
        opened = Opened(copy)
        try:
            await opened.log.start()
            rows = await opened.log.rows_by_table(Horizon(upto=4))
            if rows != {"attempts": 1200}:
                return "rows"
            return "nothing" if expected == await opened.log.all_held(table="attempts") else "digest"
        except LogDamaged:
            return "damaged"
        finally:
            await opened.log.close()

    assert asyncio.run(look()) in ("rows", "damaged")
    promise("Counted exactly once", kinds_of_damage_seen=1)


def test_a_log_that_was_damaged_answers_again_once_its_files_are_back(copy: Path, sound: Path) -> None:
    async def mend() -> None:
        _cut(parts(copy)[0] / "data.bin")
        opened = Opened(copy)
        with pytest.raises(LogDamaged, match="damaged"):
            await opened.log.start()
        with pytest.raises((LogDamaged, LogUnavailable)):
            await opened.log.count(CDN, AttemptFilter(), Horizon(upto=4))
        broken = parts(copy)[0] / "data.bin"
        shutil.copyfile(parts(sound)[0] / "data.bin", broken)
        await opened.restarted(0)

        assert await opened.log.count(CDN, AttemptFilter(), Horizon(upto=4)) == 1200
        await opened.log.close()

    asyncio.run(mend())
