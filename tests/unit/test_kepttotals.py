"""Totals that are kept: the same numbers as counted anew, for one look at what came since; whole, or not there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import CountUnavailable, LogDamaged
from openusher.gate import Gate
from openusher.kepttotals import KEPT_TOTALS_BYTES
from openusher.ledger.base import PendingTotals
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy, Total
from openusher.shipper import Shipper
from openusher.totals import Totals
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, attempt_filter, request

pytestmark = pytest.mark.anyio
EVERYTHING: dict[str, Any] = {}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class AskedLog(PlainListLog):
    """Remembers what it was asked; may be kept from giving totals, or fail to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.errors: list[Exception] = []
        self.was_asked = asyncio.Event()

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        self.asked.append("count")
        return await super().count(cdn, search, horizon)

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int) -> Any:
        self.asked.append("groups")
        return await super().groups(cdn, search, by, horizon, top=top)

    async def totals(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int) -> list[Total]:
        self.asked.append(f"totals behind {horizon.behind}")
        self.was_asked.set()
        await self.may_answer.wait()
        if self.errors:
            raise self.errors.pop()
        return await super().totals(cdn, search, horizon, most=most)


class AskedLedger(SqliteLedger):
    """Remembers how often it gave totals."""

    readings = 0

    async def totals_pending(self, cdn: int, search: AttemptFilter, *, most: int) -> PendingTotals:
        self.readings += 1
        return await super().totals_pending(cdn, search, most=most)


class Site:
    """A node with attempts at two videos, and what its log was asked."""

    def __init__(self, usher: Usher, ledger: AskedLedger, attempt_log: AskedLog) -> None:
        self.usher = usher
        self.ledger = ledger
        self.log = attempt_log

    async def attempts(self, number: int, *, cdn: int = 1, **asked: str) -> None:
        await asyncio.gather(*[self.usher.authorize(request(cdn, **asked)) for _ in range(number)])

    async def ship(self) -> None:
        await self.usher.shipper.ship_all()

    async def count(self, *, cdn: int = 1, **search: Any) -> int:
        return await self.usher.searching.count(cdn, attempt_filter(search))

    async def by_video(self, **search: Any) -> dict[Any, int]:
        found = await self.usher.searching.group(1, attempt_filter(search), GroupBy.VIDEO, limit=10)
        assert found.group_count == len(found.groups)
        assert found.total == sum(group.count for group in found.groups)
        return {group.value: group.count for group in found.groups}

    def asked(self) -> list[str]:
        """What the log was asked since the last time."""
        asked = self.log.asked.copy()
        self.log.asked.clear()
        return asked


@pytest.fixture
def kept_totals() -> int:
    return KEPT_TOTALS_BYTES


@pytest.fixture
async def site(tmp_path: Path, kept_totals: int) -> AsyncIterator[Site]:
    ledger, attempt_log = cast(AskedLedger, await AskedLedger.open(tmp_path / "ledger.db")), AskedLog()
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    usher = Usher(
        ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS, kept_counts=0, kept_totals_bytes_max=kept_totals
    )
    await usher.start()
    opened = Site(usher, ledger, attempt_log)
    await opened.attempts(3, video="live/a")
    await opened.attempts(2, video="live/b")
    await opened.ship()
    await opened.attempts(1, video="vod/c")
    yield opened
    await usher.close()


async def with_totals(site: Site) -> Site:
    """The site after its first two questions: the second is what it keeps totals for."""
    assert [await site.count(), await site.count()] == [6, 6]
    assert site.asked() == ["count", "totals behind 0"]
    return site


async def test_who_asks_once_is_counted_for_and_who_asks_again_has_totals(site: Site) -> None:
    await with_totals(site)
    for search, expected in (
        ({"video": "live/a"}, 3), ({"video": "live/*"}, 5), ({"app": "live"}, 6), ({"accepted": True}, 0),
        ({"reason": "Invalid Auth Token"}, 6), ({"app": "live|x", "video": "*c", "accepted": False}, 1),
    ):  # fmt: skip
        assert (search, await site.count(**search)) == (search, expected)

    assert await site.by_video() == {"live/a": 3, "live/b": 2, "vod/c": 1}
    assert await site.by_video(video="live/*") == {"live/a": 3, "live/b": 2}
    assert site.asked() == []


async def test_what_has_come_and_moved_since_is_added(site: Site) -> None:
    await with_totals(site)
    await site.attempts(2, video="live/a")

    assert await site.by_video() == {"live/a": 5, "live/b": 2, "vod/c": 1}
    assert site.asked() == []

    for _ in range(2):
        await site.attempts(1, video="vod/d")
        await site.ship()
    await site.attempts(1, video="vod/c")

    assert await site.by_video() == {"live/a": 5, "live/b": 2, "vod/c": 2, "vod/d": 2}
    assert site.asked() == ["totals behind 1"]
    assert await site.count() == 11
    assert site.asked() == []


async def test_what_names_anything_else_goes_to_the_log(site: Site) -> None:
    await with_totals(site)

    assert await site.count(user="user1", video="live/*") == 5
    assert await site.count(from_ms=1) == 6
    assert site.asked() == ["count", "count"]
    grouped = await site.usher.searching.group(1, AttemptFilter(), GroupBy.USER, limit=10)
    assert (grouped.total, site.asked()) == (6, ["groups"])


@pytest.mark.parametrize("kept_totals", [0])
async def test_where_no_totals_are_kept_each_question_goes_to_the_log(site: Site) -> None:
    assert [await site.count() for _ in range(3)] == [6] * 3
    assert site.asked() == ["count"] * 3


