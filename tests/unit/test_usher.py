"""Counts across ledger and log: exact while attempts move, and none at all where no exact one can be given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from openusher.attemptlog.base import GroupedLog, Held
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable, LedgerUnavailable, LogDamaged, LogUnavailable, NotAuthorised
from openusher.gate import Gate
from openusher.ledger.base import Decide, Directory, Ledger
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, Group, GroupBy
from openusher.searching import COUNT_WAIT_S_MAX
from openusher.shipper import Shipper
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, request

pytestmark = pytest.mark.anyio
EVERYTHING = AttemptFilter()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class MovingLog(PlainListLog):
    """Before it counts or groups, all that pends is shipped; and it can restart, lose rows, be away or be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.shipper: Shipper | None = None
        self.restarts = 0
        self.restarts_before_count = False
        self.lost = 0
        self.errors: list[Exception] = []
        self.hangs = False
        self.cannot_close = False

    async def close(self) -> None:
        await super().close()
        if self.cannot_close:
            raise RuntimeError("the handler is closed")

    @property
    def starts(self) -> int:
        return 1 + self.restarts

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        if self.errors:
            raise self.errors.pop()
        if self.shipper is not None:
            await self.shipper.ship_all()
        if self.restarts_before_count:
            self.restarts_before_count = False
            self.restarts += 1
            self.lost = 1
        return await super().count(cdn, search, horizon) - self.lost

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int) -> GroupedLog:
        if self.shipper is not None:
            await self.shipper.ship_all()
        return await super().groups(cdn, search, by, horizon, top=top)

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        if self.hangs:
            await asyncio.Event().wait()
        return {number: rows - self.lost for number, rows in (await super().rows_by_block(table=table)).items()}


@pytest.fixture
async def attempt_log() -> MovingLog:
    return MovingLog()


@pytest.fixture
def count_wait_s_max() -> float:
    return COUNT_WAIT_S_MAX


@pytest.fixture
async def usher(tmp_path: Path, attempt_log: MovingLog, count_wait_s_max: float) -> AsyncIterator[Usher]:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    opened = Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS, count_wait_s_max=count_wait_s_max)
    await opened.start()
    for n in range(5):
        await opened.authorize(request(1, video=f"v{n % 2}"))
    await shipper.ship_all()
    for n in range(4):
        await opened.authorize(request(1, video=f"v{n % 3}"))
    yield opened
    await opened.close()


async def test_a_count_is_exact_while_attempts_move_below_it(usher: Usher, attempt_log: MovingLog) -> None:
    """The ledger is read first; read second, what moved in between would be counted in neither."""
    attempt_log.shipper = usher.shipper

    assert await usher.searching.count(1, EVERYTHING) == 9
    assert await usher.searching.count(1, EVERYTHING) == 9


