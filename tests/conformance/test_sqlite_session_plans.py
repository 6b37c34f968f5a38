"""How SQLite finds sessions: what it reads for a start must not grow with the connections that are there."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from openusher.ledger.sqlite import SqliteLedger, sessions

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("statement", "values", "searches"),
    [
        # A whole event may watch with one ticket through one address: one viewer, to whom all connections are alike.
        (sessions._BY_VIEWER, ("[]",), "USING INDEX sessions_by_viewer (viewer=? AND client=?)"),
        (sessions._NUMBERED, ("[]",), "USING INTEGER PRIMARY KEY (rowid=?)"),
        (sessions._OWED, (0, 1), "USING INDEX sessions_owed (number>?)"),
        (sessions._PRUNE, (1, 1), "USING COVERING INDEX sessions_by_end (cdn=? AND ended_ms>? AND ended_ms<?)"),
        (sessions._PAY, (1,), "USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
async def test_a_statement_reads_what_it_names_and_no_more(
    statement: str, values: tuple[str | int, ...], searches: str, tmp_path: Path
) -> None:
    file = tmp_path / "ledger.db"
    await (await SqliteLedger.open(file)).close()
    connection = apsw.Connection(str(file))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    connection.close()

    assert f"SEARCH sessions {searches}" in plan
    assert not any(step.startswith("SCAN sessions") for step in plan)
