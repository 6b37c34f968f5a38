"""The indexes of the small mode come and go with the way a node is started, and only with a start that succeeds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from openusher.errors import SetupError
from openusher.model.search import AttemptFilter
from openusher.node import Seams, open_node
from openusher.settings import LogKind, Settings
from tests.conformance.asking import request
from tests.conformance.ledgers import Fault, SqliteBench, each_connection
from tests.crash.openedlog import chdb_is, is_reaped, log_process

CHDB, LEDGER = LogKind.CHDB, LogKind.LEDGER


def indexes(data: Path) -> int:
    connection = apsw.Connection(str(data / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    ((count,),) = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'attempts!_%' ESCAPE '!'")
    connection.close()
    return int(count)


async def visit(data: Path, log: LogKind, *, ships: bool = True, moves: bool = False) -> int:
    """Start a node and have it decide, if `moves` also ship; returns how many indexes there were meanwhile."""
    async with open_node(Settings(data=data, log=log), ships=ships) as usher:
        if not usher.accounts():
            await usher.create_account("acme", cdn=1)
        before = await usher.searching.count(1, AttemptFilter(key="k"))
        await usher.authorize(request(1))
        assert await usher.searching.count(1, AttemptFilter(key="k")) == before + 1
        if moves:
            await usher.shipper.ship_all()
        return indexes(data)


def test_a_folder_has_and_uses_them_while_it_is_served_without_a_log_and_only_then(tmp_path: Path) -> None:
    statements: list[str] = []

    def on_statement(cursor: apsw.Cursor, statement: str, values: object) -> bool:
        statements.append(statement)
        return True

    def trace(connection: apsw.Connection) -> None:
        connection.exec_trace = on_statement

    async def visits() -> list[tuple[int, bool]]:
        found = []
        for log in (LEDGER, LEDGER, CHDB, CHDB, LEDGER):
            statements.clear()
            have = await visit(tmp_path, log)
            found.append((have, any("INDEXED BY attempts_by_key" in statement for statement in statements)))
        return found

    with each_connection(trace):
        assert asyncio.run(visits()) == [(3, True), (3, True), (0, False), (0, False), (3, True)]


def test_an_admin_command_leaves_them_as_they_are(tmp_path: Path) -> None:
    async def visits() -> list[int]:
        found = [await visit(tmp_path, LEDGER)]
        found += [await visit(tmp_path, log, ships=False) for log in (CHDB, LEDGER)]
        found.append(await visit(tmp_path, CHDB))
        found += [await visit(tmp_path, log, ships=False) for log in (CHDB, LEDGER)]
        return found

    assert asyncio.run(visits()) == [3, 3, 3, 0, 0, 0]


def test_a_start_that_is_refused_leaves_them_as_they_are(tmp_path: Path) -> None:
    shipped, small = tmp_path / "shipped", tmp_path / "small"

    async def visits() -> None:
        await visit(shipped, CHDB, moves=True)
        with pytest.raises(SetupError, match="start it without --log ledger"):
            await visit(shipped, LEDGER)
        await visit(small, LEDGER)
        with chdb_is("raise ImportError", small), pytest.raises(SetupError, match="cannot be loaded"):
            await visit(small, CHDB)

    asyncio.run(visits())

    # SQLite removes its write-ahead log when the last connection is closed.
    assert not [*shipped.glob("*-wal"), *small.glob("*-wal")]
    assert (indexes(shipped), indexes(small)) == (0, 3)


def test_a_full_disk_keeps_no_node_from_starting_that_has_to_make_them(tmp_path: Path) -> None:
    bench = SqliteBench(tmp_path)
    seams = Seams(vfs=bench.vfs)

    async def visits() -> int:
        async with open_node(Settings(data=tmp_path), with_log=False, seams=seams) as usher:
            await usher.create_account("acme", cdn=1)
            await usher.authorize(request(1))
        bench.fault = Fault.FULL
        try:
            async with open_node(Settings(data=tmp_path, log=LEDGER), seams=seams) as usher:
                assert indexes(tmp_path) == 0
                return await usher.searching.count(1, AttemptFilter(key="k"))
        finally:
            bench.fault = Fault.NONE

    assert asyncio.run(visits()) == 1
    bench.close()


def test_a_start_that_fails_at_its_last_step_leaves_no_log_process(tmp_path: Path) -> None:
    def on_statement(cursor: apsw.Cursor, statement: str, values: object) -> bool:
        if statement.startswith("DROP INDEX"):
            raise RuntimeError("what nobody thought of")
        return True

    def trace(connection: apsw.Connection) -> None:
        connection.exec_trace = on_statement

    async def visits() -> None:
        await visit(tmp_path, LEDGER)
        with each_connection(trace), pytest.raises(RuntimeError, match="nobody"):
            await visit(tmp_path, CHDB)
        # Here and not after the loop's end, with which the log's process would end too.
        assert is_reaped(log_process(tmp_path))

    asyncio.run(visits())
