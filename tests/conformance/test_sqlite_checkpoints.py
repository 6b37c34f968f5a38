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
# Of some 300 pages each. What comes while a checkpoint is under way is on top of where it began, so how long a WAL gets
# is a matter of the disk; that it is begun anew is not.
_BATCHES_MAX, _BATCH = 600, 256
_BEGUN_ANEW = 3


def _decide(number: int) -> Decide:
    page = "https://shop.example/" + "x" * 2_000
    return Decide(
        AttemptRequest(
            cdn=1, edge=1, key="k", password="p", app="a", video=f"v{number}", ip=1, pageurl=page, refurl=page
        )
    )


def _pages(file: Path) -> int:
    return file.stat().st_size // _PAGE_BYTES


def _wal_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _salts(file: Path) -> bytes:
    """What is drawn anew each time the WAL is begun anew (sqlite.org/fileformat2.html, "WAL header")."""
    with _wal_of(file).open("rb") as wal:
        return wal.read(32)[16:24]


async def _open(file: Path) -> SqliteLedger:
    # Nor is a WAL taken from its readers here: it is the checkpoints that have to see to it.
    ledger = await SqliteLedger.open(file, wal_pages_max=10**9)
    await ledger.create_account(new_account(1))
    return ledger


async def _write(ledger: SqliteLedger, file: Path, *, batches: int, begun_anew_max: int = 10**9) -> tuple[int, int]:
    """Write `batches` without a pause, or until the WAL has been begun anew so often; returns both."""
    begun_anew, salts = 0, _salts(file)
    for batch in range(batches):
        if begun_anew == begun_anew_max:
            return batch, begun_anew
        await ledger.commit_batch([_decide(batch * _BATCH + n) for n in range(_BATCH)], now_ms=0)
        begun_anew += salts != _salts(file)
        salts = _salts(file)
    return batches, begun_anew


async def _check(ledger: SqliteLedger, *, batches: int) -> None:
    assert (await ledger.count_pending(1, AttemptFilter())).count == batches * _BATCH
    assert await ledger.check(quick=False) == []


def test_a_load_without_a_pause_does_not_let_the_wal_grow(tmp_path: Path) -> None:
    async def run() -> None:
        file = tmp_path / "ledger.db"
        ledger = await _open(file)
        batches, begun_anew = await _write(ledger, file, batches=_BATCHES_MAX, begun_anew_max=_BEGUN_ANEW)
        in_file = _pages(file)
        await _check(ledger, batches=batches)
        await ledger.close()

        assert begun_anew == _BEGUN_ANEW
        assert in_file > _BEGUN_ANEW * CHECKPOINT_PAGES

    asyncio.run(run())


def test_a_wal_that_somebody_kept_long_is_moved_once_he_has_gone(tmp_path: Path) -> None:
    async def run() -> None:
        file = tmp_path / "ledger.db"
        ledger = await _open(file)
        with closing(store.open_reader(file)) as reader:
            reader.execute("BEGIN; SELECT count(*) FROM attempts").fetchall()
            kept, begun_anew_beside_him = await _write(ledger, file, batches=50)
            left_at = _pages(_wal_of(file))
        batches, begun_anew = await _write(ledger, file, batches=_BATCHES_MAX, begun_anew_max=1)
        await _check(ledger, batches=kept + batches)
        await ledger.close()

        assert left_at > CHECKPOINT_PAGES
        assert (begun_anew_beside_him, begun_anew) == (0, 1)

    asyncio.run(run())


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

    async def run() -> None:
        file = tmp_path / "ledger.db"
        ledger = await _open(file)
        with monkeypatch.context() as patched:
            patched.setattr(store, "checkpoint", fail)
            batches, begun_anew = await _write(ledger, file, batches=100)
            in_wal = _pages(_wal_of(file))
        await _check(ledger, batches=batches)
        await ledger.close()

        assert begun_anew == 0
        assert in_wal > _BEGUN_ANEW * CHECKPOINT_PAGES

    asyncio.run(run())
