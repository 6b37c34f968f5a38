"""From ledger to log, each attempt once: through stops at every step, a log that fails, one that holds other rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from openusher.attemptlog.base import AttemptLog, Held, Rows
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable, LogDamaged, LogUnavailable
from openusher.ledger.base import Decide, Ledger, LedgerStats
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter
from openusher.shipper import Shipper, Step
from tests.conformance.asking import NOON_MS, request

pytestmark = pytest.mark.anyio
WAIT_S_MAX = 30.0
MONTH_MS = 31 * 86_400_000
EVERYTHING = AttemptFilter()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class WatchedLedger(SqliteLedger):
    """Tells when the shipper looks at it."""

    looked = 0

    async def stats(self) -> LedgerStats:
        self.looked += 1
        return await super().stats()


class FailingLog(PlainListLog):
    """Fails when told to, and remembers what was inserted."""

    def __init__(self) -> None:
        super().__init__()
        self.inserted: list[int] = []
        self.files: list[Path] = []
        self.fails: set[str] = set()
        self.error: Exception = LogUnavailable("away")
        self.has_inserted = asyncio.Event()

    def _fail(self, moment: str) -> None:
        if moment in self.fails:
            self.fails.remove(moment)
            raise self.error

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        self._fail("before insert")
        if "insert nothing" in self.fails:
            return
        await super().insert(block, rows, table=table)
        self.inserted.append(block.number)
        self.files += [rows] if isinstance(rows, Path) else []
        self.has_inserted.set()
        self._fail("after insert")

    async def held(self, number: int, *, table: str) -> Held:
        self._fail("held")
        return await super().held(number, table=table)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[WatchedLedger]:
    opened = await WatchedLedger.open(tmp_path / "ledger.db")
    assert isinstance(opened, WatchedLedger)
    yield opened
    await opened.close()


def make_shipper(
    ledger: Ledger,
    attempt_log: AttemptLog,
    *,
    rows_min: int = 1,
    age_s_max: float = 60.0,
    wall_ms: Callable[[], int] = lambda: NOON_MS,
    **more: Any,
) -> Shipper:
    return Shipper(ledger, attempt_log, rows_min=rows_min, age_s_max=age_s_max, wall_ms=wall_ms, **more)


async def record(ledger: Ledger, rows: int = 3, *, months: int = 1) -> None:
    """`rows` attempts in each of so many months: as many blocks."""
    for month in range(months):
        now_ms = max(NOON_MS, ledger.clock_ms) + month * MONTH_MS
        await ledger.commit_batch([Decide(request(1)) for _ in range(rows)], now_ms=now_ms)


async def ids_in_log(attempt_log: AttemptLog) -> list[int]:
    horizon = Horizon(upto=1_000)
    return [attempt.id for attempt in await attempt_log.newest(1, EVERYTHING, horizon, limit=1_000)][::-1]


async def pending(ledger: Ledger) -> int:
    return (await ledger.count_pending(1, EVERYTHING)).count


async def test_everything_pending_goes_into_the_log_block_by_block(ledger: SqliteLedger) -> None:
    attempt_log = FailingLog()
    steps: list[Step] = []
    shipper = make_shipper(ledger, attempt_log, on_step=steps.append)
    await record(ledger, 3, months=3)

    assert await shipper.ship_all() == 3
    assert await ids_in_log(attempt_log) == list(range(1, 10))
    assert steps == list(Step) * 3
    assert await pending(ledger) == 0
    assert await ledger.delete_shipped(limit=10) == 0
    assert [block.shipped for block in await ledger.blocks()] == [True] * 3
    assert await shipper.ship_all() == 0
    assert await shipper.ship_next() is False


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", list(Step))
async def test_a_stop_at_any_step_loses_nothing_and_repeats_nothing(tmp_path: Path, step: Step) -> None:
    attempt_log = FailingLog()

    def stop(reached: Step) -> None:
        if reached is step:
            raise Stopped

    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    await record(ledger, 3, months=2)
    for _ in range(3):
        # It comes to the same step again and again, or gets past it since what came before is done.
        try:
            await make_shipper(ledger, attempt_log, on_step=stop).ship_next()
        except Stopped:
            counted = await ledger.count_pending(1, EVERYTHING)
            assert counted.count + await attempt_log.count(1, EVERYTHING, counted.horizon) == 6
        await ledger.close()
        ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    await make_shipper(ledger, attempt_log).ship_all()

    assert attempt_log.inserted == [1, 2]
    assert await ids_in_log(attempt_log) == [1, 2, 3, 4, 5, 6]
    assert (await pending(ledger), await ledger.check(quick=False)) == (0, [])
    await ledger.close()


@pytest.mark.parametrize("moment", ["before insert", "after insert", "held", "insert nothing"])
async def test_a_log_that_fails_is_tried_again_and_takes_each_block_once(ledger: SqliteLedger, moment: str) -> None:
    attempt_log = FailingLog()
    shipper = make_shipper(ledger, attempt_log)
    await record(ledger)
    attempt_log.fails.add(moment)
    with pytest.raises(LogUnavailable):
        await shipper.ship_next()
    assert await pending(ledger) == 3
    assert shipper.fault is None
    attempt_log.fails.clear()

    assert await shipper.ship_next()
    assert attempt_log.inserted == [1]
    assert await ids_in_log(attempt_log) == [1, 2, 3]


@pytest.mark.parametrize("error", [LogUnavailable("away"), ValueError("what nobody thought of")], ids=repr)
async def test_a_running_shipper_takes_up_again_by_itself(ledger: SqliteLedger, error: Exception) -> None:
    attempt_log = FailingLog()
    attempt_log.fails, attempt_log.error = {"before insert"}, error
    shipper = make_shipper(ledger, attempt_log)
    await record(ledger)
    shipper.start()
    await asyncio.wait_for(attempt_log.has_inserted.wait(), WAIT_S_MAX)
    await shipper.close()

    assert await ids_in_log(attempt_log) == [1, 2, 3]
    assert attempt_log.inserted == [1]


@pytest.mark.parametrize(
    ("rows_min", "waited_s", "ships"),
    [(3, 0, True), (4, 0, False), (4, 59.9, False), (4, 60, True)],
    ids=["enough", "too few", "too young", "old enough"],
)
async def test_attempts_are_shipped_when_they_are_many_or_old(
    ledger: WatchedLedger, rows_min: int, waited_s: float, ships: bool
) -> None:
    attempt_log = FailingLog()
    wall_ms = NOON_MS + int(waited_s * 1000)
    shipper = make_shipper(ledger, attempt_log, rows_min=rows_min, wall_ms=lambda: wall_ms)
    await record(ledger)
    shipper.start()
    async with asyncio.timeout(WAIT_S_MAX):
        while ledger.looked < 2 or (ships and not attempt_log.inserted):
            await asyncio.wait([asyncio.ensure_future(attempt_log.has_inserted.wait())], timeout=0.05)
    await shipper.close()

    assert bool(attempt_log.inserted) == ships


async def test_a_block_that_is_half_there_is_left_on_time_however_few_attempts_wait(ledger: WatchedLedger) -> None:
    attempt_log = FailingLog()
    await record(ledger)
    await ledger.next_block(now_ms=NOON_MS)
    shipper = make_shipper(ledger, attempt_log, rows_min=100)
    shipper.start()
    await asyncio.wait_for(attempt_log.has_inserted.wait(), WAIT_S_MAX)
    await shipper.close()

    assert attempt_log.inserted == [1]


async def test_without_a_log_nothing_is_shipped(ledger: SqliteLedger) -> None:
    shipper = make_shipper(ledger, LedgerOnlyLog())
    await record(ledger)
    shipper.start()
    await shipper.be_verified()
    assert await shipper.ship_all() == 0
    await shipper.close()

    assert await pending(ledger) == 3
    assert await ledger.blocks() == []


async def other_rows(ledger: Ledger, change: Callable[[bytes], bytes]) -> PlainListLog:
    """A log that holds the ledger's first block, changed."""
    attempt_log = FailingLog()
    await record(ledger)
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    await attempt_log.insert(block, change(await ledger.block_rows(block)), table="attempts")
    return attempt_log


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.replace(b'"cam1"', b'"cam2"', 1),
        lambda rows: b"\n".join(rows.split(b"\n")[:2]),
        lambda rows: rows + b"\n" + rows,
        lambda rows: rows.replace(b"[3,", b"[4,"),
    ],
    ids=["a changed text", "a row missing", "all twice", "another id"],
)
async def test_a_block_held_as_something_else_stops_shipping_and_counting(
    ledger: SqliteLedger, change: Callable[[bytes], bytes]
) -> None:
    attempt_log = await other_rows(ledger, change)
    before = await ids_in_log(attempt_log)
    shipper = make_shipper(ledger, attempt_log)
    for _ in range(2):
        with pytest.raises(LogDamaged, match="block 1"):
            await shipper.ship_next()
        with pytest.raises(CountUnavailable, match="usher check"):
            await shipper.be_verified()
        with pytest.raises(CountUnavailable):
            await shipper.ship_all()

    assert shipper.fault is not None
    assert await ids_in_log(attempt_log) == before
    assert await pending(ledger) == 3


