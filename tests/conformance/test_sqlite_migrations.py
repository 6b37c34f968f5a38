"""Folders that an older version wrote open in this one, changed to its schema and beside a copy of what they were."""

from __future__ import annotations

import stat
from importlib import resources
from pathlib import Path

import apsw
import pytest

from openusher.ledger.base import Decide, Issue, LedgerStats
from openusher.ledger.sqlite import SqliteLedger, store
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter
from tests.conformance.asking import NOON_MS, new_account, request, ticket

pytestmark = pytest.mark.anyio


async def _fill(file: Path) -> tuple[LedgerStats, list[Block]]:
    """A ledger with blocks of every kind: shipped and deleted, shipped and not deleted, not shipped; and more."""
    ledger = await SqliteLedger.open(file)
    await ledger.create_account(new_account(1))
    await ledger.commit_batch([Issue(ticket=ticket(1, uses_limit=7))], now_ms=NOON_MS)
    for rows in (4, 3, 2, 1):
        await ledger.commit_batch([Decide(request(1)) for _ in range(rows)], now_ms=NOON_MS)
        block = await ledger.next_block(now_ms=NOON_MS)
        assert block is not None
        if rows > 2:
            await ledger.mark_shipped(block)
        if rows == 4:
            await ledger.delete_shipped(limit=10)
    filled = await ledger.stats(), await ledger.blocks()
    await ledger.close()
    return filled


def _as_of_schema(version: int, file: Path, *, filled: Path) -> None:
    """Make `file` by the first migrations only, with the rows of the ledger `filled`."""
    folder = resources.files("openusher.ledger.sqlite").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    with apsw.Connection(str(file)) as connection:
        for name in names[:version]:
            connection.execute(folder.joinpath(name).read_text())
        connection.execute("ATTACH ? AS filled", (str(filled),))
        for (table,) in list(connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")):
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM filled.{table}")
        connection.pragma("application_id", store.APPLICATION_ID)
        connection.pragma("user_version", version)
    connection.close()


def _schema(file: Path) -> tuple[int, set[str]]:
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    version = int(connection.pragma("user_version"))
    names = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    return version, names


def _copies(folder: Path) -> list[Path]:
    return list(folder.glob("*.before-*"))


@pytest.mark.parametrize("version", range(1, store.schema_version()))
async def test_a_folder_of_an_older_schema_is_copied_and_migrated_and_counts_what_it_counted(
    tmp_path: Path, version: int
) -> None:
    file, copy = tmp_path / "ledger.db", tmp_path / f"ledger.db.before-schema-{version + 1}"
    filled = await _fill(tmp_path / "filled.db")
    _as_of_schema(version, file, filled=tmp_path / "filled.db")
    before = _schema(file)
    for _ in range(2):
        ledger = await SqliteLedger.open(file)
        counted = await ledger.count_pending(1, AttemptFilter(accepted=False))
        found = await ledger.stats(), await ledger.blocks()
        assert await ledger.check(quick=False) == []
        kept = await ledger.ticket(1, "k")
        await ledger.close()

        assert found == filled
        assert (counted.count, counted.horizon) == (3, Horizon(upto=2))
        assert kept is not None
        assert kept.uses_taken == 7
        assert _schema(file) == _schema(tmp_path / "filled.db")
        # Made by the first opening; the second has nothing to migrate.
        assert _schema(copy) == before
        assert _copies(tmp_path) == [copy]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    copied = await SqliteLedger.open(copy)
    assert (await copied.stats(), await copied.blocks()) == filled
    await copied.close()
