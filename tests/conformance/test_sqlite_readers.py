"""What readers must not do to the SQLite ledger: keep its WAL growing, or read on for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from openusher.errors import CountUnavailable
from openusher.ledger.base import Decide, NewAccount
from openusher.ledger.sqlite import SqliteLedger, store
from openusher.model.account import ApiKey, Secret
from openusher.model.attempt import AttemptRequest
from openusher.model.search import AttemptFilter

_WAL_PAGES_MAX = 200
_LONG_WAL = 1_000
_PAGE_BYTES = 4_096


async def _open(file: Path, *, read_s_max: float = 10.0, wal_pages_max: int = _WAL_PAGES_MAX) -> SqliteLedger:
    ledger = await SqliteLedger.open(file, read_s_max=read_s_max, wal_pages_max=wal_pages_max)
    key = ApiKey(api_key="K", cdn=1, secret=Secret("s"))
    await ledger.create_account(NewAccount(name="acme", cdn=1, key=key, edge_name="default", edge_token_digest="d"))
    return ledger


def _decide(number: int) -> Decide:
    page = "https://shop.example/" + "x" * 1_500
    return Decide(AttemptRequest(cdn=1, edge=1, key="k", password="p", app="a", video=f"v{number}", ip=1, pageurl=page))


async def _largest_wal(folder: Path, *, wal_pages_max: int) -> int:
    """Write while two readers never leave a moment without a reader; returns the largest size of the WAL in pages."""
    ledger = await _open(folder / "ledger.db", wal_pages_max=wal_pages_max)
    is_done = False

    async def read_all_the_time() -> None:
        while not is_done:
            await ledger.count_pending(1, AttemptFilter(reason=None, app="a", video="no such video"))

    readers = [asyncio.create_task(read_all_the_time()) for _ in range(4)]
    largest = 0
    for number in range(300):
        await ledger.commit_batch([_decide(number * 10 + n) for n in range(10)], now_ms=0)
        largest = max(largest, (folder / "ledger.db-wal").stat().st_size // _PAGE_BYTES)
    is_done = True
    await asyncio.gather(*readers)
    assert (await ledger.count_pending(1, AttemptFilter())).count == 3_000
    await ledger.close()
    return largest


def test_readers_without_a_pause_do_not_let_the_wal_grow(tmp_path: Path) -> None:
    bounded = asyncio.run(_largest_wal(tmp_path, wal_pages_max=_WAL_PAGES_MAX))

    # What is written while the readers under way finish comes on top.
    assert bounded < 4 * _WAL_PAGES_MAX


def test_without_the_restart_the_same_load_lets_the_wal_grow(tmp_path: Path) -> None:
    """The control: the load above is one that needs it."""
    unbounded = asyncio.run(_largest_wal(tmp_path, wal_pages_max=10**9))

    assert unbounded >= 4 * _WAL_PAGES_MAX


def test_where_the_wal_is_taken_from_readers_it_has_been_moved_beside_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    restart_wal = store.restart_wal

    def restart(connection: apsw.Connection) -> None:
        pages, moved = store.wal_pages(connection)
        left.append(pages - moved)
        restart_wal(connection)

    with monkeypatch.context() as patched:
        patched.setattr(store, "restart_wal", restart)
        asyncio.run(_largest_wal(tmp_path, wal_pages_max=_LONG_WAL))

    assert left
    assert max(left) < _LONG_WAL / 4


def test_a_search_that_takes_too_long_is_broken_off_and_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        ledger = await _open(tmp_path / "ledger.db", read_s_max=1e-9, wal_pages_max=10**9)
        for start in range(0, 5_000, 500):
            await ledger.commit_batch([_decide(start + n) for n in range(500)], now_ms=0)
        with pytest.raises(CountUnavailable, match="narrow the search"):
            await ledger.count_pending(1, AttemptFilter(video="no such video"))
        await ledger.close()

    asyncio.run(run())


def test_where_no_thread_may_give_way_blocks_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In some sandboxes, and where everything runs at a niceness that may not be lowered."""

    def refuse(by: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    async def run() -> None:
        ledger = await _open(tmp_path / "ledger.db")
        await ledger.commit_batch([_decide(1)], now_ms=0)
        async with asyncio.timeout(10):
            block = await ledger.next_block(now_ms=0)
            assert block is not None
            assert await ledger.blocks() == [block]
        await ledger.close()

    monkeypatch.setattr("os.nice", refuse)
    asyncio.run(run())