async def test_a_log_that_knows_newer_blocks_than_its_ledger_gets_no_more(ledger: SqliteLedger) -> None:
    """A ledger restored from an older backup would give their numbers out again."""
    attempt_log = FailingLog()
    foreign = Block(number=7, incarnation=1, first_id=1, last_id=1, rows=1, digest="", shipped=False)
    await record(ledger)
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    await attempt_log.insert(foreign, (await ledger.block_rows(block)).split(b"\n")[0], table="attempts")
    shipper = make_shipper(ledger, attempt_log)
    with pytest.raises(CountUnavailable, match="block 7"):
        await shipper.ship_all()

    assert attempt_log.inserted == [7]


class LosingLog(FailingLog):
    """Restarts when told to, and may have lost rows by then. `meanwhile` is what happens while it is looked at."""

    restarts = lost = 0
    meanwhile: Callable[[], Coroutine[Any, Any, Any]] | None = None

    @property
    def starts(self) -> int:
        return 1 + self.restarts

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        lost, meanwhile, self.meanwhile = self.lost, self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return {number: rows - lost for number, rows in (await super().rows_by_block(table=table)).items()}


async def test_a_log_is_verified_at_each_of_its_starts(ledger: SqliteLedger) -> None:
    attempt_log = LosingLog()
    shipper = make_shipper(ledger, attempt_log)
    await record(ledger)
    await shipper.ship_all()
    attempt_log.lost = 1
    await shipper.be_verified()
    attempt_log.restarts = 1
    for _ in range(2):
        with pytest.raises(CountUnavailable, match="holds 2 attempts of block 1's 3"):
            await shipper.be_verified()
    attempt_log.lost, attempt_log.restarts = 0, 2
    await shipper.be_verified()
    assert shipper.fault is None

    async def lose_and_start_again() -> None:
        attempt_log.lost, attempt_log.restarts = 1, 4

    attempt_log.restarts, attempt_log.meanwhile = 3, lose_and_start_again
    with pytest.raises(CountUnavailable, match="holds 2 attempts of block 1's 3"):
        await shipper.be_verified()


