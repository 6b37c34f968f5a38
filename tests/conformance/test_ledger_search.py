"""Any ledger finds, counts and groups pending attempts as a plain list would, whatever stands in them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from openusher.ledger.base import BATCH_OPERATIONS_MAX, Decide, Issue, Ledger, PendingTotals
from openusher.model.attempt import AttemptRequest, Decision
from openusher.model.block import Horizon, attempt_of
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance.asking import (
    IN_NAMES_ONLY,
    IPS,
    NASTY,
    NETS,
    NOON_MS,
    PATTERNS,
    REASONS,
    attempt_filter,
    new_account,
    request,
    row,
    row_of,
    ticket,
)
from tests.conformance.ledgers import LedgerBench
from tests.conftest import Promise
from tests.oracles import attempt_rows as oracle
from tests.oracles import matching

pytestmark = pytest.mark.anyio

Row = dict[str, Any]
NAMES = (*NASTY, *IN_NAMES_ONLY)
PASSES = (*NASTY, "user1|a", "user1|b", "user1", "|", "|x", "user1|a|b", "a%b_c|r")
HOUR_MS = 3_600_000
# What means something in LIKE, in GLOB and in regular expressions; letters that some read as others.
LETTERS = "abA/[]?^-!\\%_.é😀\ufffc\ufffd\ufffe\uffff"
ALIKE = str.maketrans("\ufffd\ufffe\uffff", "\ufffe\uffff\ufffd")


def questions(rng: random.Random, cdn: int, number: int) -> list[AttemptRequest]:
    return [
        request(
            cdn,
            key=rng.choice((*NASTY, "")),
            password=rng.choice(PASSES),
            app=rng.choice(NAMES),
            video=rng.choice(NAMES),
            ip=rng.choice(IPS),
            server_ip=rng.choice(IPS),
            user_agent=rng.choice(NAMES),
            edge=rng.randrange(3),
        )
        for _ in range(number)
    ]


async def fill(ledger: Ledger) -> list[Row]:
    """Record 700 attempts of two accounts over two days; the rows that must then be there."""
    rng = random.Random(20260310)
    tickets = [ticket(cdn, key, password="user1|a", ip="0.0.0.0/0") for cdn in (1, 2) for key in NASTY[:6]]
    await ledger.commit_batch([Issue(ticket=wanted) for wanted in tickets], now_ms=NOON_MS)
    rows = []
    for step in range(14):
        now_ms = NOON_MS + step * 4 * HOUR_MS - (step == 3)
        asked = questions(rng, 1, 30) + questions(rng, 2, 10)
        asked += [request(1, key=rng.choice(NASTY[:6]), password="user1|a", video=rng.choice(NAMES)) for _ in range(10)]
        rng.shuffle(asked)
        assert len(asked) <= BATCH_OPERATIONS_MAX
        outcomes = await ledger.commit_batch([Decide(question) for question in asked], now_ms=now_ms)
        for question, outcome in zip(asked, outcomes, strict=True):
            assert isinstance(outcome, Decision)
            rows.append(row_of(question, number=outcome.attempt, at_ms=now_ms, reason=outcome.reason.value))
    return rows


@st.composite
def patterns(draw: st.DrawFn, names: list[str]) -> str:
    """Patterns made of names, stars put in place of parts of them, or of anything."""
    name = draw(st.sampled_from(names)) if draw(st.booleans()) else draw(st.text(LETTERS, max_size=6))
    pieces, begin = [], 0
    for end in sorted(draw(st.lists(st.integers(0, len(name)), max_size=5))):
        pieces.append(name[begin:end])
        begin = max(begin, end + draw(st.integers(-1, 3)))
    return "*".join([*pieces, name[begin:]]) + draw(st.sampled_from(["", "*", "|", "|a*b*", "|*"]))


def single_filters() -> Iterator[dict[str, Any]]:
    yield {}
    for value in PASSES:
        yield {"password": value}
        yield {"user": value}
    for value in (*NASTY, "", "nobody's"):
        yield {"key": value}
    for value in (*NAMES, *PATTERNS):
        if value:
            yield {"app": value}
            yield {"video": value}
    for value in (*NETS, *IPS):
        yield {"ip": value}
        yield {"server_ip": value}
    for value in REASONS:
        yield {"reason": value}
    yield from ({"accepted": True}, {"accepted": False})
    for at_ms in (0, NOON_MS, NOON_MS + 1, NOON_MS + 12 * HOUR_MS - 1, NOON_MS + 12 * HOUR_MS, 2**62):
        yield {"from_ms": at_ms}
        yield {"before_ms": at_ms}
    for number in (0, 1, 350, 700, 2**62):
        yield {"after_id": number}
        yield {"before_id": number}


def several_filters(number: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(7)
    singles = list(single_filters())
    for _ in range(number):
        merged: dict[str, Any] = {}
        for one in rng.choices(singles, k=rng.randint(2, 4)):
            merged |= one
        yield merged


def by_name(found: PendingTotals) -> dict[tuple[str, str, str], int]:
    return {(app, video, reason): attempts for app, video, reason, attempts in found.totals}


async def test_no_more_totals_are_given_than_asked_for(ledger: Ledger) -> None:
    rows = oracle.totals(row for row in await fill(ledger) if row["cdn"] == 1)
    found = by_name(await ledger.totals_pending(1, AttemptFilter(), most=5))

    assert found == {named: rows[named] for named in found}
    assert (len(rows) > 5, len(found)) == (True, 5)


@pytest.mark.parametrize("cdn", [1, 2, 3])
async def test_every_filter_finds_what_a_plain_list_finds(ledger: Ledger, cdn: int, promise: Promise) -> None:
    rows = [row for row in await fill(ledger) if row["cdn"] == cdn]
    hits = asked = 0
    for search in [*single_filters(), *several_filters(150)]:
        expected = sorted((row for row in rows if oracle.is_meant(row, search)), key=lambda row: -int(row["id"]))
        wanted = attempt_filter(search)
        counted = await ledger.count_pending(cdn, wanted)
        listed = await ledger.newest_pending(cdn, wanted, limit=7)
        behind = await ledger.newest_pending(cdn, wanted, seek=3, limit=4)
        totals = await ledger.totals_pending(cdn, wanted, most=1_000)

        assert (counted.count, counted.horizon) == (len(expected), Horizon(upto=0)), search
        assert [row(attempt) for attempt in listed.attempts] == expected[:7], search
        assert listed.matching == (len(expected) if len(expected) < 7 else None), search
        assert [row(attempt) for attempt in behind.attempts] == expected[3:7], search
        assert by_name(totals) == oracle.totals(expected), search
        hits += bool(expected)
        asked += 1
    # The filters are worth asking: many find something, and account 3 has nothing to be found.
    assert (hits == 0) if cdn == 3 else (hits > asked // 4)
    promise("Tenants are apart", filters_asked_of_a_ledger=asked)


async def test_the_oldest_are_paged_by_id_without_a_gap_or_a_repeat(ledger: Ledger) -> None:
    rows = [row for row in await fill(ledger) if row["cdn"] == 1]
    searches: list[dict[str, Any]] = [{}, {"accepted": False}, {"user": "user1"}, {"key": "é"}, {"video": "*%*"},
                                      {"ip": "192.0.2.0/24", "before_id": 500}, {"key": "nobody's"}]  # fmt: skip
    for search in searches:
        expected = [row for row in rows if oracle.is_meant(row, search)]
        for limit in (1, 7, 1_000):
            paged: list[dict[str, Any]] = []
            while True:
                after = {"after_id": paged[-1]["id"]} if paged else {}
                page = await ledger.oldest_pending(1, attempt_filter({**search, **after}), limit=limit)
                assert page.horizon == Horizon(upto=0)
                paged += [row(attempt_of(msgspec.json.decode(each))) for each in page.rows]
                if len(page.rows) < limit or (limit == 1 and len(paged) > 20):
                    break

            assert paged == (expected if limit > 1 else expected[: len(paged)]), search


@pytest.mark.parametrize("by", list(GroupBy))
async def test_every_grouping_is_that_of_a_plain_list(ledger: Ledger, by: GroupBy) -> None:
    rows = [row for row in await fill(ledger) if row["cdn"] == 1]
    searches: list[dict[str, Any]] = [{}, {"accepted": True}, {"video": "*%*"}, {"user": "user1"}, {"key": "nobody's"}]
    for search in searches:
        expected = oracle.groups((row for row in rows if oracle.is_meant(row, search)), by.value)
        for top in (None, 0, 1, 3, 10_000):
            found = await ledger.group_pending(1, attempt_filter(search), by, top=top)

            assert [(group.value, group.count) for group in found.groups] == expected[:top]
            assert (found.group_count, found.attempts) == (len(expected), sum(count for _, count in expected))


@pytest.mark.parametrize("number", [5_000, 12_000])
async def test_groups_are_right_whether_few_or_many(ledger: Ledger, number: int) -> None:
    """A ledger may find them in one way while they are few, and in another when they are many."""
    rows = []
    for first in range(0, 2 * number + 100, BATCH_OPERATIONS_MAX):
        numbers = range(first, min(first + BATCH_OPERATIONS_MAX, 2 * number + 100))
        asked = [
            request(2 - n % 2, video=f"{n // 2 % number}", app=f"{n % 9}", ip=f"2001:db8::{n % 5}") for n in numbers
        ]
        outcomes = await ledger.commit_batch([Decide(question) for question in asked], now_ms=NOON_MS + first)
        for question, outcome in zip(asked, outcomes, strict=True):
            assert isinstance(outcome, Decision)
            at_ms, reason = NOON_MS + first, outcome.reason.value
            rows.append(row_of(question, number=outcome.attempt, at_ms=at_ms, reason=reason))
    searches: list[dict[str, Any]] = [{}, {"app": "4"}, {"after_id": 5_000, "before_id": 12_000}]
    for search in searches:
        meant = [row for row in rows if row["cdn"] == 1 and oracle.is_meant(row, search)]
        for by in (GroupBy.VIDEO, GroupBy.APP, GroupBy.IP, GroupBy.KEY, GroupBy.USER):
            expected = oracle.groups(meant, by.value)
            found = await ledger.group_pending(1, attempt_filter(search), by, top=3)

            assert [(group.value, group.count) for group in found.groups] == expected[:3]
            assert (found.group_count, found.attempts) == (len(expected), len(meant))


@pytest.mark.timeout(300)
def test_any_pattern_finds_the_names_that_the_textbook_matches(bench: LedgerBench) -> None:
    """A ledger may leave a pattern to its engine, whose own signs, letters and limits are not ours."""
    rng = random.Random(8)
    names = ["".join(rng.choices(LETTERS, k=rng.randint(0, 9))) for _ in range(100)]
    names += [name.translate(ALIKE) for name in names]
    names += ["".join(rng.choices("ab", k=rng.randint(60, 200))) for _ in range(20)]
    operations = [Decide(request(1, video=name)) for name in names]
    found_at_all = 0

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(patterns(names))
    def names_are_found(pattern: str) -> None:
        nonlocal found_at_all
        assume(pattern.strip("|"))
        wanted = attempt_filter({"video": pattern})
        listed = runner.run(ledger.newest_pending(1, wanted, limit=len(names)))
        found_at_all += bool(listed.attempts)

        assert [a.video for a in reversed(listed.attempts)] == [n for n in names if matching.matches(pattern, n)]

    with asyncio.Runner() as runner:
        ledger = runner.run(bench.open())
        try:
            runner.run(ledger.create_account(new_account(1)))
            runner.run(ledger.commit_batch(operations, now_ms=NOON_MS))
            names_are_found()
        finally:
            runner.run(ledger.close())
    assert found_at_all > 100


async def test_a_filter_may_be_of_the_longest_pattern_and_text(ledger: Ledger) -> None:
    name = "a" * 1_024
    await ledger.commit_batch([Decide(request(1, video=name, app="b" * 128))], now_ms=NOON_MS)
    pattern = "|".join(["*".join("x" * 17)] * 63 + ["*".join(["a"] * 17)])

    assert (await ledger.count_pending(1, attempt_filter({"video": pattern, "app": "b" * 128}))).count == 1
    assert (await ledger.count_pending(1, attempt_filter({"video": name}))).count == 1


async def test_what_was_shipped_is_counted_while_all_that_is_meant_is_held(ledger: Ledger) -> None:
    """Asked so, the ledger says itself from where on it has counted; the log is to count what lies before."""
    for first in (1, 4):
        await ledger.commit_batch([Decide(request(1, video=f"v{n}")) for n in range(first, first + 3)], now_ms=NOON_MS)
        block = await ledger.next_block(now_ms=NOON_MS)
        assert block is not None
        await ledger.mark_shipped(block)
    await ledger.commit_batch([Decide(request(1, video="v7"))], now_ms=NOON_MS)

    async def counted(after_id: int | None) -> tuple[int, int, int]:
        search = AttemptFilter(after_id=after_id)
        found = await ledger.count_pending(1, search, held=True)
        totals = await ledger.totals_pending(1, search, most=10)
        assert (found.after_id, found.last_id, found.horizon) == (totals.after_id, totals.last_id, totals.horizon)
        assert found.count == sum(by_name(totals).values())
        return found.count, found.after_id, found.last_id

    assert [await counted(after_id) for after_id in (None, 0, 2, 6, 7)] == [
        (1, 6, 7),
        (7, 0, 7),
        (5, 2, 7),
        (1, 6, 7),
        (0, 6, 7),
    ]

    await ledger.delete_shipped(limit=10, upto=3)

    assert [await counted(after_id) for after_id in (2, 3, 5)] == [(1, 6, 7), (4, 3, 7), (2, 5, 7)]

    await ledger.delete_shipped(limit=10)

    assert [await counted(after_id) for after_id in (3, 5, 6)] == [(1, 6, 7), (1, 6, 7), (1, 6, 7)]


async def test_no_search_shows_what_was_shipped(ledger: Ledger) -> None:
    """The rows may still lie there: they go in chunks, later."""
    operations = [Decide(request(1, video=f"v{n}")) for n in range(6)]
    await ledger.commit_batch(operations[:4], now_ms=NOON_MS)
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    await ledger.commit_batch(operations[4:], now_ms=NOON_MS)
    everything = AttemptFilter()
    before = await ledger.count_pending(1, everything)
    await ledger.mark_shipped(block)
    after = await ledger.count_pending(1, everything)

    assert (before.count, before.horizon) == (6, Horizon(upto=0))
    assert (after.count, after.horizon) == (2, Horizon(upto=1))
    listed = await ledger.newest_pending(1, everything, limit=10)
    assert ([attempt.id for attempt in listed.attempts], listed.horizon) == ([6, 5], Horizon(upto=1))
    oldest = await ledger.oldest_pending(1, everything, limit=10)
    assert ([msgspec.json.decode(each)[0] for each in oldest.rows], oldest.horizon) == ([5, 6], Horizon(upto=1))
    grouped = await ledger.group_pending(1, everything, GroupBy.VIDEO, top=None)
    assert [(group.value, group.count) for group in grouped.groups] == [("v4", 1), ("v5", 1)]
    assert (grouped.group_count, grouped.attempts, grouped.horizon) == (2, 2, Horizon(upto=1))
    for search in ({"after_id": 2}, {"before_id": 5}, {"video": "v1"}, {"video": "v*"}, {"key": "k", "after_id": 0}):
        wanted = attempt_filter(search)
        expected = [n for n in (6, 5) if oracle.is_meant({"id": n, "key": "k", "video": f"v{n - 1}"}, search)]

        assert (await ledger.count_pending(1, wanted)).count == len(expected)
        assert [a.id for a in (await ledger.newest_pending(1, wanted, limit=9)).attempts] == expected
    assert (await ledger.stats()).pending == 2


async def test_a_viewers_attempts_are_found_among_many_thousands(ledger: Ledger) -> None:
    """A ledger may keep its ways to a viewer's attempts in pieces; these lie over several, and one is shipped."""
    rows: list[Row] = []
    for step in range(20):
        asked = [
            request(1 + n % 2, key=f"k{n % 97}", password=f"user{n % 89}|{n % 7}") for n in range(step, step + 512)
        ]
        outcomes = await ledger.commit_batch([Decide(question) for question in asked], now_ms=NOON_MS + step)
        for question, outcome in zip(asked, outcomes, strict=True):
            assert isinstance(outcome, Decision)
            rows.append(row_of(question, number=outcome.attempt, at_ms=NOON_MS + step, reason=outcome.reason.value))
        if step == 9:
            block = await ledger.next_block(now_ms=NOON_MS)
            assert block is not None
            await ledger.mark_shipped(block)
            rows.clear()
    searches: list[dict[str, Any]] = [
        *({"key": f"k{n}"} for n in range(97)),
        *({"user": f"user{n}"} for n in range(89)),
        *({"password": f"user{n}|{n % 7}"} for n in range(89)),
        {"key": "k5", "user": "user5", "password": "user5|5"},
        {"key": "k5", "video": "cam1", "after_id": 7_000},
    ]
    for search in searches:
        expected = [row for row in rows if row["cdn"] == 1 and oracle.is_meant(row, search)]
        wanted = attempt_filter(search)

        assert (await ledger.count_pending(1, wanted)).count == len(expected), search
        listed = await ledger.newest_pending(1, wanted, limit=5)
        assert [a.id for a in listed.attempts] == sorted((row["id"] for row in expected), reverse=True)[:5], search
        assert (await ledger.group_pending(1, wanted, GroupBy.USER, top=None)).attempts == len(expected), search
