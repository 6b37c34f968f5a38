"""Tickets taken over from elsewhere by the file: written in ordinary batches, there to nobody until all of them are.

One transaction for a hundred thousand tickets would hold up decisions for seconds. So each ticket names its import, and
none is there whose import is not done: that is a word in one row (THERE, in sessions.py).
"""

from __future__ import annotations

import apsw
import msgspec

from openusher.ledger.base import ImportedTickets
from openusher.ledger.sqlite.sessions import TICKET_COLUMNS
from openusher.model.ticket import Ticket

_BEGIN = "INSERT INTO imports (cdn, first_ticket, began_s, done_s) VALUES (?, ?, ?, 0)"
# As they travel: their tag, their number, and then their members in the order of the columns.
_MEMBERS = ", ".join(f"row.value ->> {place}" for place, _ in enumerate(Ticket.__struct_fields__[1:], 2))
# One statement however many they are: a step for each row would wait for Python's lock each time.
_ADD = f"""
INSERT INTO tickets ({TICKET_COLUMNS}, import) SELECT ?1 + row.key, {_MEMBERS}, ?2
FROM jsonb_each(?3) AS row WHERE true
ON CONFLICT (cdn, key) DO NOTHING
"""
_HELD = """
SELECT json_group_array(number) FROM (
  SELECT tickets.number FROM jsonb_each(?2) AS row CROSS JOIN tickets
  ON tickets.cdn = ?1 AND tickets.key = row.value ORDER BY row.key)
"""
_FINISH = "UPDATE imports SET done_s = ? WHERE number = ? AND done_s = 0"
_UNFINISHED = """
SELECT tickets.number FROM imports CROSS JOIN tickets NOT INDEXED
ON tickets.number >= first_ticket AND tickets.import = imports.number
WHERE done_s = 0 LIMIT ?
"""

_HOLDS = """
SELECT 1 FROM tickets CROSS JOIN imports ON imports.number = tickets.import
WHERE tickets.cdn = ? AND tickets.key = ? AND done_s = 0
"""


def begin(connection: apsw.Connection, cdn: int, *, last_ticket: int, now_s: int) -> int:
    """The number of a new import. Raises apsw.Error."""
    connection.execute(_BEGIN, (cdn, last_ticket + 1, now_s))
    return connection.last_insert_rowid()


def add(connection: apsw.Connection, number: int, tickets: list[Ticket], *, last_ticket: int) -> ImportedTickets:
    """Write them, numbered from behind `last_ticket`, but for those whose key is taken. Raises apsw.Error."""
    first = last_ticket + 1
    connection.execute(_ADD, (first, number, msgspec.json.encode(tickets).decode()))
    keys = msgspec.json.encode([ticket.key for ticket in tickets]).decode()
    ((held,),) = connection.execute(_HELD, (tickets[0].cdn, keys))
    return ImportedTickets(first=first, held=msgspec.json.decode(held, type=list[int]))


def finish(connection: apsw.Connection, number: int, *, now_s: int) -> bool:
    """Whether there was such an import, and it was not done. Raises apsw.Error."""
    connection.execute(_FINISH, (now_s, number))
    return connection.changes() == 1


def drop_unfinished(connection: apsw.Connection, *, limit: int) -> int:
    """Delete up to `limit` tickets of imports that are not done, and those imports once they have none; returns how
    many tickets there were. Raises apsw.Error."""
    connection.execute(f"DELETE FROM tickets WHERE number IN ({_UNFINISHED})", (limit,))
    dropped = connection.changes()
    if not dropped:
        connection.execute("DELETE FROM imports WHERE done_s = 0")
    return dropped


def holds(connection: apsw.Connection, cdn: int, key: str) -> bool:
    """Whether an import that is not done has a ticket with this key. Raises apsw.Error."""
    return bool(list(connection.execute(_HOLDS, (cdn, key))))


def has_unfinished(connection: apsw.Connection) -> bool:
    """Raises apsw.Error."""
    return bool(list(connection.execute("SELECT 1 FROM imports WHERE done_s = 0")))