async def test_a_block_shipped_while_the_log_is_verified_is_no_fault(ledger: SqliteLedger) -> None:
    """A log that restarts is verified by whoever counts first, beside a shipper that goes on."""
    attempt_log = LosingLog()
    shipper = make_shipper(ledger, attempt_log)
    await record(ledger)
    attempt_log.meanwhile = shipper.ship_next
    await shipper.be_verified()

    assert (shipper.fault, attempt_log.inserted) == (None, [1])


class TwoTables(FailingLog):
    """A log whose blocks go into two tables."""

    def __init__(self) -> None:
        super().__init__()
        self._second = FailingLog()

    async def tables(self) -> Sequence[str]:
        return ("attempts", "second")

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        if table == "second":
            await self._second.insert(block, rows, table=table)
        else:
            await super().insert(block, rows, table=table)

    async def held(self, number: int, *, table: str) -> Held:
        return await (
            self._second.held(number, table=table) if table == "second" else super().held(number, table=table)
        )

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        return await (
            self._second.rows_by_block(table=table) if table == "second" else super().rows_by_block(table=table)
        )


async def test_only_tables_that_hold_none_of_a_block_are_filled(ledger: SqliteLedger) -> None:
    attempt_log = TwoTables()
    shipper = make_shipper(ledger, attempt_log)
    await record(ledger)
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    await attempt_log.insert(block, await ledger.block_rows(block), table="second")
    await shipper.ship_all()

    assert [await attempt_log.rows_by_block(table=table) for table in ("attempts", "second")] == [{1: 3}, {1: 3}]
    await make_shipper(ledger, attempt_log).be_verified()


async def test_rows_go_by_a_file_which_is_gone_afterwards(ledger: SqliteLedger, tmp_path: Path) -> None:
    attempt_log, file = FailingLog(), tmp_path / "shipping"
    file.write_text("of a block before, which a kill has left behind")
    shipper = make_shipper(ledger, attempt_log, rows_file=file)
    await record(ledger, months=2)

    assert await shipper.ship_all() == 2
    assert attempt_log.files == [file, file]
    assert not file.exists()


async def test_two_that_ship_at_once_insert_each_block_once(ledger: SqliteLedger) -> None:
    attempt_log = FailingLog()
    shipper = make_shipper(ledger, attempt_log)
    await record(ledger, months=3)
    shipped = await asyncio.gather(*[shipper.ship_all() for _ in range(3)])

    assert sum(shipped) == 3
    assert attempt_log.inserted == [1, 2, 3]
