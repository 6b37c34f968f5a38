"""Counts that are kept: the same number as counted anew, for less, and never more of them than there may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable, LogDamaged
from openusher.gate import Gate
from openusher.ledger.base import PendingCount
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from openusher.settled import Settled
from openusher.shipper import Shipper
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, attempt_filter, request

pytestmark = pytest.mark.anyio
BY_KEY = AttemptFilter(key="k")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class AskedLedger(SqliteLedger):
    """Remembers behind which attempt it was asked to count."""

    asked: list[int | None]

    async def count_pending(self, cdn: int, search: AttemptFilter, *, held: bool = False) -> PendingCount:
        self.asked.append(search.after_id)
        return await super().count_pending(cdn, search, held=held)


class AskedLog(PlainListLog):
    """Remembers behind which block it was asked to count, and may be kept from answering."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.errors: list[Exception] = []

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        self.asked.append(horizon.behind)
        self.was_asked.set()
        await self.may_answer.wait()
        if self.errors:
            raise self.errors.pop()
        return await super().count(cdn, search, horizon)


class Site:
    """A node on which one ticket's key is tried, and what its parts were asked."""

    def __init__(self, usher: Usher, ledger: AskedLedger, attempt_log: AskedLog) -> None:
        self.usher = usher
        self.log = attempt_log
        self._ledger = ledger

    async def attempts(self, number: int, **asked: str) -> None:
        await asyncio.gather(*[self.usher.authorize(request(1, **asked)) for _ in range(number)])

    async def ship(self) -> None:
        await self.usher.shipper.ship_all()

    async def count(self, search: AttemptFilter = BY_KEY, *, cdn: int = 1) -> int:
        return await self.usher.searching.count(cdn, search)

    def asked(self) -> tuple[list[int | None], list[int]]:
        """What ledger and log were asked since the last time."""
        both = self._ledger.asked.copy(), self.log.asked.copy()
        self._ledger.asked.clear()
        self.log.asked.clear()
        return both


@pytest.fixture
def kept_counts() -> int:
    return 100


@pytest.fixture
async def site(tmp_path: Path, kept_counts: int) -> AsyncIterator[Site]:
    ledger = cast(AskedLedger, await AskedLedger.open(tmp_path / "ledger.db"))
    ledger.asked = []
    attempt_log = AskedLog()
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    usher = Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS, kept_counts=kept_counts)
    await usher.start()
    opened = Site(usher, ledger, attempt_log)
    await opened.attempts(3)
    await opened.ship()
    await opened.attempts(2)
    yield opened
    await usher.close()


async def test_a_count_is_one_look_into_each_store_and_again_one_into_the_ledger_alone(site: Site) -> None:
    """Statements, not times: a change that doubles the work is to be seen."""
    assert await site.count() == 5
    assert site.asked() == ([None], [0])

    await site.attempts(4)

    assert await site.count() == 9
    assert site.asked() == ([5], [])
    assert await site.count() == 9
    assert site.asked() == ([9], [])


async def test_what_has_moved_since_is_looked_for_in_the_blocks_that_came_since(site: Site) -> None:
    assert await site.count() == 5
    await site.ship()
    await site.attempts(1)
    await site.ship()
    site.asked()

    assert await site.count() == 6
    assert site.asked() == ([5], [1])
    assert await site.count() == 6
    assert site.asked() == ([6], [])


async def test_the_last_block_stays_in_the_ledger_for_who_asks_again(site: Site) -> None:
    """At a thousand questions, the log would else be asked a thousand times whenever a block has moved."""
    assert await site.count() == 5
    for expected in (6, 7, 8):
        await site.attempts(1)
        await site.usher.shipper.ship_next()
        site.asked()

        assert await site.count() == expected
        assert site.asked() == ([expected - 1], [])
        assert await site.count(AttemptFilter(user="user1")) == expected

    await site.attempts(1)
    await site.usher.shipper.ship_next()
    await site.attempts(1)
    await site.usher.shipper.ship_next()
    site.asked()

    assert await site.count() == 10
    assert site.asked() == ([8], [4])


async def test_who_means_only_what_is_newer_has_it_once_from_one_of_both(site: Site) -> None:
    for _ in range(2):
        await site.attempts(1)
        await site.usher.shipper.ship_next()
    for kept, after_id in enumerate((0, 4, 5, 6, 7)):
        search = AttemptFilter(key="k", after_id=after_id)

        assert [await site.count(search), await site.count(search)] == [7 - after_id] * 2, kept


@pytest.mark.parametrize("kept_counts", [0])
async def test_where_no_counts_are_kept_each_is_counted_anew(site: Site) -> None:
    assert [await site.count(), await site.count()] == [5, 5]
    assert site.asked() == ([None, None], [0, 0])


async def test_a_border_that_moves_makes_what_was_kept_useless(site: Site) -> None:
    by_address = attempt_filter({"ip": "192.0.2.1"})
    assert await site.count(by_address) == await site.count() == 5
    await site.usher.reaper.anonymise(before_ms=NOON_MS + 1)

    assert await site.count(by_address) == 0
    assert await site.count() == 5

    await site.usher.reaper.forget(before_ms=NOON_MS + 1)

    assert await site.count() == 0


@pytest.mark.parametrize("kept_counts", [2])
async def test_only_the_counts_asked_last_are_kept(site: Site) -> None:
    first, second, third = (AttemptFilter(key=key) for key in ("k", "l", "m"))
    for search in (first, second, first, third):
        await site.count(search)
    site.asked()
    for search in (first, third, second):
        await site.count(search)

    assert site.asked() == ([5, 5, None], [0])


async def test_two_accounts_and_two_filters_are_never_one_question(site: Site) -> None:
    assert await site.count() == 5
    assert await site.count(cdn=2) == 0
    assert await site.count(AttemptFilter(user="k")) == 0
    assert await site.count(AttemptFilter(key="k", accepted=True)) == 0
    assert await site.count(AttemptFilter(key="k", accepted=False)) == 5


async def test_who_asks_what_is_being_counted_waits_for_it_and_still_sees_what_came_meanwhile(site: Site) -> None:
    site.log.may_answer.clear()
    counts = [asyncio.create_task(site.count())]
    await site.log.was_asked.wait()
    counts += [asyncio.create_task(site.count()) for _ in range(5)]
    await site.attempts(2)
    site.log.may_answer.set()

    assert await asyncio.gather(*counts) == [5, 7, 7, 7, 7, 7]
    assert site.asked() == ([None, 5, 5, 5, 5, 5], [0])


async def test_who_waited_for_a_count_that_failed_counts_for_himself(site: Site) -> None:
    site.log.may_answer.clear()
    site.log.errors = [LogDamaged("broken")]
    counts = [asyncio.create_task(site.count()) for _ in range(3)]
    await site.log.was_asked.wait()
    site.log.may_answer.set()
    failed, *others = await asyncio.gather(*counts, return_exceptions=True)

    assert isinstance(failed, CountUnavailable)
    assert others == [5, 5]


async def test_a_log_at_fault_stops_a_count_that_needs_nothing_of_it(site: Site) -> None:
    assert await site.count() == 5
    site.usher.shipper.fault = "the log holds something else"
    with pytest.raises(CountUnavailable, match="something else"):
        await site.count()


def test_blocks_behind_one_that_was_under_way_may_hold_what_came_since() -> None:
    pending = PendingCount(count=2, horizon=Horizon(upto=9, but=(6, 8)), after_id=50, last_id=70)
    settled = Settled.by(pending)

    assert (settled.last_id, settled.last_block) == (70, 5)
