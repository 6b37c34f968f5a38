"""The totals of an account answer as a plain list of its attempts does, in the memory they say; and others go on."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from typing import Any

import pytest

from openusher.model.search import GroupBy, Total
from openusher.totals import GROUPS, Totals, answers, largest
from tests.conformance.asking import IN_NAMES_ONLY, NASTY, PATTERNS, REASONS, attempt_filter
from tests.oracles import attempt_rows as oracle

pytestmark = pytest.mark.anyio
NAMES = (*NASTY, *IN_NAMES_ONLY)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    *({name: value} for name in ("app", "video") for value in (*NASTY, *PATTERNS, "absent", "absent*")),
    *({"reason": reason} for reason in REASONS),
    {"accepted": True},
    {"accepted": False},
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def attempts(number: int) -> list[dict[str, str]]:
    chance = random.Random(7)
    return [
        {"app": chance.choice(NAMES), "video": chance.choice(NAMES), "reason": chance.choice(REASONS[:4])}
        for _ in range(number)
    ]


async def totals_of(rows: list[dict[str, str]]) -> Totals:
    totals = Totals()
    await totals.add([Total(*named, count) for named, count in oracle.totals(rows).items()])
    return totals


async def test_every_filter_and_group_is_that_of_a_plain_list() -> None:
    rows = attempts(2_000)
    totals = await totals_of(rows[:900])
    await totals.add([Total(*named, count) for named, count in oracle.totals(rows[900:]).items()])
    chance, hits = random.Random(8), 0
    several = [{**chance.choice(FILTERS), **chance.choice(FILTERS), **chance.choice(FILTERS)} for _ in range(150)]
    for search in (*FILTERS, *several):
        meant, wanted = [row for row in rows if oracle.is_meant(row, search)], attempt_filter(search)
        hits += bool(meant)

        assert answers(wanted)
        assert (search, len(meant)) == (search, await totals.count(wanted))
        for by in GROUPS:
            found = await totals.groups(wanted, by)
            groups = [(group.value, group.count) for group in await largest(found, 3)]
            assert oracle.groups(meant, by.value)[:3] == groups
            assert dict(oracle.groups(meant, by.value)) == found

    assert hits > len(several) // 2


@pytest.mark.parametrize(
    "more", [{"key": "k"}, {"user": "u"}, {"ip": "192.0.2.0/24"}, {"from_ms": 1}, {"before_id": 9}, {"after_id": 9}]
)
def test_a_filter_that_names_anything_else_is_not_answered(more: dict[str, Any]) -> None:
    assert not answers(attempt_filter({"app": "live", **more}))


async def test_of_many_groups_the_largest_come_in_order() -> None:
    rows = [{"app": "live", "video": f"v{n % 3_000}", "reason": ""} for n in range(7_000)]
    found = await (await totals_of(rows)).groups(attempt_filter({}), GroupBy.VIDEO)
    for top in (0, 1, 700, 2_000, 10_000):
        expected = oracle.groups(rows, "video")[:top]

        assert expected == [(group.value, group.count) for group in await largest(found, top)]


@pytest.mark.parametrize(
    ("apps", "videos", "reasons"), [(5, 2_000, 6), (1, 20_000, 2), (3_000, 1, 1)], ids=["usual", "videos", "apps"]
)
async def test_they_take_about_the_memory_they_say(apps: int, videos: int, reasons: int) -> None:
    async def made() -> Totals:
        totals = Totals()
        for app in range(apps):
            await totals.add(
                [Total(f"app-{app}", f"vod/{n}.mp4", f"r{m}", n) for n in range(videos) for m in range(reasons)]
            )
        return totals

    await made()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    totals = await made()
    real = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert real <= totals.size_bytes <= 1.5 * real


@pytest.mark.parametrize("search", [{}, {"video": "*1*5*|vod/7*"}], ids=str)
@pytest.mark.parametrize("by", [GroupBy.VIDEO, GroupBy.REASON])
async def test_others_have_their_turn_while_many_names_are_looked_at(search: dict[str, Any], by: GroupBy) -> None:
    totals, turns = Totals(), 0
    work = totals.add([Total("live", f"vod/{n}.mp4", "", n) for n in range(20_000)])

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(count_turns())
    await work
    assert turns >= 35
    turns = 0
    found = await totals.groups(attempt_filter(search), by)
    other.cancel()

    # One column is summed up in a stroke.
    assert turns >= (35 if search or by is GroupBy.VIDEO else 0)
    assert found
