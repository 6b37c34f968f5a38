"""How SQLite finds sessions: what it reads for a start must not grow with the connections that are there."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from openusher.ledger.sqlite import SqliteLedger, sessions
from tests.conformance.asking import new_account
from tests.conformance.ledgers import WriterSteps, each_connection, tamper

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


_ANONYMISED_SESSIONS = """
INSERT INTO tickets
  (number, cdn, key, pass, app, video, ip, uses_limit, uses_taken, active, created_s, expires_s, used_s)
VALUES (1, 1, 'k', 'p', '*', '*', '*', 0, 0, 1, 0, 9, 0);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO sessions (number, id, cdn, edge, ticket, viewer, app, appinst, video, base, ip, user_agent, attempt,
  started_ms, seen_ms, watched_ms, ended_ms, ended_by)
SELECT i, 'id ' || i, 1, 1, 1, iif(i < 20000, '', 'v'), 'a', '', 'v', '/', zeroblob(16), 'player', i, 1, 1, 1, i,
  'stopped' FROM n;
"""


async def test_the_writer_reads_no_session_that_is_anonymised(tmp_path: Path) -> None:
    """A million of them, looked through each hour, held up decisions for a second."""
    file = tmp_path / "ledger.db"
    ledger = await SqliteLedger.open(file)
    await ledger.create_account(new_account(1))
    await ledger.close()
    tamper(file, _ANONYMISED_SESSIONS)
    steps = WriterSteps()
    with each_connection(steps.watch):
        ledger = await SqliteLedger.open(file)
        steps.thousands = 0
        written = [await ledger.anonymise_sessions(before_ms=30_000, limit=10) for _ in range(2)]
        await ledger.close()

    assert written == [1, 0]
    assert steps.thousands < 5
