"""SQLite alone: the same tables, one transaction a decision, as durable as Usher's ledger.

`python -m bench.peers.sqlite_only FILE` serves (service.py). One process, on its loop: SQLite takes one writer at a
time, and a second process would only wait for the first one's lock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import apsw

from bench.peers.admission import Answer, Asked, Ticket, answer_of, attempt_row, refusal
from bench.peers.filters import Counted, Dialect, Parameters, count_query, counted, packed_address
from bench.peers.service import serve
from bench.peers.tables import ATTEMPT_COLUMNS, TICKET_COLUMNS, Rows, packed

_TABLES = """
CREATE TABLE tickets (
  key TEXT PRIMARY KEY,
  pass TEXT NOT NULL, app TEXT NOT NULL, video TEXT NOT NULL, ip TEXT NOT NULL,
  uses_limit INTEGER NOT NULL, uses_taken INTEGER NOT NULL, active INTEGER NOT NULL, expires_s INTEGER NOT NULL,
  CONSTRAINT "never one use too many" CHECK (uses_limit = 0 OR uses_taken <= uses_limit)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  key TEXT NOT NULL, pass TEXT NOT NULL, user_name TEXT NOT NULL,
  app TEXT NOT NULL, appinst TEXT NOT NULL, video TEXT NOT NULL, ip BLOB NOT NULL,
  pageurl TEXT NOT NULL, refurl TEXT NOT NULL, user_agent TEXT NOT NULL, server_ip BLOB,
  success INTEGER NOT NULL, reason TEXT NOT NULL
) STRICT;
"""
_INDEXED = ("at_ms", "key", "pass", "user_name", "app", "video", "ip", "server_ip", "success", "reason")
_FIND_TICKET = """
SELECT key, pass, app, video, ip, uses_limit, uses_taken, active, expires_s FROM tickets WHERE key = ?
"""
_TAKE_USE = "UPDATE tickets SET uses_taken = uses_taken + 1, ip = coalesce(?2, ip) WHERE key = ?1"
_RECORD = f"INSERT INTO attempts ({', '.join(ATTEMPT_COLUMNS[1:])}) VALUES ({', '.join('?' * 14)})"
DIALECT = Dialect(parameter=lambda n: f"?{n}", address=packed_address, truth=int)


def open_file(file: Path) -> apsw.Connection:
    """A connection whose commits are on disk, as the ledger's are."""
    connection = apsw.Connection(str(file))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("cache_size", -512 * 1024)
    connection.pragma("mmap_size", 4 << 30)
    connection.pragma("case_sensitive_like", True)
    return connection


def fill_file(file: Path, rows: Rows) -> None:
    """Make the file with these rows, and an index on each column that is counted by."""
    connection = open_file(file)
    connection.execute(_TABLES)
    with connection:
        for table, columns, content in (
            ("tickets", TICKET_COLUMNS, rows.tickets),
            ("attempts", ATTEMPT_COLUMNS, packed(rows.attempts)),
        ):
            insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            for batch in content.select(columns).to_batches(max_chunksize=50_000):
                connection.executemany(insert, zip(*(column.to_pylist() for column in batch.columns), strict=True))
    for column in _INDEXED:
        connection.execute(f"CREATE INDEX attempts_by_{column} ON attempts ({column})")
    connection.execute("ANALYZE")
    connection.close()


class SqliteOnly:
    """The store."""

    def __init__(self, file: Path) -> None:
        self._connection = open_file(file)

    def decide(self, asked: Asked) -> Answer:
        """One transaction: read the ticket, take its use, record the attempt."""
        execute = self._connection.execute
        now_ms = time.time_ns() // 1_000_000
        # It waits for no other writer, and commits or rolls back at the end.
        execute("BEGIN IMMEDIATE")
        try:
            found = execute(_FIND_TICKET, (asked.get("key", ""),)).fetchone()
            ticket = None if found is None else Ticket(*found)
            reason, bound_ip = refusal(ticket, asked, now_ms=now_ms)
            if not reason:
                execute(_TAKE_USE, (asked["key"], bound_ip))
            execute(_RECORD, attempt_row(asked, reason, now_ms=now_ms, keep=packed_address))
            attempt = self._connection.last_insert_rowid()
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise
        return answer_of(ticket, reason, attempt)

    def count(self, parameters: Parameters) -> Counted:
        query = count_query(parameters, DIALECT)
        return counted(parameters, self._connection.execute(query.sql, query.values).fetchall())


if __name__ == "__main__":
    serve(SqliteOnly(Path(sys.argv[1])))
