"""What every attempt log must do. Another one joins by one line in `KINDS`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from openusher.attemptlog.base import AttemptLog, GroupedLog, Held
from openusher.attemptlog.embedded import open_embedded_log
from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.attemptlog.plainlist import PlainListLog
from openusher.errors import LogUnavailable
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance.attempts_to_ship import (
    BLOCKS,
    CDN,
    MONTH_END_MS,
    OTHER_CDN,
    START_MS,
    TEXTS,
    WHOLE,
    block_of,
    combined_filters,
    expected,
    inside,
    search_of,
    single_filters,
)
from tests.conftest import Promise
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Filter, Row

T = TypeVar("T")


def _embedded(folder: Path, *, by_time: bool = True) -> AttemptLog:
    return open_embedded_log(folder, memory_bytes_max=1_500_000_000, count_s_max=30, by_time=by_time)


# name -> how to open one on a folder of its own
KINDS: dict[str, Callable[[Path], AttemptLog]] = {
    "ledger only": lambda folder: LedgerOnlyLog(),
    "plain list": lambda folder: PlainListLog(),
    "chdb": _embedded,
    "chdb without a table by time": lambda folder: _embedded(folder, by_time=False),
}
# Those that keep their rows when they are closed.
DURABLE = ("chdb", "chdb without a table by time")


class Running:
    """A log and a loop to ask it in."""

    def __init__(self, log: AttemptLog, runner: asyncio.Runner, folder: Path) -> None:
        self.log = log
        self._runner = runner
        self._file = folder / "a block's *rows?"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def ship(self, number: int, rows: list[Row]) -> Block:
        """Every other block by a file."""
        block, content = block_of(number, rows), oracle.block_bytes(rows)
        self._file.write_bytes(content)
        for table in self.run(self._tables()):
            self.run(self.log.insert(block, self._file if number % 2 else content, table=table))
        self.run(self.log.derive(number, released=0))
        return block

    async def _tables(self) -> list[str]:
        return list(await self.log.tables())

    def table(self) -> str:
        return self.run(self._tables())[0]


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: name.replace(" ", "-"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def opened(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A log that holds nothing yet when the first test of this module asks it."""
    with asyncio.Runner() as runner:
        folder = tmp_path_factory.mktemp("odd ?&% name")
        running = Running(KINDS[kind](folder), runner, tmp_path_factory.mktemp("rows"))
        running.run(running.log.start())
        yield running
        running.run(running.log.close())


@pytest.fixture(scope="module")
def shipping(opened: Running) -> Running:
    """The log with all of `BLOCKS`; every test but those of an empty log takes this one."""
    if opened.log.ships:
        for number, rows in BLOCKS.items():
            opened.ship(number, rows)
    return opened


def holds_rows(running: Running) -> bool:
    return running.log.ships


def test_an_empty_log_counts_nothing_and_holds_nothing(opened: Running) -> None:
    log = opened.log

    assert opened.run(log.count(CDN, AttemptFilter(), WHOLE)) == 0
    assert opened.run(log.groups(CDN, AttemptFilter(), GroupBy.IP, WHOLE, top=5)) == GroupedLog([], 0, 0)
    assert opened.run(log.newest(CDN, AttemptFilter(), WHOLE, limit=5)) == []
    assert opened.run(log.rows_by_block(table="attempts")) == {}
    assert opened.run(log.held(1, table="attempts")) == Held(rows=0, first_id=0, last_id=0, digest="")
    assert opened.run(log.all_held(table="attempts")) == {}


def test_a_log_that_ships_nothing_refuses_a_block(opened: Running) -> None:
    if holds_rows(opened):
        assert opened.table()
        return
    assert opened.run(opened.log.tables()) == ()
    with pytest.raises(LogUnavailable):
        opened.run(opened.log.insert(block_of(1, BLOCKS[1]), oracle.block_bytes(BLOCKS[1]), table="attempts"))


