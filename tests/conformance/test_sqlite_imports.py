"""What SQLite does for tickets that were sold elsewhere: none of it grows with what else is in the ledger."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from openusher.errors import NotAuthorised
from openusher.ledger.sqlite import SqliteLedger, imports, tickets
from openusher.model.account import ApiKey, Secret
from openusher.model.ticket import Ticket
from tests.conformance.asking import new_account
from tests.conformance.ledgers import WriterSteps, each_connection, tamper

pytestmark = pytest.mark.anyio
_TICKETS = 100

_ENDED_SESSIONS = """
INSERT INTO tickets
  (number, cdn, key, pass, app, video, ip, uses_limit, uses_taken, active, created_s, expires_s, used_s)
VALUES (1, 1, 'k', 'p', '*', '*', '*', 0, 0, 1, 0, 9, 0);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO sessions (number, id, cdn, edge, ticket, viewer, app, appinst, video, base, ip, user_agent, attempt,
  started_ms, seen_ms, watched_ms, ended_ms, ended_by)
SELECT i, 'id ' || i, 1, 1, 1, 'v', 'a', '', 'v', '/', zeroblob(16), 'player', i, 1, 1, 1, 5, 'stopped' FROM n;
"""


def _sold(number: int) -> Ticket:
    return Ticket(
        number=0,
        cdn=1,
        key=f"sold {number}",
        password="p",
        app="*",
        video="*",
        ip="*",
        uses_limit=0,
        uses_taken=0,
        active=True,
        created_s=0,
        expires_s=9,
        used_s=0,
    )


async def _dropping(file: Path, *, before: str = "") -> int:
    """How many thousand steps the writer takes to drop a file's tickets, of a ledger with what `before` writes."""
    ledger = await SqliteLedger.open(file)
    await ledger.create_account(new_account(1))
    await ledger.close()
    tamper(file, before)
    steps = WriterSteps()
    with each_connection(steps.watch):
        ledger = await SqliteLedger.open(file)
        number = await ledger.begin_import(1)
        await ledger.import_tickets(number, [_sold(n) for n in range(_TICKETS)])
        steps.thousands = 0
        assert await ledger.drop_imports(limit=2 * _TICKETS) == _TICKETS
        taken = steps.thousands
        # What refers to a row is looked for again from then on.
        with pytest.raises(NotAuthorised):
            await ledger.add_api_key(ApiKey(api_key="KEY7", cdn=7, secret=Secret("x")))
        await ledger.close()
    return taken


@pytest.mark.parametrize(("statement", "values"), [(imports._UNFINISHED, (1,)), (tickets._COUNT, (1,))])
async def test_the_tickets_of_files_that_are_not_done_are_found_by_where_they_begin(
    statement: str, values: tuple[int, ...], tmp_path: Path
) -> None:
    """Left to itself SQLite makes an index of all tickets that there are, each time."""
    await (await SqliteLedger.open(tmp_path / "ledger.db")).close()
    connection = apsw.Connection(str(tmp_path / "ledger.db"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    connection.close()

    assert "SEARCH tickets USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert not any("AUTOMATIC" in step for step in plan)


async def test_tickets_are_dropped_without_a_look_at_the_sessions_that_have_been(tmp_path: Path) -> None:
    """Each looked through all of them: a million ended ones, and a dropped file stopped decisions for hours."""
    alone = await _dropping(tmp_path / "alone.db")
    beside = await _dropping(tmp_path / "beside.db", before=_ENDED_SESSIONS)

    assert beside <= alone + 5
