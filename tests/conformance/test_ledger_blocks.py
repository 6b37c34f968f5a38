"""Any ledger's blocks: which attempts make one up, their rows and digest, and what becomes of them when shipped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from openusher.errors import LedgerUnavailable
from openusher.ledger.base import BATCH_OPERATIONS_MAX, Decide, Ledger
from openusher.model.attempt import AttemptRequest, Decision
from openusher.model.block import BLOCK_BYTES_MAX, BLOCK_ROWS_MAX, Block
from openusher.model.search import AttemptFilter
from tests.conformance.asking import IPS, NASTY, NOON_MS, request, row, row_of
from tests.conformance.ledgers import LedgerBench
from tests.oracles import attempt_rows as oracle

pytestmark = pytest.mark.anyio


async def record(ledger: Ledger, asked: list[AttemptRequest], *, now_ms: int = NOON_MS) -> list[dict[str, Any]]:
    """Have `asked` decided, in batches; the rows that must be recorded."""
    rows = []
    for start in range(0, len(asked), BATCH_OPERATIONS_MAX):
        part = asked[start : start + BATCH_OPERATIONS_MAX]
        outcomes = await ledger.commit_batch([Decide(question) for question in part], now_ms=now_ms)
        for question, outcome in zip(part, outcomes, strict=True):
            assert isinstance(outcome, Decision)
            rows.append(row_of(question, number=outcome.attempt, at_ms=now_ms, reason=outcome.reason.value))
    return rows


async def next_block(ledger: Ledger) -> Block:
    block = await ledger.next_block(now_ms=NOON_MS)
    assert block is not None
    return block


def ids_and_rows(block: Block) -> tuple[int, int, int]:
    return block.first_id, block.last_id, block.rows


async def test_a_block_is_its_rows_and_their_digest_whatever_stands_in_them(ledger: Ledger) -> None:
    asked = [
        request(1 + n % 2, key=text, password=f"{text}|{n}", app=text, appinst=text, video=text * 3, pageurl=text,
                refurl=text, user_agent=text, ip=IPS[n % len(IPS)], server_ip=IPS[-n % len(IPS)], edge=n, cut=n)
        for n, text in enumerate((*NASTY, "", "[1,\n2]", ",:|", "é" * 500))
    ]  # fmt: skip
    rows = await record(ledger, asked)
    block = await next_block(ledger)
    travelling = (await ledger.block_rows(block)).split(b"\n")

    assert (block.number, block.shipped, *ids_and_rows(block)) == (1, False, 1, len(rows), len(rows))
    assert block.incarnation == (await ledger.stats()).incarnation != 0
    assert block.digest == oracle.digest(rows)
    assert [json.loads(line) for line in travelling] == [
        json.loads(line) for line in oracle.block_bytes(rows).split(b"\n")
    ]
    assert await ledger.check(quick=False) == []


async def test_a_file_of_a_blocks_rows_holds_those_and_is_its_owners_only(ledger: Ledger, tmp_path: Path) -> None:
    rows = await record(ledger, [request(1, key=text, password=f"p|{text}") for text in NASTY] * 500)
    block, file = await next_block(ledger), tmp_path / "a *?[name]"
    file.write_text("x" * 10_000_000)
    file.chmod(0o600)
    await ledger.write_rows(block, str(file))
    written = file.read_bytes()

    assert oracle.block_bytes(rows).splitlines() == written.splitlines()
    assert written.splitlines() == (await ledger.block_rows(block)).splitlines()
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LedgerUnavailable, match="cannot be written: Is a directory"):
        await ledger.write_rows(block, str(tmp_path))


async def test_no_attempts_are_no_block(ledger: Ledger) -> None:
    assert await ledger.next_block(now_ms=NOON_MS) is None
    assert await ledger.blocks() == []


async def test_an_unshipped_block_is_given_again_as_it_was_until_it_is_shipped(bench: LedgerBench) -> None:
    ledger = await bench.open()
    await record(ledger, [request(1)] * 3)
    block = await next_block(ledger)
    await record(ledger, [request(1)] * 2)
    assert await next_block(ledger) == block
    await ledger.close()

    ledger = await bench.open()
    assert await next_block(ledger) == block
    await ledger.mark_shipped(block)
    after = await next_block(ledger)
    assert (after.number, after.incarnation, *ids_and_rows(after)) == (2, block.incarnation, 4, 5, 2)
    await ledger.close()


async def test_a_block_never_lies_in_two_months(ledger: Ledger) -> None:
    border_ms = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp() * 1000)
    year_ms = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for now_ms, number in ((border_ms - 1, 3), (border_ms, 2), (year_ms - 1, 1), (year_ms, 4)):
        await record(ledger, [request(1)] * number, now_ms=now_ms)
    blocks = []
    while block := await ledger.next_block(now_ms=year_ms):
        await ledger.mark_shipped(block)
        blocks.append(ids_and_rows(block))

    assert blocks == [(1, 3, 3), (4, 5, 2), (6, 6, 1), (7, 10, 4)]


async def test_a_block_has_as_many_rows_as_one_insert_takes(ledger: Ledger) -> None:
    await record(ledger, [request(1)] * (BLOCK_ROWS_MAX + 1))
    block = await next_block(ledger)
    await ledger.mark_shipped(block)

    assert ids_and_rows(block) == (1, BLOCK_ROWS_MAX, BLOCK_ROWS_MAX)
    assert ids_and_rows(await next_block(ledger)) == (BLOCK_ROWS_MAX + 1, BLOCK_ROWS_MAX + 1, 1)


async def test_a_block_of_long_texts_ends_before_it_is_too_many_bytes(ledger: Ledger) -> None:
    texts = {"key": "k" * 128, "password": "p" * 256, "app": "é" * 64, "appinst": "i" * 128, "video": "v" * 1_024,
             "pageurl": "u" * 2_048, "refurl": "r" * 2_048, "user_agent": "a" * 512}  # fmt: skip
    rows = await record(ledger, [request(1, **texts)] * 6_000)
    block = await next_block(ledger)
    size = len(await ledger.block_rows(block))

    assert block.first_id == 1
    assert block.rows == block.last_id < 6_000
    assert 0.95 * BLOCK_BYTES_MAX < size <= BLOCK_BYTES_MAX
    assert block.digest == oracle.digest(rows[: block.rows])
    await ledger.mark_shipped(block)
    assert ids_and_rows(await next_block(ledger)) == (block.rows + 1, 6_000, 6_000 - block.rows)


async def test_shipped_rows_go_in_chunks_and_no_others(ledger: Ledger) -> None:
    await record(ledger, [request(1)] * 5)
    block = await next_block(ledger)
    rows = await record(ledger, [request(1, video=f"v{n}") for n in range(2)])
    assert await ledger.delete_shipped(limit=10) == 0
    await ledger.mark_shipped(block)
    deleted = [await ledger.delete_shipped(limit=2) for _ in range(4)]

    assert deleted == [2, 2, 1, 0]
    left = (await ledger.newest_pending(1, AttemptFilter(), limit=10)).attempts
    assert [row(attempt) for attempt in left] == rows[::-1]
    assert [(b.number, b.shipped, *ids_and_rows(b)) for b in await ledger.blocks()] == [(1, True, 1, 5, 5)]
    assert await ledger.check(quick=False) == []


async def test_stats_say_what_waits_and_since_when(ledger: Ledger) -> None:
    assert (await ledger.stats()).oldest_pending_ms is None
    await record(ledger, [request(1)] * 2)
    block = await next_block(ledger)
    await record(ledger, [request(1)], now_ms=NOON_MS + 5)
    before = await ledger.stats()
    await ledger.mark_shipped(block)
    after = await ledger.stats()

    def shown(stats: Any) -> tuple[int, ...]:
        return (stats.last_attempt_id, stats.last_block, stats.shipped_block, stats.pending, stats.oldest_pending_ms)

    assert shown(before) == (3, 1, 0, 3, NOON_MS)
    assert shown(after) == (3, 1, 1, 1, NOON_MS + 5)


async def test_marking_a_block_shipped_twice_changes_nothing(ledger: Ledger) -> None:
    await record(ledger, [request(1)] * 2)
    block = await next_block(ledger)
    await ledger.mark_shipped(block)
    await record(ledger, [request(1)] * 2)
    stats = await ledger.stats()
    await ledger.mark_shipped(block)

    assert await ledger.stats() == stats
