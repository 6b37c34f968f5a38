"""The ledger's WAL is moved into its file beside the writer, under a load that leaves no pause."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from openusher.ledger.base import Decide, LedgerTally
from openusher.ledger.sqlite import SqliteLedger, store
from openusher.ledger.sqlite.checkpoints import CHECKPOINT_PAGES, Checkpoints
from openusher.model.attempt import AttemptRequest
from openusher.model.search import AttemptFilter
from tests.conformance.asking import new_account

_PAGE_BYTES = 4_096
_BATCHES, _BATCH = 100, 256
# Of the 20,000 that are written. What comes while a checkpoint is under way is on top of where it was to begin, and on
# a busy machine that takes its time.
_GROWN = 4 * CHECKPOINT_PAGES


def _decide(number: int) -> Decide:
    page = "https://shop.example/" + "x" * 2_000
    return Decide(
        AttemptRequest(
            cdn=1, edge=1, key="k", password="p", app="a", video=f"v{number}", ip=1, pageurl=page, refurl=page
        )
    )


def _pages(file: Path) -> int:
    return file.stat().st_size // _PAGE_BYTES


async def _write(file: Path) -> tuple[int, int]:
    """Write some 20,000 pages without a pause; returns the WAL's largest size in pages, and the file's in the end."""
    ledger = await SqliteLedger.open(file)
    await ledger.create_account(new_account(1))
    largest = 0
    for batch in range(_BATCHES):
        await ledger.commit_batch([_decide(batch * _BATCH + n) for n in range(_BATCH)], now_ms=0)
        largest = max(largest, _pages(file.with_name(f"{file.name}-wal")))
    in_file = _pages(file)
    assert (await ledger.count_pending(1, AttemptFilter())).count == _BATCHES * _BATCH
    assert await ledger.check(quick=False) == []
    await ledger.close()
    return largest, in_file


def test_a_load_without_a_pause_does_not_let_the_wal_grow(tmp_path: Path) -> None:
    largest, in_file = asyncio.run(_write(tmp_path / "ledger.db"))

    assert largest < _GROWN
    assert in_file > CHECKPOINT_PAGES


async def _write_after_a_reader(file: Path) -> tuple[int, int]:
    """Write while somebody reads, and twice as much after he has gone; returns how long the WAL was then and got."""
    ledger = await SqliteLedger.open(file, wal_pages_max=10**9)
    await ledger.create_account(new_account(1))
    wal = file.with_name(f"{file.name}-wal")
    reader = store.open_reader(file)
    reader.execute("BEGIN; SELECT count(*) FROM attempts").fetchall()
    largest = 0
    for batch in range(3 * _BATCHES):
        if batch == _BATCHES // 2:
            reader.close()
            left_at = _pages(wal)
        await ledger.commit_batch([_decide(batch * _BATCH + n) for n in range(_BATCH)], now_ms=0)
        largest = max(largest, _pages(wal))
    await ledger.close()
    return left_at, largest


def test_a_wal_that_somebody_kept_long_is_moved_once_he_has_gone(tmp_path: Path) -> None:
    left_at, largest = asyncio.run(_write_after_a_reader(tmp_path / "ledger.db"))

    assert left_at > CHECKPOINT_PAGES
    assert largest < left_at + _GROWN


def test_a_wal_that_begins_with_a_large_commit_is_moved_too(tmp_path: Path) -> None:
    """After one that a reader had kept, and that was longer."""
    file = tmp_path / "ledger.db"
    connection = store.open_writer(file, demo=False)
    connection.execute("CREATE TABLE filling (bytes BLOB)")
    checkpoints = Checkpoints(lambda: store.open_beside(file), LedgerTally(pid=0))

    def write(pages: int) -> None:
        connection.execute(
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) "
            "INSERT INTO filling SELECT randomblob(4000) FROM number",
            (pages,),
        )
        checkpoints.after_commit(connection)

    with closing(store.open_reader(file)) as reader:
        reader.execute("BEGIN; SELECT count(*) FROM filling").fetchall()
        for _ in range(20):
            write(CHECKPOINT_PAGES // 8)
    checkpoints.move_beside().result()
    kept, moved_of_kept = store.wal_pages(connection)
    write(CHECKPOINT_PAGES + 100)
    checkpoints.close()
    begun_anew, moved = store.wal_pages(connection)
    connection.close()

    assert moved_of_kept == kept > begun_anew > CHECKPOINT_PAGES
    assert moved == begun_anew


def test_what_cannot_be_moved_stays_in_the_wal_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the control: without checkpoints, the same load lets the WAL grow."""

    def fail(connection: apsw.Connection) -> None:
        raise apsw.IOError("input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(store, "checkpoint", fail)
        largest, _ = asyncio.run(_write(tmp_path / "ledger.db"))

    assert largest > _GROWN
