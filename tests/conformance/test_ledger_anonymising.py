"""Any ledger's anonymising: every answer shows it at once, whatever is still in the rows, and no count changes."""

from __future__ import annotations

from typing import Any

import pytest

from openusher.ledger.base import EndSessions, Issue, Ledger, Start
from openusher.model.address import parse_address
from openusher.model.search import AttemptFilter, GroupBy
from openusher.model.session import EndedBy, SessionWish, Started
from tests.conformance.asking import IPS, NETS, NOON_MS, attempt_filter, request, row, ticket
from tests.conformance.ledgers import LedgerBench
from tests.conformance.test_ledger_blocks import next_block, record
from tests.oracles import attempt_rows as oracle

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000
BORDER_MS = NOON_MS + HOUR_MS
Row = dict[str, Any]


async def record_old_and_new(ledger: Ledger) -> list[Row]:
    """From each address twice: before the border, and at it."""
    asked = [
        request(1, ip=ip, pageurl=f"https://example.com/{ip}", refurl="https://example.org/", user_agent=f"agent {ip}",
                server_ip="203.0.113.1")
        for ip in IPS
    ]  # fmt: skip
    return await record(ledger, asked) + await record(ledger, asked, now_ms=BORDER_MS)


def shown(rows: list[Row]) -> list[Row]:
    return [oracle.anonymised(row) if row["at_ms"] < BORDER_MS else row for row in rows][::-1]


def meant(rows: list[Row], net: str) -> int:
    search = {"ip": net}
    return sum(
        (oracle.is_meant_anonymised if row["at_ms"] < BORDER_MS else oracle.is_meant)(row, search) for row in rows
    )


async def compare(ledger: Ledger, rows: list[Row]) -> None:
    listed = await ledger.newest_pending(1, AttemptFilter(), limit=1_000)
    assert shown(rows) == [row(attempt) for attempt in listed.attempts]
    for net in (*NETS, "192.0.2.0/25", "2001:db8::/48"):
        assert (net, meant(rows, net)) == (net, (await ledger.count_pending(1, attempt_filter({"ip": net}))).count)
    for by in (GroupBy.IP, GroupBy.SERVER_IP, GroupBy.KEY):
        grouped = await ledger.group_pending(1, AttemptFilter(), by, top=None)
        assert oracle.groups(shown(rows), by.value) == [(group.value, group.count) for group in grouped.groups]
    assert await ledger.check(quick=False) == []


async def test_every_answer_shows_older_attempts_without_what_tells_their_viewers(ledger: Ledger) -> None:
    rows = await record_old_and_new(ledger)
    before = (await ledger.count_pending(1, AttemptFilter())).count
    await ledger.anonymise(before_ms=BORDER_MS)

    await compare(ledger, rows)
    assert before == (await ledger.count_pending(1, AttemptFilter())).count
    assert (await ledger.count_pending(1, AttemptFilter())).horizon.anonymised_before_ms == BORDER_MS
    await ledger.anonymise(before_ms=NOON_MS)
    await compare(ledger, rows)


async def test_rows_are_written_so_in_chunks_and_no_answer_changes(bench: LedgerBench) -> None:
    ledger = await bench.open()
    rows = await record_old_and_new(ledger)
    assert await ledger.anonymise_rows(limit=100) == 0
    await ledger.anonymise(before_ms=BORDER_MS)
    written = []
    while number := await ledger.anonymise_rows(limit=4):
        written.append(number)
        await compare(ledger, rows)
    assert written == [4, 4, 1]
    await ledger.close()
    # Not only shown so: with the border gone, the rows say the same.
    bench.tamper("UPDATE node SET anonymised_before_ms = 0")
    ledger = await bench.open()
    listed = await ledger.newest_pending(1, AttemptFilter(), limit=1_000)

    assert shown(rows) == [row(attempt) for attempt in listed.attempts]
    await ledger.close()


async def test_an_export_has_them_so_too(ledger: Ledger) -> None:
    rows = await record_old_and_new(ledger)
    await ledger.anonymise(before_ms=BORDER_MS)
    exported = (await ledger.oldest_pending(1, AttemptFilter(), limit=1_000)).rows

    assert oracle.block_bytes(shown(rows)[::-1]) == b"\n".join(bytes(each) for each in exported)


async def test_a_block_under_way_is_given_as_its_digest_says(ledger: Ledger) -> None:
    rows = await record_old_and_new(ledger)
    block = await next_block(ledger)
    await ledger.anonymise(before_ms=BORDER_MS)

    assert await ledger.anonymise_rows(limit=100) == 0
    assert oracle.block_bytes(rows) == await ledger.block_rows(block)
    await compare(ledger, rows)


async def test_blocks_get_the_digests_of_what_is_left(ledger: Ledger) -> None:
    for _ in range(3):
        await record(ledger, [request(1)])
        await ledger.mark_shipped(await next_block(ledger))
    await ledger.anonymise_blocks({1: "one", 2: "two"})
    blocks = await ledger.blocks()

    assert ["one", "two", blocks[2].digest] == [block.digest for block in blocks]
    assert (await ledger.stats()).anonymised_block == 2


async def test_sessions_that_ended_before_keep_the_net_of_their_address(ledger: Ledger) -> None:
    await ledger.commit_batch([Issue(ticket=ticket(1))], now_ms=NOON_MS)
    sessions = []
    for n in range(3):
        asked = request(1, ip="192.0.2.77", user_agent="a player", video=f"v{n}")
        wish = SessionWish(id=f"s{n}", base=f"v{n}", resume_ms=HOUR_MS, idle_ms=1, hop_ms=1, hold_ms=1)
        (started,) = await ledger.commit_batch([Start(asked, wish)], now_ms=NOON_MS)
        assert isinstance(started, Started)
        sessions.append(started.session)
    for n, session in enumerate(sessions[:2]):
        end = EndSessions(numbers=[session.number], by=EndedBy.STOPPED)
        await ledger.commit_batch([end], now_ms=NOON_MS + n * HOUR_MS)
    assert await ledger.anonymise_sessions(before_ms=BORDER_MS, limit=10) == 1
    assert await ledger.anonymise_sessions(before_ms=BORDER_MS, limit=10) == 0
    ended = (await ledger.ended_sessions(1, from_ms=0, limit=10)).sessions
    live = (await ledger.live_sessions(after=0, limit=10)).sessions

    assert [(each.id, each.ip, each.user_agent) for each in ended] == [
        ("s1", parse_address("192.0.2.77"), "a player"),
        ("s0", parse_address("192.0.2.0"), ""),
    ]
    assert [sessions[2]] == live