def test_every_filter_alone_counts_what_a_plain_list_counts(shipping: Running, promise: Promise) -> None:
    for wanted in single_filters():
        meant = len(expected(wanted)) if holds_rows(shipping) else 0

        assert (wanted, meant) == (wanted, shipping.run(shipping.log.count(CDN, search_of(wanted), WHOLE)))

    promise("Counted exactly once", filters_compared=len(single_filters()))


def test_filters_together_count_what_a_plain_list_counts(shipping: Running, promise: Promise) -> None:
    filters = combined_filters(150)
    found = 0
    for wanted in filters:
        rows = expected(wanted) if holds_rows(shipping) else []
        found += bool(rows)

        assert (wanted, len(rows)) == (wanted, shipping.run(shipping.log.count(CDN, search_of(wanted), WHOLE)))
        totals = shipping.run(shipping.log.totals(CDN, search_of(wanted), WHOLE, most=10_000))
        assert (wanted, oracle.totals(rows)) == (wanted, {tuple(total[:3]): total.attempts for total in totals})

    assert found > 50 or not holds_rows(shipping)
    promise("Counted exactly once", filters_compared=len(filters))


@pytest.mark.parametrize("by", list(GroupBy), ids=str)
def test_groups_come_largest_first_with_ties_by_value(shipping: Running, by: GroupBy) -> None:
    for wanted in ({}, {"accepted": False}, {"video": "s*"}, {"key": "absent"}):
        whole = oracle.groups(expected(wanted), by.value) if holds_rows(shipping) else []
        for top in (0, 1, 3, 10_000):
            grouped = shipping.run(shipping.log.groups(CDN, search_of(wanted), by, WHOLE, top=top))

            assert whole[:top] == [(group.value, group.count) for group in grouped.groups]
            assert (len(whole), sum(count for _, count in whole)) == (grouped.total, grouped.attempts)


@pytest.mark.parametrize("by", list(GroupBy), ids=str)
def test_named_groups_are_counted_and_those_without_attempts_left_out(shipping: Running, by: GroupBy) -> None:
    wanted: Filter = {"accepted": True}
    counts = dict(oracle.groups(expected(wanted), by.value)) if holds_rows(shipping) else {}
    absent: str | int = 12_345 if by in (GroupBy.IP, GroupBy.SERVER_IP, GroupBy.HOUR, GroupBy.DAY) else "absent"
    if by is GroupBy.SUCCESS:
        absent = 0
    named = [*list(counts)[::2], absent]
    counted = shipping.run(shipping.log.counts_of(CDN, search_of(wanted), by, WHOLE, values=named))

    assert {value: counts[value] for value in named if value in counts} == {v: n for v, n in counted.items() if n}
    assert shipping.run(shipping.log.counts_of(CDN, search_of(wanted), by, WHOLE, values=[])) == {}


def test_the_newest_come_first_and_paging_by_id_neither_skips_nor_repeats(shipping: Running) -> None:
    for wanted in ({}, {"accepted": False}, {"key": "it's"}, {"app": "*%*"}):
        rows = sorted(expected(wanted), key=lambda row: -row["id"]) if holds_rows(shipping) else []
        paged: list[int] = []
        before: Filter = {}
        while True:
            search = search_of({**wanted, **before})
            page = shipping.run(shipping.log.newest(CDN, search, WHOLE, limit=37))
            if not page:
                break
            paged += [attempt.id for attempt in page]
            before = {"before_id": page[-1].id}

        assert [row["id"] for row in rows] == paged
        behind = shipping.run(shipping.log.newest(CDN, search_of(wanted), WHOLE, seek=5, limit=11))
        past = shipping.run(shipping.log.newest(CDN, search_of(wanted), WHOLE, seek=len(rows), limit=11))

        assert [row["id"] for row in rows[5:16]] == [attempt.id for attempt in behind]
        assert past == []
        assert shipping.run(shipping.log.newest(CDN, search_of(wanted), WHOLE, limit=0)) == []