async def test_groups_and_lists_are_exact_while_attempts_move_below_them(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.shipper = usher.shipper
    grouped = await usher.searching.group(1, EVERYTHING, GroupBy.VIDEO, limit=10)
    listed = await usher.searching.newest(1, EVERYTHING, seek=0, limit=100)

    assert (grouped.groups, grouped.group_count, grouped.total) == (
        [Group("v0", 5), Group("v1", 3), Group("v2", 1)],
        3,
        9,
    )
    assert [attempt.id for attempt in listed] == list(range(9, 0, -1))


@pytest.mark.parametrize(("seek", "limit"), [(0, 1), (0, 2), (1, 1), (1, 5), (2, 1), (3, 1)])
async def test_groups_are_cut_after_ledger_and_log_are_put_together(usher: Usher, seek: int, limit: int) -> None:
    everything = [Group("v0", 5), Group("v1", 3), Group("v2", 1)]
    grouped = await usher.searching.group(1, EVERYTHING, GroupBy.VIDEO, seek=seek, limit=limit)

    assert grouped.groups == everything[seek : seek + limit]
    assert (grouped.group_count, grouped.total) == (3, 9)


async def test_a_log_that_restarted_under_a_count_is_verified_before_the_count_is_believed(
    usher: Usher, attempt_log: MovingLog
) -> None:
    attempt_log.restarts_before_count = True
    for _ in range(2):
        with pytest.raises(CountUnavailable, match="holds 4 attempts of block 1's 5"):
            await usher.searching.count(1, EVERYTHING)


async def test_a_count_waits_a_little_for_a_log_that_is_away(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.errors = [LogUnavailable("away"), LogUnavailable("away")]

    assert await asyncio.wait_for(usher.searching.count(1, EVERYTHING), 10) == 9


@pytest.mark.parametrize("count_wait_s_max", [0.2])
async def test_a_log_that_hangs_while_it_is_verified_gives_an_error_soon(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.hangs = True
    attempt_log.restarts += 1
    with pytest.raises(CountUnavailable, match="verified"):
        await asyncio.wait_for(usher.searching.count(1, EVERYTHING), 10)
    with pytest.raises(LogUnavailable, match="verified"):
        await asyncio.wait_for(usher.check_ready(), 10)
    attempt_log.hangs = False

    assert await usher.searching.count(1, EVERYTHING) == 9


async def test_a_log_that_cannot_be_closed_does_not_leave_the_ledger_open(
    tmp_path: Path, attempt_log: MovingLog
) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=1, age_s_max=1, wall_ms=lambda: NOON_MS)
    opened = Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS)
    await opened.start()
    attempt_log.cannot_close = True
    with pytest.raises(RuntimeError, match="closed"):
        await opened.close()

    # SQLite removes its write-ahead log when the last connection is closed.
    assert not (tmp_path / "ledger.db-wal").exists()


async def test_a_damaged_log_gives_an_error_and_no_number(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.errors = [LogDamaged("a part is broken")]
    with pytest.raises(CountUnavailable, match="usher check"):
        await usher.searching.count(1, EVERYTHING)


async def test_no_group_is_lost_behind_pending_ones_or_behind_the_end_of_the_logs_list(usher: Usher) -> None:
    for video in "aaaaaaaaabbbbbbbbcccccccee":
        await usher.authorize(request(2, video=video))
    await usher.shipper.ship_all()
    for videos, expected, total in (("d", "abced", 27), ("eeeeeeee", "eabcd", 35)):
        for video in videos:
            await usher.authorize(request(2, video=video))
        for top in range(6):
            grouped = await usher.searching.group(2, EVERYTHING, GroupBy.VIDEO, limit=top)

            assert list(expected[:top]) == [group.value for group in grouped.groups]
            assert (5, total) == (grouped.group_count, grouped.total)


class SlowReading:
    """A ledger whose next readings of the directory wait before they are handed on, or fail. The rest is the real
    one's."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.read = asyncio.Event()
        self.handed_on = asyncio.Event()
        self.waits = 0
        self.failures = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    async def directory(self) -> Directory:
        if self.failures:
            self.failures -= 1
            raise LedgerUnavailable("no reader is free")
        found = await self._ledger.directory()
        if self.waits:
            self.waits -= 1
            self.read.set()
            await self.handed_on.wait()
        return found


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[Usher, SlowReading]]:
    ledger = SlowReading(await SqliteLedger.open(tmp_path / "accounts.db"))
    as_ledger = cast(Ledger, ledger)
    gate = Gate(as_ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(as_ledger, LedgerOnlyLog(), rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    opened = Usher(as_ledger, LedgerOnlyLog(), gate, shipper, wall_ms=lambda: NOON_MS)
    await opened.start()
    yield opened, ledger
    await opened.close()


async def test_a_disabled_account_stays_so_when_an_earlier_reading_ends_later(slow: tuple[Usher, SlowReading]) -> None:
    usher, ledger = slow
    made = await usher.create_account("to be disabled")
    ledger.waits = 1
    other = asyncio.create_task(usher.create_account("other"))
    await ledger.read.wait()
    disabling = asyncio.create_task(usher.set_account_active(made.account.cdn, active=False))
    # Without the lock this is all the time that it needs.
    await asyncio.wait([disabling], timeout=0.5)
    ledger.handed_on.set()
    await asyncio.gather(other, disabling)

    assert [account.active for account in usher.accounts()] == [False, True]
    assert not usher.is_served(usher.edge(made.edge_token.reveal()).cdn)


async def test_what_was_committed_is_answered_and_known_when_it_cannot_be_read_again(
    slow: tuple[Usher, SlowReading],
) -> None:
    usher, ledger = slow
    ledger.failures = 2
    first = await usher.create_account("read at the third time")
    ledger.failures = 100
    second = await usher.create_account("never read")
    key = await usher.add_api_key(first.account.cdn)
    await usher.set_account_active(second.account.cdn, active=False)
    ledger.failures = 0

    assert usher.edge(first.edge_token.reveal()).cdn == first.account.cdn
    assert usher.api_key(first.api_key, cdn=first.account.cdn).secret == first.secret
    assert usher.api_key(key.api_key, cdn=first.account.cdn).secret == key.secret
    assert [account.active for account in usher.accounts()] == [True, False]
    with pytest.raises(NotAuthorised):
        usher.api_key(second.api_key, cdn=second.account.cdn)
    await usher.set_account_active(second.account.cdn, active=True)
    assert usher.edge(second.edge_token.reveal()).cdn == second.account.cdn


@pytest.mark.parametrize(
    ("behind_s", "is_a_fault"), [(-3_600, False), (0, False), (60, False), (61, True), (10**6, True)]
)
async def test_a_ledger_that_has_seen_a_clock_more_than_a_minute_ahead_is_a_fault(
    tmp_path: Path, behind_s: int, is_a_fault: bool
) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
    now_ms = NOON_MS - behind_s * 1_000
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: now_ms)
    shipper = Shipper(ledger, LedgerOnlyLog(), rows_min=10**5, age_s_max=10**9, wall_ms=lambda: now_ms)
    usher = Usher(ledger, LedgerOnlyLog(), gate, shipper, wall_ms=lambda: now_ms)
    await usher.start()
    faults = await usher.check()
    await usher.close()

    assert (usher.clock_ms, usher.wall_ms) == (max(NOON_MS, now_ms), now_ms)
    assert usher.clock_ahead_s == max(0, behind_s)
    assert [f"clock is {behind_s} s ahead" in fault for fault in faults] == ([True] if is_a_fault else [])


class ShippingLog(MovingLog):
    """Before it first tells what it holds, all that pends is shipped."""

    async def _ship(self) -> None:
        shipper, self.shipper = self.shipper, None
        if shipper is not None:
            await shipper.ship_all()

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        await self._ship()
        return await super().rows_by_block(table=table)

    async def all_held(self, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        await self._ship()
        return await super().all_held(table=table, anonymised_upto=anonymised_upto)


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
async def test_a_block_that_ships_during_a_check_is_no_fault(tmp_path: Path, quick: bool) -> None:
    attempt_log = ShippingLog()
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    usher = Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS)
    await usher.start(ships=False)
    await usher.authorize(request(1, video="a"))
    attempt_log.shipper = shipper

    assert await usher.check(quick=quick) == []
    assert (await usher.stats()).shipped_block == 1
    await usher.close()
