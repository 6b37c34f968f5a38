"""Who waits for whom when the SQLite ledger is read: never one account for another, nobody for a check."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from openusher.errors import Busy, CountUnavailable, LedgerUnavailable
from openusher.ledger.base import Decide
from openusher.ledger.sqlite import SqliteLedger
from openusher.ledger.sqlite.readers import SEARCHES_WAITING_MAX, Readers
from openusher.model.search import AttemptFilter
from tests.conformance.asking import NOON_MS, new_account, request

pytestmark = pytest.mark.anyio
# Long enough for a busy machine, and shorter than what the waits in question took.
_SOON_S = 4.0


@contextmanager
def _held_statement(word: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold up every statement with `word` in it, on connections made from now on: (it has come, let it go)."""
    has_come, may_go = threading.Event(), threading.Event()

    def on_statement(cursor: apsw.Cursor, statement: str, values: object) -> bool:
        if word in statement:
            has_come.set()
            may_go.wait(60)
        return True

    def on_connection(connection: apsw.Connection) -> None:
        connection.exec_trace = on_statement

    apsw.connection_hooks.append(on_connection)
    try:
        yield has_come, may_go
    finally:
        may_go.set()
        apsw.connection_hooks.remove(on_connection)


class _Endless:
    """A question without an end, that tells how often it has been begun."""

    def __init__(self) -> None:
        self._begun = threading.Semaphore(0)

    async def be_begun(self, times: int = 1) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._begun.acquire, timeout=30)

    def __call__(self, connection: apsw.Connection) -> int:
        self._begun.release()
        return _endless(connection)


def _endless(connection: apsw.Connection) -> int:
    statement = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    return int(next(connection.execute(statement))[0])


def _readers(*, seconds_max: float = 60.0) -> Readers:
    return Readers(lambda: apsw.Connection(":memory:"), seconds_max=seconds_max)


async def test_a_long_check_stops_no_other_read_however_long_the_wal_gets(tmp_path: Path) -> None:
    with _held_statement("integrity_check") as (has_come, may_go):
        ledger = await SqliteLedger.open(tmp_path / "ledger.db", wal_pages_max=1)
        await ledger.create_account(new_account(1))
        check = asyncio.create_task(ledger.check(quick=False))
        await asyncio.to_thread(has_come.wait, 30)
        for _ in range(3):
            await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
            async with asyncio.timeout(_SOON_S):
                await ledger.count_pending(1, AttemptFilter())
                await ledger.stats()
        may_go.set()
        assert await check == []
        await ledger.close()


async def test_a_search_that_reads_on_holds_up_the_others_for_a_moment_only() -> None:
    readers = _readers()
    endless = _Endless()
    searching = asyncio.create_task(readers.search(1, endless))
    await endless.be_begun()
    async with asyncio.timeout(_SOON_S):
        with pytest.raises(TimeoutError):
            async with readers.quiet():
                pass
        assert await readers.ask(lambda connection: 7) == 7
        await readers.close()
    with pytest.raises(LedgerUnavailable):
        await searching


async def test_who_reads_from_outside_does_not_hold_up_writes(tmp_path: Path) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db", wal_pages_max=1)
    await ledger.create_account(new_account(1))
    outside = apsw.Connection(str(tmp_path / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    outside.execute("BEGIN; SELECT * FROM node").fetchall()
    async with asyncio.timeout(_SOON_S):
        for _ in range(20):
            await ledger.commit_batch([Decide(request(1))], now_ms=NOON_MS)
            await ledger.stats()
    outside.close()
    await ledger.close()


async def test_accounts_search_in_turn_and_short_reads_do_not_wait_for_searches() -> None:
    readers = _readers()
    may_go = threading.Event()
    order: list[int] = []

    def held(connection: apsw.Connection) -> None:
        may_go.wait(60)

    async def search(cdn: int) -> None:
        await readers.search(cdn, lambda connection: order.append(cdn))

    holding = [asyncio.create_task(readers.search(1, held)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(search(1)) for _ in range(SEARCHES_WAITING_MAX)]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(search(2)))
    async with asyncio.timeout(_SOON_S):
        with pytest.raises(Busy):
            await search(1)
        assert await readers.ask(lambda connection: 7) == 7
    may_go.set()
    await asyncio.gather(*holding, *waiting)
    await readers.close()

    assert 2 in order[:4]
    assert len(order) == SEARCHES_WAITING_MAX + 1


async def test_the_wait_for_a_place_counts_in_the_limit_and_leaves_no_place_behind() -> None:
    readers = _readers(seconds_max=0.2)
    may_go = threading.Event()
    holding = [asyncio.create_task(readers.search(1, lambda connection: may_go.wait(60))) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(_SOON_S):
        with pytest.raises(Busy):
            await readers.search(2, lambda connection: None)
    may_go.set()
    await asyncio.gather(*holding)
    with pytest.raises(CountUnavailable):
        await readers.search(1, _endless)
    # All places are there again: two that only end together.
    both = threading.Barrier(2)
    await asyncio.gather(*(readers.search(1, lambda connection: both.wait(30)) for _ in range(2)))
    await readers.close()


async def test_a_search_whose_asker_has_gone_is_broken_off() -> None:
    readers = _readers()
    endless = _Endless()
    searching = asyncio.create_task(readers.search(1, endless))
    await endless.be_begun()
    searching.cancel()
    await asyncio.wait([searching])
    async with readers.quiet():
        assert searching.cancelled()
    await readers.close()


async def test_closing_waits_for_one_read_aside_whose_asker_has_gone(tmp_path: Path) -> None:
    opened: list[apsw.Connection] = []

    def connect() -> apsw.Connection:
        opened.append(apsw.Connection(str(tmp_path / "some.db")))
        return opened[-1]

    readers = Readers(connect, seconds_max=60)
    endless = _Endless()
    reading = asyncio.create_task(readers.ask_aside(endless))
    await endless.be_begun()
    reading.cancel()
    await asyncio.wait([reading])
    async with asyncio.timeout(_SOON_S):
        await readers.close()

    # Or SQLite would keep its write-ahead log, and the next to open the file had another one open beside it.
    with pytest.raises(apsw.ConnectionClosedError):
        opened[0].pragma("schema_version")


async def test_closing_breaks_off_what_is_being_read() -> None:
    readers = _readers()
    endless = _Endless()
    reading = [asyncio.create_task(readers.search(1, endless)) for _ in range(3)]
    reading.append(asyncio.create_task(readers.ask_aside(endless)))
    await endless.be_begun(times=3)
    async with asyncio.timeout(_SOON_S):
        await readers.close()
        ended = await asyncio.gather(*reading, return_exceptions=True)

    assert [type(error) for error in ended] == [LedgerUnavailable] * 4


async def test_one_read_aside_that_closing_breaks_off_is_told_so() -> None:
    readers = _readers()
    endless = _Endless()
    reading = asyncio.create_task(readers.ask_aside(endless))
    await endless.be_begun()
    async with asyncio.timeout(_SOON_S):
        await readers.close()
        (ended,) = await asyncio.gather(reading, return_exceptions=True)

    assert isinstance(ended, LedgerUnavailable)
