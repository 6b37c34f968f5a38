"""The indexes that searches of the attempts need where there are many of them: a ledger that is its own log.

Beside a log, attempts pend by the ten thousands. Reading those in their order takes a few milliseconds, while the
indexes would be a third of what a decision costs the ledger: they belong to the way a folder is served, not to its
schema.
"""

from __future__ import annotations

import apsw

from openusher.logs import event_log

# Two ways to a viewer's attempts, each by runs of 4,096 attempts: an index over all keys at once would write a page of
# its own for nearly every attempt, which doubles what a decision costs at a million of them. In the last run, a few
# pages take all that comes; a search looks into each run, of which a million attempts make 245.
# What all other filters look at is a third as wide as the table, and in the order of ids: it grows at its end only.
_INDEXES = {
    "attempts_by_key": "attempts (cdn, id >> 12, key)",
    "attempts_by_user": "attempts (cdn, id >> 12, user)",
    "attempts_narrow": "attempts (cdn, id, at_ms, reason, app, video, ip, server_ip)",
}
_HAVE = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'attempts'"

log = event_log()


def set_indexes(connection: apsw.Connection, *, wanted: bool | None) -> bool:
    """Make the indexes, or drop them, or leave them as they are (None); say whether they are there.

    Making them takes some seconds a million attempts.
    """
    have = _have(connection)
    if wanted is None:
        return have == _INDEXES.keys()
    if wanted and have != _INDEXES.keys():
        log.info("ledger.index_begun")
    with connection:
        for name, on in _INDEXES.items():
            if wanted and name not in have:
                connection.execute(f"CREATE INDEX {name} ON {on}")
            if not wanted and name in have:
                connection.execute(f"DROP INDEX {name}")
    return wanted


def are_as(connection: apsw.Connection, *, wanted: bool) -> bool:
    """Say whether `set_indexes` would have nothing to do."""
    return _have(connection) == (_INDEXES.keys() if wanted else set())


def _have(connection: apsw.Connection) -> set[str]:
    return {name for (name,) in connection.execute(_HAVE)} & _INDEXES.keys()
