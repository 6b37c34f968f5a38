"""Exports: each attempt once, in order of id, as of the cut, whatever is decided and shipped while they run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from openusher.attemptlog.base import Copy, Span
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import Busy, CountUnavailable, LogUnavailable
from openusher.exporting import Cut, Exporting
from openusher.gate import Gate
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.search import AttemptFilter
from openusher.shipper import Shipper
from openusher.usher import Usher
from tests.conformance.asking import NOON_MS, attempt_filter, request

pytestmark = pytest.mark.anyio
EVERYTHING = AttemptFilter()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class AwayLog(PlainListLog):
    """Does not answer as often as told; can lose the last row of a page; starts again with each page if told. Counts
    how often it was read as a whole: for spans, copies, and rows that come from no copy."""

    away = 0
    loses_a_row = False
    hangs = False
    restarts = False
    _starts = 1

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[str] = []
        self.copies: set[str] = set()

    @property
    def starts(self) -> int:
        return self._starts

    async def spans(self, *arguments: object, **named: object) -> Sequence[Span]:
        self.readings.append("spans")
        return await super().spans(*arguments, **named)  # type: ignore[arg-type]

    async def copy(self, *arguments: object, **named: object) -> Copy:
        self.readings.append("copy")
        copy = Copy(f"copy {len(self.readings)}", self._starts)
        self.copies.add(copy.name)
        return copy

    async def drop(self, copy: Copy) -> None:
        self.copies.discard(copy.name)

    async def rows(self, *arguments: object, **named: object) -> bytes:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            self.away -= 1
            raise LogUnavailable("away")
        copy = named["copy"]
        if copy is None:
            self.readings.append("rows")
        else:
            assert isinstance(copy, Copy)
            if copy.starts != self._starts:
                raise LogUnavailable("gone")
            assert copy.name in self.copies
        page = await super().rows(*arguments, **named)  # type: ignore[arg-type]
        if self.restarts:
            self._starts += 1
            self.copies.clear()
            self.restarts = False
        return page[: page.rstrip(b"\n").rfind(b"\n") + 1] if self.loses_a_row else page


class Node:
    """A node whose exports read three pending attempts at a time."""

    def __init__(self, usher: Usher, ledger: SqliteLedger, attempt_log: AwayLog, exporting: Exporting) -> None:
        self.usher = usher
        self.ledger = ledger
        self.log = attempt_log
        self.exporting = exporting

    async def decide(self, number: int, *, cdn: int = 1) -> None:
        for n in range(number):
            await self.usher.authorize(request(cdn, video=f"v{n % 3}"))


async def a_node(folder: Path, attempt_log: AwayLog | LedgerOnlyLog) -> Node:
    ledger = await SqliteLedger.open(folder / "ledger.db")
    gate = Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)
    shipper = Shipper(ledger, attempt_log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    usher = Usher(ledger, attempt_log, gate, shipper, wall_ms=lambda: NOON_MS)
    await usher.start()
    exporting = Exporting(ledger, attempt_log, usher.searching, pending_rows=3)
    return Node(usher, ledger, attempt_log if isinstance(attempt_log, AwayLog) else AwayLog(), exporting)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    opened = await a_node(tmp_path, AwayLog())
    yield opened
    await opened.usher.close()


def ids(page: bytes) -> list[int]:
    return [msgspec.json.decode(line)[0] for line in page.splitlines()]


async def exported(node: Node, search: AttemptFilter = EVERYTHING) -> list[int]:
    cut = await node.exporting.cut(1, search)
    return [number async for page in node.exporting.rows(1, search, cut) for number in ids(page)]


@pytest.mark.parametrize("seed", range(40))
async def test_every_attempt_up_to_the_cut_comes_once_while_more_come_and_blocks_move(node: Node, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randrange(4)):
        await node.decide(chance.randrange(1, 9))
        await node.decide(chance.randrange(3), cdn=2)
        if chance.random() < 0.6:
            await node.usher.shipper.ship_next()
    search = chance.choice([EVERYTHING, attempt_filter({"video": "v1"}), attempt_filter({"after_id": 4})])
    cut = await node.exporting.cut(1, search)
    newest_first = await node.usher.searching.newest(1, search, seek=0, limit=1_000)
    expected = [attempt.id for attempt in reversed(newest_first)]
    read: list[int] = []
    async for page in node.exporting.rows(1, search, cut):
        read += ids(page)
        if chance.random() < 0.5:
            await node.decide(chance.randrange(1, 5))
        if chance.random() < 0.5:
            await node.usher.shipper.ship_next()

    assert (len(expected), expected) == (cut.attempts, read)


async def test_a_ledger_that_is_its_own_log_is_exported_page_by_page(tmp_path: Path) -> None:
    node = await a_node(tmp_path, LedgerOnlyLog())
    await node.decide(10)
    cut = await node.exporting.cut(1, EVERYTHING)
    pages = [ids(page) async for page in node.exporting.rows(1, EVERYTHING, cut)]
    await node.usher.close()

    assert pages == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]


async def test_nothing_to_export_is_an_export_of_nothing(node: Node) -> None:
    assert await exported(node) == []
    await node.decide(3, cdn=2)

    assert await exported(node) == []


async def test_a_log_that_is_away_for_a_moment_is_waited_for(node: Node) -> None:
    await node.decide(5)
    await node.usher.shipper.ship_all()
    node.log.away = 2

    assert await exported(node) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("blocks", "readings"), [(1, ["spans", "rows"]), (2, ["spans", "copy"]), (9, ["spans", "copy"])]
)
async def test_the_log_is_read_as_a_whole_no_more_often_for_more_blocks(
    node: Node, blocks: int, readings: list[str]
) -> None:
    for _ in range(blocks):
        await node.decide(2)
        await node.usher.shipper.ship_all()

    assert (list(range(1, 2 * blocks + 1)), readings) == (await exported(node), node.log.readings)
    assert node.log.copies == set()


async def test_a_long_export_copies_no_more_than_so_many_spans_at_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openusher.exporting.SPANS_COPIED_MAX", 2)
    for _ in range(5):
        await node.decide(1)
        await node.usher.shipper.ship_all()

    assert await exported(node) == [1, 2, 3, 4, 5]
    assert node.log.readings == ["spans", "copy", "copy", "rows"]


async def test_a_log_that_starts_again_meanwhile_is_copied_again(node: Node) -> None:
    for _ in range(4):
        await node.decide(2)
        await node.usher.shipper.ship_all()
    node.log.restarts = True

    assert list(range(1, 9)) == await exported(node)
    assert node.log.readings == ["spans", "copy", "copy"]


async def test_an_export_that_nobody_reads_on_drops_its_copy(node: Node) -> None:
    for _ in range(4):
        await node.decide(2)
        await node.usher.shipper.ship_all()
    pages = node.exporting.rows(1, EVERYTHING, await node.exporting.cut(1, EVERYTHING))
    await anext(pages)
    assert len(node.log.copies) == 1
    await pages.aclose()

    assert node.log.copies == set()


async def test_attempts_that_are_forgotten_during_an_export_are_an_error(node: Node) -> None:
    for _ in range(3):
        await node.decide(2)
        await node.usher.shipper.ship_all()
    pages = node.exporting.rows(1, EVERYTHING, await node.exporting.cut(1, EVERYTHING))
    assert ids(await anext(pages)) == [1, 2]
    await node.ledger.forget(before_ms=NOON_MS + 1)
    with pytest.raises(CountUnavailable, match="export again"):
        await anext(pages)


async def test_a_log_that_gives_fewer_rows_than_it_counted_is_an_error_and_no_short_export(node: Node) -> None:
    await node.decide(5)
    await node.usher.shipper.ship_all()
    node.log.loses_a_row = True
    with pytest.raises(CountUnavailable, match="export again"):
        await exported(node)


async def test_an_export_that_finds_less_than_was_counted_is_an_error(node: Node) -> None:
    await node.decide(5)
    cut = Cut(last_id=5, attempts=6)
    with pytest.raises(CountUnavailable, match="5 attempts were found of the 6"):
        [page async for page in node.exporting.rows(1, EVERYTHING, cut)]


async def test_a_node_that_stops_ends_its_exports_with_a_word(node: Node) -> None:
    await node.decide(8)
    cut = await node.exporting.cut(1, EVERYTHING)
    pages = node.exporting.rows(1, EVERYTHING, cut)
    assert ids(await anext(pages)) == [1, 2, 3]
    node.exporting.close()
    with pytest.raises(Busy, match="stopping"):
        await anext(pages)


async def test_a_node_that_stops_waits_for_no_page(node: Node) -> None:
    await node.decide(8)
    await node.usher.shipper.ship_all()
    node.log.hangs = True
    cut = await node.exporting.cut(1, EVERYTHING)
    waiting = [asyncio.ensure_future(anext(node.exporting.rows(1, EVERYTHING, cut))) for _ in range(2)]
    await asyncio.wait(waiting, timeout=0.1)
    node.exporting.close()
    ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)

    assert [str(error) for error in ended] == ["the node is stopping; export again"] * 2


async def test_a_large_page_comes_in_pieces_of_whole_rows_until_the_node_stops(node: Node) -> None:
    for _ in range(300):
        await node.usher.authorize(request(1, pageurl="é" * 1_000))
    await node.usher.shipper.ship_all()
    cut = await node.exporting.cut(1, EVERYTHING)
    pieces = [piece async for piece in node.exporting.rows(1, EVERYTHING, cut)]

    assert len(pieces) == 3
    assert all(piece.endswith(b"]\n") and len(piece) < 300_000 for piece in pieces)
    assert [number for piece in pieces for number in ids(piece)] == list(range(1, 301))
    ending = node.exporting.rows(1, EVERYTHING, cut)
    assert await anext(ending) == pieces[0]
    node.exporting.close()
    with pytest.raises(Busy, match="stopping"):
        await anext(ending)
