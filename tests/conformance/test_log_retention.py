"""What every attempt log that is shipped to must do with blocks that are forgotten, and with anonymised ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openusher.attemptlog.base import AttemptLog
from openusher.attemptlog.embedded import open_embedded_log
from openusher.attemptlog.plainlist import PlainListLog
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, GroupBy
from tests.conformance import asking
from tests.conformance.attempts_to_ship import CDN, IPS, MONTH_END_MS, NETS, block_of, search_of
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Row

HOUR_MS = 3_600_000
ROWS = 30
# Blocks 1 to 4 are of October, 5 to 8 of November; each is of one hour.
FIRST_MS = MONTH_END_MS - 4 * HOUR_MS
KINDS: dict[str, Callable[[Path], AttemptLog]] = {
    "plain list": lambda folder: PlainListLog(),
    "chdb": lambda folder: open_embedded_log(folder, memory_bytes_max=1_500_000_000, count_s_max=30),
}


def rows_of(number: int) -> list[Row]:
    """A block whose times rise with its ids, from the start of its hour."""
    texts = dict.fromkeys(("key", "pass", "app", "appinst", "video", "pageurl", "refurl", "user_agent", "reason"), "x")
    numbers = {"cdn": CDN, "edge": 1, "cut": 0}
    return [
        {
            **texts,
            **numbers,
            "id": number * 100 + i,
            "at_ms": FIRST_MS + (number - 1) * HOUR_MS + i,
            "ip": IPS[i % len(IPS)],
            "server_ip": "::",
        }
        for i in range(ROWS)
    ]


class Filled:
    """A log with blocks 1 to 8, and a loop to ask it in."""

    def __init__(self, log: AttemptLog, runner: asyncio.Runner) -> None:
        self.log = log
        self.run = runner.run
        self.run(self._fill())

    async def _fill(self) -> None:
        await self.log.start()
        (self.table,) = await self.log.tables()
        for number in range(1, 9):
            await self.insert(number)

    async def insert(self, number: int) -> None:
        rows = rows_of(number)
        await self.log.insert(block_of(number, rows), oracle.block_bytes(rows), table=self.table)
        await self.log.derive(number, released=0)

    def last_block_before(self, at_ms: int) -> int:
        return self.run(self.log.last_block_before(at_ms, table=self.table))

    def held(self) -> dict[int, int]:
        return self.run(self.log.rows_by_block(table=self.table))

    def remove(self, upto: int) -> None:
        """Return when it has gone: the log may take its time, or need to be told again."""
        self.run(self._remove(upto))

    def anonymise(self, upto: int) -> int:
        """Return how many it was told to write, when it has written them."""
        return self.run(self._anonymise(upto))

    async def _anonymise(self, upto: int) -> int:
        async with asyncio.timeout(30):
            number = await self.log.anonymise(upto=upto, table=self.table)
            while True:
                if not await self.log.anonymise(upto=upto, table=self.table):
                    return number
                await asyncio.sleep(0.05)

    async def _remove(self, upto: int) -> None:
        async with asyncio.timeout(30):
            await self.log.remove(upto=upto, table=self.table)
            while True:
                if min(await self.log.rows_by_block(table=self.table), default=upto + 1) > upto:
                    return
                await asyncio.sleep(0.05)


@pytest.fixture(params=KINDS, ids=lambda name: name.replace(" ", "-"))
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    with asyncio.Runner() as runner:
        opened = Filled(KINDS[request.param](tmp_path), runner)
        yield opened
        runner.run(opened.log.close())


def test_the_last_block_before_an_instant_is_the_last_of_which_all_are_older(filled: Filled) -> None:
    third_ms = FIRST_MS + 2 * HOUR_MS
    asked = {0: 0, third_ms: 2, third_ms + 1: 2, third_ms + ROWS - 1: 2, third_ms + ROWS: 3, 2 * third_ms: 8}

    assert asked == {at_ms: filled.last_block_before(at_ms) for at_ms in asked}
    filled.remove(2)
    assert (filled.last_block_before(third_ms + ROWS), filled.last_block_before(2 * third_ms)) == (3, 8)
    filled.remove(8)
    assert filled.last_block_before(2 * third_ms) == 0


@pytest.mark.parametrize("upto", [0, 1, 3, 4, 6, 8])
def test_blocks_that_were_removed_go_and_the_others_stay_as_they_are(filled: Filled, upto: int) -> None:
    kept = range(upto + 1, 9)
    filled.remove(upto)
    filled.remove(upto)
    held = filled.run(filled.log.all_held(table=filled.table))
    counted = filled.run(filled.log.count(CDN, AttemptFilter(), Horizon(upto=8)))

    assert dict.fromkeys(kept, ROWS) == filled.held()
    assert {number: oracle.digest(rows_of(number)) for number in kept} == {n: block.digest for n, block in held.items()}
    assert counted == ROWS * len(kept)


def test_a_block_that_comes_behind_a_removal_stays(filled: Filled) -> None:
    """Into a partition that has gone, and into one that was written anew."""
    filled.remove(6)
    for number in (9, 10):
        filled.run(filled.insert(number))
    filled.run(filled.insert(3))

    assert {3, 7, 8, 9, 10} == filled.held().keys()
    assert filled.run(filled.log.count(CDN, AttemptFilter(), Horizon(upto=10, from_ms=MONTH_END_MS))) == 4 * ROWS


def shown(border_ms: int) -> list[Row]:
    rows = [row for number in range(1, 9) for row in rows_of(number)]
    return [oracle.anonymised(row) if row["at_ms"] < border_ms else row for row in rows]


def compare_anonymised(filled: Filled, border_ms: int) -> None:
    """Every answer is as a plain list says, of which the older rows are anonymised."""
    horizon = Horizon(upto=8, anonymised_before_ms=border_ms)
    log, every, rows = filled.log, AttemptFilter(), shown(border_ms)
    for net in (*NETS, "192.0.2.0/25", "2001:db8::/48", "2001:db8::/49"):
        is_meant = (oracle.is_meant, oracle.is_meant_anonymised)
        meant = sum(is_meant[row["at_ms"] < border_ms](row, {"ip": net}) for row in rows)
        assert (net, meant) == (net, filled.run(log.count(CDN, search_of({"ip": net}), horizon)))
    groups = oracle.groups(rows, "ip")
    grouped = filled.run(log.groups(CDN, every, GroupBy.IP, horizon, top=1_000))
    assert groups == [(group.value, group.count) for group in grouped.groups]
    named = [value for value, _ in groups[::2]]
    assert dict(groups[::2]) == filled.run(log.counts_of(CDN, every, GroupBy.IP, horizon, values=named))
    listed = filled.run(log.newest(CDN, every, horizon, seek=1, limit=1_000))
    assert [as_row(row) for row in rows[-2::-1]] == [as_row(attempt) for attempt in map(asking.row, listed)]
    spans = filled.run(log.spans(CDN, every, horizon))
    exported = b"".join(filled.run(log.rows(CDN, every, horizon, span=span)) for span in spans)
    assert [json.loads(line) for line in oracle.block_bytes(rows).splitlines()] == [
        json.loads(line) for line in exported.splitlines()
    ]


def as_row(row: Row) -> Row:
    return {name: oracle.digits(row[name]) if name in oracle.ADDRESSES else row[name] for name in oracle.ORDER}


@pytest.mark.parametrize("border_ms", [0, FIRST_MS + HOUR_MS + 5, MONTH_END_MS, MONTH_END_MS + 9 * HOUR_MS])
def test_answers_show_older_attempts_anonymised_whatever_is_written(filled: Filled, border_ms: int) -> None:
    compare_anonymised(filled, border_ms)
    upto = filled.last_block_before(border_ms)
    assert filled.anonymise(upto) == sum(
        row != oracle.anonymised(row) for number in range(1, upto + 1) for row in rows_of(number)
    )
    compare_anonymised(filled, border_ms)


def test_a_block_has_one_digest_as_anonymised_before_and_after_it_was_written_so(filled: Filled) -> None:
    def digests(upto: int) -> dict[int, str]:
        held = filled.run(filled.log.all_held(table=filled.table, anonymised_upto=upto))
        return {number: block.digest for number, block in held.items()}

    plain = {number: oracle.digest(rows_of(number)) for number in range(1, 9)}
    left = {number: oracle.digest(map(oracle.anonymised, rows_of(number))) for number in range(1, 9)}

    assert plain == digests(0)
    assert {n: left[n] if n <= 6 else plain[n] for n in plain} == digests(6)
    filled.anonymise(6)
    assert {n: left[n] if n <= 6 else plain[n] for n in plain} == digests(6) == digests(0)
    some = filled.run(filled.log.held_between(2, 7, table=filled.table, anonymised_upto=7))
    assert {n: left[n] for n in range(2, 8)} == {number: block.digest for number, block in some.items()}
