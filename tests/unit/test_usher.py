"""Counts across ledger and log: exact while attempts move, and none at all where no exact one can be given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable, LogDamaged, LogUnavailable
from openusher.gate import Gate
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, Group, GroupBy
from openusher.shipper import Shipper
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, request

pytestmark = pytest.mark.anyio
EVERYTHING = AttemptFilter()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class MovingLog(PlainListLog):
    """Before it counts, all that pends is shipped; and it can restart, lose rows, be away or be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.shipper: Shipper | None = None
        self.restarts = 0
        self.restarts_before_count = False
        self.lost = 0
        self.errors: list[Exception] = []

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

    async def rows_by_table(self, horizon: Horizon) -> dict[str, int]:
        return {table: rows - self.lost for table, rows in (await super().rows_by_table(horizon)).items()}


@pytest.fixture
async def attempt_log() -> MovingLog:
    return MovingLog()


@pytest.fixture
async def usher(tmp_path: Path, attempt_log: MovingLog) -> AsyncIterator[Usher]:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    opened = Usher(ledger, attempt_log, gate, shipper)
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

    assert await usher.count_attempts(1, EVERYTHING) == 9
    assert await usher.count_attempts(1, EVERYTHING) == 9


async def test_groups_and_lists_are_exact_while_attempts_move_below_them(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.shipper = usher.shipper
    grouped = await usher.group_attempts(1, EVERYTHING, GroupBy.VIDEO, limit=10)
    listed = await usher.list_attempts(1, EVERYTHING, seek=0, limit=100)

    assert (grouped.groups, grouped.group_count, grouped.total) == (
        [Group("v0", 5), Group("v1", 3), Group("v2", 1)],
        3,
        9,
    )
    assert [attempt.id for attempt in listed] == list(range(9, 0, -1))


@pytest.mark.parametrize(("seek", "limit"), [(0, 1), (0, 2), (1, 1), (1, 5), (2, 1), (3, 1)])
async def test_groups_are_cut_after_ledger_and_log_are_put_together(usher: Usher, seek: int, limit: int) -> None:
    everything = [Group("v0", 5), Group("v1", 3), Group("v2", 1)]
    grouped = await usher.group_attempts(1, EVERYTHING, GroupBy.VIDEO, seek=seek, limit=limit)

    assert grouped.groups == everything[seek : seek + limit]
    assert (grouped.group_count, grouped.total) == (3, 9)


async def test_a_log_that_restarted_under_a_count_is_verified_before_the_count_is_believed(
    usher: Usher, attempt_log: MovingLog
) -> None:
    attempt_log.restarts_before_count = True
    for _ in range(2):
        with pytest.raises(CountUnavailable, match="holds 4 attempts of 5"):
            await usher.count_attempts(1, EVERYTHING)


async def test_a_count_waits_a_little_for_a_log_that_is_away(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.errors = [LogUnavailable("away"), LogUnavailable("away")]

    assert await asyncio.wait_for(usher.count_attempts(1, EVERYTHING), 10) == 9


async def test_a_damaged_log_gives_an_error_and_no_number(usher: Usher, attempt_log: MovingLog) -> None:
    attempt_log.errors = [LogDamaged("a part is broken")]
    with pytest.raises(CountUnavailable, match="usher check"):
        await usher.count_attempts(1, EVERYTHING)


async def test_a_group_that_only_the_log_holds_is_not_lost_behind_pending_ones(
    usher: Usher, attempt_log: MovingLog
) -> None:
    for video, times in (("a", 9), ("b", 8), ("c", 7)):
        for _ in range(times):
            await usher.authorize(request(2, video=video))
    await usher.shipper.ship_all()
    for video in ("c", "c", "c", "d"):
        await usher.authorize(request(2, video=video))
    everything = [Group("c", 10), Group("a", 9), Group("b", 8), Group("d", 1)]
    for top in range(1, 5):
        grouped = await usher.group_attempts(2, EVERYTHING, GroupBy.VIDEO, limit=top)

        assert (grouped.groups, grouped.group_count, grouped.total) == (everything[:top], 4, 28)