def test_an_export_reads_every_matching_attempt_once_in_order_of_id(shipping: Running) -> None:
    log = shipping.log
    searches: list[Filter] = [{}, {"accepted": False}, {"key": "it's"}, {"app": "*%*"}, {"after_id": 3_050},
                              {"after_id": 2_000, "before_id": 7_001}, {"key": "absent"}]  # fmt: skip
    for wanted in searches:
        for horizon in (WHOLE, Horizon(upto=5), Horizon(upto=8, but=(2, 8))):
            rows = sorted(expected(wanted, horizon), key=lambda row: row["id"]) if holds_rows(shipping) else []
            spans = shipping.run(log.spans(CDN, search_of(wanted), horizon))
            pages = [shipping.run(log.rows(CDN, search_of(wanted), horizon, span=span)) for span in spans]
            read = [msgspec.json.decode(line) for page in pages for line in page.splitlines()]

            assert [json.loads(line) for line in oracle.block_bytes(rows).splitlines()] == read
            assert [page.count(b"\n") for page in pages] == [span.attempts for span in spans]
            assert all(page.endswith(b"]\n") for page in pages)


def test_an_attempt_comes_back_as_it_was_shipped(shipping: Running) -> None:
    rows = {row["id"]: row for row in inside(WHOLE)} if holds_rows(shipping) else {}
    attempts = shipping.run(shipping.log.newest(CDN, AttemptFilter(), WHOLE, limit=10_000))
    shown = {}
    for attempt in attempts:
        row = {name: getattr(attempt, "password" if name == "pass" else name) for name in oracle.ORDER}
        shown[attempt.id] = {**row, "ip": f"{attempt.ip:032x}", "server_ip": f"{attempt.server_ip:032x}"}

    assert {
        number: {**row, "ip": oracle.digits(row["ip"]), "server_ip": oracle.digits(row["server_ip"])}
        for number, row in rows.items()
    } == shown


@pytest.mark.parametrize(
    "horizon",
    [
        Horizon(upto=0),
        Horizon(upto=1),
        Horizon(upto=5),
        Horizon(upto=8, but=(8,)),
        Horizon(upto=8, but=(2, 5, 7)),
        Horizon(upto=100, but=(1,)),
        Horizon(upto=8, behind=4),
        Horizon(upto=8, but=(6,), behind=5),
        Horizon(upto=8, but=(2,), from_ms=START_MS + 3_600_000),
        Horizon(upto=8, from_ms=MONTH_END_MS),
        Horizon(upto=8, from_ms=MONTH_END_MS + 1),
        Horizon(upto=8, from_ms=MONTH_END_MS + 7_200_000),
    ],
    ids=str,
)
def test_a_horizon_bounds_every_question(shipping: Running, horizon: Horizon) -> None:
    rows = inside(horizon) if holds_rows(shipping) else []
    log, run, every = shipping.log, shipping.run, AttemptFilter()
    counts = oracle.groups(rows, "user")
    grouped = run(log.groups(CDN, every, GroupBy.USER, horizon, top=10_000))

    assert len(rows) == run(log.count(CDN, every, horizon))
    assert counts == [(group.value, group.count) for group in grouped.groups]
    assert len(rows) == grouped.attempts
    totals = run(log.totals(CDN, every, horizon, most=10_000))
    assert oracle.totals(rows) == {tuple(total[:3]): total.attempts for total in totals}
    assert min(3, len(totals)) == len(run(log.totals(CDN, every, horizon, most=3)))
    assert dict(counts[:4]) == run(
        log.counts_of(CDN, every, GroupBy.USER, horizon, values=[value for value, _ in counts[:4]])
    )
    newest = sorted((row["id"] for row in rows), reverse=True)
    assert newest[:200] == [attempt.id for attempt in run(log.newest(CDN, every, horizon, limit=200))]


