"""An account's tickets as rows: counted, found."""

from __future__ import annotations

from typing import Any

import apsw

from openusher.ledger.sqlite.batch import ticket_of_row
from openusher.ledger.sqlite.sessions import THERE, TICKET_COLUMNS
from openusher.model.pattern import parse_pattern
from openusher.model.ticket import Ticket, TicketFilter, TicketState

# All of them but those of imports that are not done, which are not there to anybody.
_COUNT = """
SELECT (SELECT count(*) FROM tickets WHERE cdn = ?1)
  - (SELECT count(*) FROM imports CROSS JOIN tickets NOT INDEXED
     ON tickets.number >= first_ticket AND tickets.import = imports.number
     WHERE done_s = 0 AND imports.cdn = ?1)
"""
# By account: in the order of the numbers.
_FIND = f"SELECT {TICKET_COLUMNS} FROM tickets INDEXED BY tickets_by_account"
_USED_UP = "uses_limit > 0 AND uses_taken >= uses_limit"
# Each takes the time. As `Ticket.state` has it.
_STATES = {
    TicketState.REVOKED: "active = 0 AND ? > 0",
    TicketState.EXPIRED: "active = 1 AND expires_s <= ?",
    TicketState.USED_UP: f"active = 1 AND expires_s > ? AND {_USED_UP}",
    TicketState.OPEN: f"active = 1 AND expires_s > ? AND NOT ({_USED_UP})",
}


def prepare(connection: apsw.Connection) -> None:
    """Give a reader what the statements below call."""
    connection.create_scalar_function("usher_names", _names, 2, deterministic=True)


def count_tickets(connection: apsw.Connection, cdn: int) -> int:
    """Raises apsw.Error."""
    ((counted,),) = connection.execute(_COUNT, (cdn,))
    return int(counted)


def find_tickets(
    connection: apsw.Connection, cdn: int, search: TicketFilter, *, before: int, limit: int, now_s: int
) -> list[Ticket]:
    """Up to `limit` that match and are numbered below `before`, the newest first. Raises apsw.Error."""
    conditions: list[str] = ["cdn = ?", "number < ?", THERE]
    values: list[Any] = [cdn, before]
    for condition, value in (
        ("usher_names(?, key)", search.key),
        ("usher_names(app, ?)", search.app),
        ("usher_names(video, ?)", search.video),
        ("substr(pass, 1, instr(pass || '|', '|') - 1) = ?", search.user),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if search.state is not None:
        conditions.append(_STATES[search.state])
        values.append(now_s)
    statement = f"{_FIND} WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
    return [ticket_of_row(row) for row in connection.execute(statement, (*values, limit))]


def _names(*texts: Any) -> bool:
    pattern, name = texts
    return parse_pattern("", pattern).matches(name)
