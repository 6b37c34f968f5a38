"""What the ledger knows of retention: from when on attempts are kept, and which blocks the log need not hold; and which
attempts are anonymised."""

from __future__ import annotations

import apsw
import msgspec

from openusher.model.anonymity import DROPPED
from openusher.model.block import COLUMNS

# Whether an attempt is shown anonymised, and then its address, as hex digits.
IS_ANONYMISED = "at_ms < (SELECT anonymised_before_ms FROM node)"
_NET = """
CASE substr(hex(ip), 1, 24) WHEN '00000000000000000000FFFF' THEN substr(hex(ip), 1, 30) || '00'
  ELSE substr(hex(ip), 1, 12) || '00000000000000000000' END"""
SHOWN_IP = f"CASE WHEN {IS_ANONYMISED} THEN {_NET} ELSE hex(ip) END"


def _shown(column: str, kind: str) -> str:
    if column in DROPPED:
        return f"iif({IS_ANONYMISED}, '', {column})"
    if column == "ip":
        return f"lower({SHOWN_IP})"
    return f"lower(hex({column}))" if kind == "address" else column


# An attempt's columns as answers have them.
SHOWN_ROW = ", ".join(_shown(column, kind) for column, kind in COLUMNS)

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

# The next rows to be written as anonymised; not those of a block under way, whose digest stands.
_PLAIN = """
SELECT id FROM (
  SELECT id, at_ms FROM attempts
  WHERE id > max(
    (SELECT coalesce(max(last_id), 0) FROM blocks WHERE NOT shipped), (SELECT anonymised_attempt FROM node))
  ORDER BY id LIMIT ?)
WHERE at_ms < (SELECT anonymised_before_ms FROM node)"""
_EMPTY = ", ".join(f"{column} = ''" for column in DROPPED)
_ANONYMISE = f"""
UPDATE attempts SET ip = unhex({_NET}), {_EMPTY}
WHERE id > max(
    (SELECT coalesce(max(last_id), 0) FROM blocks WHERE NOT shipped), (SELECT anonymised_attempt FROM node))
  AND id <= ?"""
# `viewer` is a digest of the address and more, which could be guessed; once a session has long ended, nothing asks it.
_WHOLE_SESSIONS = """
SELECT json_group_array(number) FROM (
  SELECT number FROM accounts CROSS JOIN sessions
  ON sessions.cdn = accounts.cdn AND ended_ms > 0 AND ended_ms < ? AND viewer <> '' LIMIT ?)"""
_ANONYMISE_SESSIONS = f"""
UPDATE sessions SET ip = unhex({_NET}), user_agent = '', viewer = '' WHERE number IN (SELECT value FROM json_each(?))"""


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


def anonymise(connection: apsw.Connection, *, before_ms: int) -> None:
    """As `forget`: the caller sees to the clock."""
    connection.execute("UPDATE node SET anonymised_before_ms = max(anonymised_before_ms, ?)", (before_ms,))


def has_plain_rows(connection: apsw.Connection) -> bool:
    ((found,),) = connection.execute(f"SELECT exists ({_PLAIN})", (1,))
    return bool(found)


def anonymise_rows(connection: apsw.Connection, *, limit: int) -> int:
    ((last_id,),) = connection.execute(f"SELECT max(id) FROM ({_PLAIN})", (limit,))
    if last_id is None:
        return 0
    connection.execute(_ANONYMISE, (last_id,))
    changed = connection.changes()
    connection.execute("UPDATE node SET anonymised_attempt = ?", (last_id,))
    return changed


def anonymise_blocks(connection: apsw.Connection, digests: dict[int, str]) -> None:
    connection.executemany(
        "UPDATE blocks SET digest = ? WHERE number = ?", [(digest, number) for number, digest in digests.items()]
    )
    connection.execute("UPDATE node SET anonymised_block = max(anonymised_block, ?)", (max(digests),))


def whole_sessions(connection: apsw.Connection, *, before_ms: int, limit: int) -> list[int]:
    """The numbers of some that ended before and are still to be anonymised. Looks through all that ended before."""
    ((numbers,),) = connection.execute(_WHOLE_SESSIONS, (before_ms, limit))
    return msgspec.json.decode(numbers, type=list[int])


def anonymise_sessions(connection: apsw.Connection, numbers: list[int]) -> int:
    connection.execute(_ANONYMISE_SESSIONS, (msgspec.json.encode(numbers).decode(),))
    return connection.changes()