def test_accounts_see_their_own_attempts_only(shipping: Running, promise: Promise) -> None:
    log, run = shipping.log, shipping.run
    for cdn in (CDN, OTHER_CDN, 1):
        rows = inside(WHOLE, cdn=cdn) if holds_rows(shipping) else []
        keys = oracle.groups(rows, "key")
        grouped = run(log.groups(cdn, AttemptFilter(), GroupBy.KEY, WHOLE, top=10_000))

        assert len(rows) == run(log.count(cdn, AttemptFilter(), WHOLE))
        assert keys == [(group.value, group.count) for group in grouped.groups]
        assert {cdn} >= {attempt.cdn for attempt in run(log.newest(cdn, AttemptFilter(), WHOLE, limit=10_000))}
        for text in TEXTS:
            meant = sum(row["key"] == text for row in rows)
            assert meant == run(log.count(cdn, AttemptFilter(key=text), WHOLE))
    promise("Tenants are apart", counts_compared=3 * len(TEXTS))


def test_what_is_held_of_a_block_is_what_was_shipped(shipping: Running) -> None:
    if not holds_rows(shipping):
        assert shipping.run(shipping.log.rows_by_block(table="attempts")) == {}
        return
    table = shipping.table()
    every = {
        number: Held(
            rows=len(rows),
            first_id=min(row["id"] for row in rows),
            last_id=max(row["id"] for row in rows),
            digest=oracle.digest(rows),
        )
        for number, rows in BLOCKS.items()
    }

    assert every == {number: shipping.run(shipping.log.held(number, table=table)) for number in BLOCKS}
    assert every == shipping.run(shipping.log.all_held(table=table))
    assert {number: len(rows) for number, rows in BLOCKS.items()} == shipping.run(
        shipping.log.rows_by_block(table=table)
    )
    assert shipping.run(shipping.log.held(9, table=table)).rows == 0


@pytest.fixture
def alone(kind: str, tmp_path: Path) -> Iterator[Running]:
    """A log of the test's own; only kinds that ship."""
    with asyncio.Runner() as runner:
        running = Running(KINDS[kind](tmp_path / "log"), runner, tmp_path)
        running.run(running.log.start())
        yield running
        running.run(running.log.close())


def test_a_block_that_is_there_already_shows_before_it_is_inserted_again(alone: Running) -> None:
    if not holds_rows(alone):
        assert alone.run(alone.log.held(1, table="attempts")).rows == 0
        return
    rows = BLOCKS[1]
    block = alone.ship(1, rows)
    table = alone.table()
    held = alone.run(alone.log.held(1, table=table))

    assert (held.rows, held.digest) == (block.rows, block.digest)
    # Whoever inserts it all the same gets it once or twice, but never a digest that looks right for two.
    alone.run(alone.log.insert(block, oracle.block_bytes(rows), table=table))
    again = alone.run(alone.log.held(1, table=table))
    assert again == held or (again.rows == 2 * held.rows and again.digest != held.digest)


def test_rows_that_were_changed_on_the_way_show_in_the_digest(alone: Running) -> None:
    if not holds_rows(alone):
        return
    for number, column in enumerate(oracle.ORDER[1:], 1):
        if column in ("cdn", "at_ms"):
            continue
        rows = [dict(row) for row in BLOCKS[1][:5]]
        row = rows[3]
        if column in oracle.NUMBERS:
            row[column] = 77
        elif column in oracle.ADDRESSES:
            row[column] = "203.0.113.99"
        else:
            row[column] += "x"
        alone.ship(number, rows)

        assert alone.run(alone.log.held(number, table=alone.table())).digest == oracle.digest(rows)
        assert alone.run(alone.log.held(number, table=alone.table())).digest != oracle.digest(BLOCKS[1][:5])


def test_a_log_opened_again_holds_what_it_held(kind: str, tmp_path: Path) -> None:
    if kind not in DURABLE:
        return
    with asyncio.Runner() as runner:
        counted = []
        for visit in range(2):
            running = Running(KINDS[kind](tmp_path / "log"), runner, tmp_path)
            running.run(running.log.start())
            if visit == 0:
                for number, rows in BLOCKS.items():
                    running.ship(number, rows)
            counted.append(running.run(running.log.count(CDN, AttemptFilter(), WHOLE)))
            assert {number: len(rows) for number, rows in BLOCKS.items()} == {
                number: held.rows for number, held in running.run(running.log.all_held(table=running.table())).items()
            }
            running.run(running.log.close())

    assert counted == [len(inside(WHOLE))] * 2
