"""What the ledger knows of retention: from when on attempts are kept, and which blocks the log need not hold."""

from __future__ import annotations

import apsw

# Rows of a block that is under way stay: the log is still to be given them, and they go once it has them. Blocks are
# made of the oldest attempts, so these come first.
_DELETE = """
DELETE FROM attempts WHERE id IN (
  SELECT id FROM attempts
  WHERE id > (SELECT coalesce(max(last_id), 0) FROM blocks WHERE NOT shipped)
    AND id <= (SELECT forgotten_attempt FROM node)
  ORDER BY id LIMIT ?)
"""
_HAS_FORGOTTEN = """
SELECT exists (
  SELECT 1 FROM attempts
  WHERE id > (SELECT coalesce(max(last_id), 0) FROM blocks WHERE NOT shipped)
    AND id <= (SELECT forgotten_attempt FROM node))
"""


def forget(connection: apsw.Connection, *, before_ms: int) -> None:
    """The caller sees to it that the ledger's clock is no earlier from here on."""
    ((pending_after, last_attempt),) = connection.execute(
        "SELECT max(shipped_attempt, forgotten_attempt), last_attempt FROM node"
    )
    last = _last_before(connection, pending_after, last_attempt, before_ms=before_ms)
    connection.execute(
        """
        UPDATE node SET kept_from_ms = max(kept_from_ms, ?), forgotten_attempt = max(forgotten_attempt, ?)
        """,
        (before_ms, last if last > pending_after else 0),
    )


def _last_before(connection: apsw.Connection, low: int, high: int, *, before_ms: int) -> int:
    """The largest id above `low`, up to `high`, of an attempt from before `before_ms`; `low` if there is none. Times
    rise with ids, so a few looks find it among any number."""
    while low < high:
        middle = (low + high + 1) // 2
        ((at_ms,),) = connection.execute("SELECT at_ms FROM attempts WHERE id = ?", (middle,))
        if at_ms < before_ms:
            low = middle
        else:
            high = middle - 1
    return low


def has_forgotten_rows(connection: apsw.Connection) -> bool:
    ((found,),) = connection.execute(_HAS_FORGOTTEN)
    return bool(found)


def delete_forgotten(connection: apsw.Connection, *, limit: int) -> int:
    connection.execute(_DELETE, (limit,))
    return connection.changes()


def release_blocks(connection: apsw.Connection, *, upto: int) -> None:
    connection.execute("UPDATE node SET released_block = max(released_block, ?)", (upto,))