async def test_a_border_that_moves_makes_them_useless(site: Site) -> None:
    await with_totals(site)
    await site.usher.reaper.anonymise(before_ms=NOON_MS)

    assert await site.count(video="live/*") == 5
    assert site.asked() == ["totals behind 0"]

    await site.usher.reaper.forget(before_ms=NOON_MS + 1)

    assert await site.count(video="live/*") == 0


async def test_a_catch_up_that_is_broken_off_leaves_nothing_half_added(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_totals(site)
    await site.attempts(4, video="live/b")
    add, half_added = Totals.add, asyncio.Event()

    async def add_and_hang(self: Totals, totals: Sequence[Total]) -> None:
        await add(self, totals)
        half_added.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(Totals, "add", add_and_hang)
        asking = asyncio.create_task(site.count())
        await half_added.wait()
        asking.cancel()
        await asyncio.wait([asking])

    assert await site.by_video() == {"live/a": 3, "live/b": 6, "vod/c": 1}
    assert site.asked() == ["totals behind 0"]


async def test_those_who_wait_share_a_reading_that_began_after_they_asked(site: Site) -> None:
    assert await site.count() == 6
    site.log.may_answer.clear()
    counts = [asyncio.create_task(site.count())]
    await site.log.was_asked.wait()
    # These have asked too late for that reading, which does not know of the next attempts.
    await site.attempts(4, video="live/b")
    counts += [asyncio.create_task(site.count(video=video)) for video in ("live/b", "live/*", "*")]
    await asyncio.sleep(0)
    site.log.may_answer.set()

    assert await asyncio.gather(*counts) == [6, 6, 9, 10]
    assert site.asked() == ["count", "totals behind 0"]
    assert site.ledger.readings == 2


async def test_a_log_at_fault_stops_a_count_that_needs_nothing_of_it(site: Site) -> None:
    await with_totals(site)
    site.usher.shipper.fault = "the log holds something else"
    with pytest.raises(CountUnavailable, match="something else"):
        await site.count(video="live/a")


async def test_where_the_first_reading_fails_it_is_counted_as_before(site: Site) -> None:
    assert await site.count() == 6
    site.log.errors = [LogDamaged("too much memory")]

    assert [await site.count(), await site.count()] == [6, 6]
    assert site.asked() == ["count", "totals behind 0", "count", "count"]


async def test_a_first_reading_that_failed_is_tried_again_soon_and_then_ever_later(site: Site) -> None:
    """It came while the log was away, or asks for too much: then the log is not kept busy with it."""
    now_s = 0.0
    site.usher.searching.totals._now_s = lambda: now_s
    read_at_s = []
    site.log.errors = [LogDamaged("too much memory") for _ in range(10)]
    assert await site.count() == 6
    while now_s < 5 * 3_600:
        assert await site.count() == 6
        if "totals behind 0" in site.asked():
            read_at_s.append(now_s)
        now_s += 60
    waits_s = [after - before for before, after in itertools.pairwise(read_at_s)]

    assert waits_s == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


async def test_those_who_waited_for_a_reading_that_failed_do_not_wait_for_another_in_turn(site: Site) -> None:
    await with_totals(site)
    for _ in range(2):
        await site.attempts(1)
        await site.ship()
    site.log.may_answer.clear()
    site.log.was_asked.clear()
    site.log.errors = [LogDamaged("broken")]
    counts = [asyncio.create_task(site.count()) for _ in range(4)]
    await site.log.was_asked.wait()
    site.log.may_answer.set()
    failed, *others = await asyncio.gather(*counts, return_exceptions=True)

    assert isinstance(failed, CountUnavailable)
    assert others == [8] * 3
    assert site.asked() == ["totals behind 1", "count", "count", "count"]


@pytest.mark.parametrize("kept_totals", [4 * 3_000])
async def test_an_account_with_too_many_names_is_counted_as_before_and_not_read_again(site: Site) -> None:
    await with_totals(site)
    for n in range(20):
        await site.attempts(1, video=f"a video that has a long name, number {n}")

    assert [await site.count(video="live/*") for _ in range(3)] == [5] * 3
    assert site.asked() == ["count"] * 3


@pytest.mark.parametrize("kept_totals", [4 * 1_500])
async def test_who_asks_much_keeps_his_totals_while_others_find_no_room(site: Site) -> None:
    """Were each to drive out the one before, all would read everything for each question."""
    for cdn in range(2, 9):
        await site.attempts(1, cdn=cdn)
    await site.ship()
    for _ in range(8):
        for cdn in range(2, 9):
            assert await site.count(cdn=cdn) == 1
    asked = site.asked()

    assert asked.count("totals behind 0") == 7
    # Once each, and those without room each time.
    assert 7 < asked.count("count") < 40


@pytest.mark.parametrize("kept_totals", [4 * 1_500])
async def test_those_who_have_not_asked_for_long_make_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openusher.kepttotals._IDLE_S", 0.0)
    for cdn in range(2, 9):
        await site.attempts(1, cdn=cdn)
    await site.ship()
    for _ in range(2):
        for cdn in range(2, 9):
            assert await site.count(cdn=cdn) == 1

    assert site.asked() == ["count"] * 7 + ["totals behind 0"] * 7
    assert [await site.count(cdn=cdn) for cdn in (8, 7, 2)] == [1] * 3
    assert site.asked() == ["totals behind 0"]
