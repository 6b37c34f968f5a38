"""The tickets and attempts of a bulk fill in SQL: SQLite makes them by itself, with no object of Python's an attempt.

It says in SQL what bulktraffic.py says in Python; a test counts both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from bench import traffic
from bench.bulktraffic import (
    AGENTS,
    FAULTS,
    FIRST_VERSION,
    GUESSED,
    NO_PASS,
    PERIOD,
    STEP,
    TITLES,
    VERSIONS,
    WRONG_APP,
    WRONG_IP,
    WRONG_KEY,
    WRONG_PASS,
    WRONG_VIDEO,
    BulkTraffic,
)
from openusher.model.account import Edge
from openusher.model.address import parse_address
from openusher.model.attempt import Reason

# The shipper writes too, and a hundred thousand rows take a second.
_BUSY_MS = 60_000
# Keys come in no order: the pages of the index over those of ten million tickets, so that each is written once.
_CACHE_KIB = 1024 * 1024


def _cases(of: str, texts: dict[int, str], *, otherwise: str = "''") -> str:
    """The SQL of the text for the number `of`."""
    cases = " ".join(f"WHEN {number} THEN {text}" for number, text in texts.items())
    return f"CASE {of} {cases} ELSE {otherwise} END"


def _one_of(texts: Sequence[str]) -> str:
    """The SQL of what ticket `n` has of `texts`, in turns."""
    return _cases(f"n % {len(texts)}", dict(enumerate(texts)))


def _asked(right: str, *faults: int) -> str:
    """The SQL of what is asked: what is right, or what one of `faults` has in its place."""
    return _cases("fault", {fault: repr(GUESSED[fault]) for fault in faults}, otherwise=right)


def _blob(address: str) -> str:
    return f"x'{parse_address(address):032x}'"


_KEY = f"printf('cam%d.%014x.%08d', n % {traffic.CAMERAS}, n * {traffic.KEY_FACTOR} % {2**56}, n)"
_PASSWORD = f"printf('user%d|%016x', n % {traffic.USERS}, n)"
_APP = _one_of([repr(app) for app in traffic.APPS])
_LIVE = f"'live/cam' || (n % {traffic.CAMERAS})"
_TITLE = f"'vod/title-' || ((31 * n + 17 * turn) % {TITLES}) || '.mp4'"
_VIDEO = f"iif((place + 3 * turn) % 10 < 7, {_LIVE}, {_TITLE})"
_IP = f"unhex(printf('{parse_address('10.0.0.0') >> 24:026x}%06x', n))"
_AGENT = _one_of([f"printf({agent!r}, n / {len(AGENTS)} % {VERSIONS} + {FIRST_VERSION})" for agent in AGENTS])
_REASON = f"""CASE
    WHEN fault = {NO_PASS} THEN '{Reason.MISSING_TOKEN}'
    WHEN fault IN ({WRONG_PASS}, {WRONG_KEY}) THEN '{Reason.INVALID_TOKEN}'
    WHEN n % 100 = 1 THEN '{Reason.REVOKED}'
    WHEN n % 100 = 0 THEN '{Reason.EXPIRED}'
    WHEN fault = {WRONG_APP} THEN '{Reason.INVALID_APP}'
    WHEN fault = {WRONG_VIDEO} THEN '{Reason.INVALID_VIDEO}'
    WHEN fault = {WRONG_IP} THEN '{Reason.INVALID_IP}'
    ELSE '' END"""

_NUMBERS = (
    "WITH RECURSIVE numbers(number) AS (SELECT :first UNION ALL SELECT number + 1 FROM numbers WHERE number < :last)"
)
_OWNERS = "CREATE TEMP TABLE owners (account INTEGER PRIMARY KEY, cdn INTEGER NOT NULL, edge INTEGER NOT NULL)"
_TURNS = "CREATE TEMP TABLE turns (turn INTEGER PRIMARY KEY)"
# Each has lost a use for each question that was in order: so many a whole period, and those of the turns behind it.
_TICKETS = f"""
{_NUMBERS},
sold AS MATERIALIZED (SELECT number AS n, number / :tickets AS account, number % :tickets AS place FROM numbers),
used AS MATERIALIZED (
  SELECT n, account, place, :attempts / :tickets + (place * :unstep % :tickets < :attempts % :tickets) AS asked
  FROM sold)
INSERT INTO tickets (number, cdn, key, pass, app, video, ip, uses_limit, uses_taken, active, created_s, expires_s,
  used_s)
SELECT n + 1, cdn, {_KEY}, {_PASSWORD}, {_APP}, {_LIVE} || '|vod/*',
  printf('10.%d.%d.%d', n >> 16 & 255, n >> 8 & 255, n & 255), 0,
  iif(n % 100 < 2, 0, asked / {PERIOD} * {PERIOD - FAULTS} + (
    SELECT count(*) FROM turns WHERE turn < asked % {PERIOD} AND (place + 7 * turn) % {PERIOD} >= {FAULTS})),
  n % 100 <> 1, :from_ms / 1000, iif(n % 100 = 0, 1, {traffic.NEVER_S}), iif(n % 100 < 2, 0, :until_ms / 1000)
FROM used JOIN owners USING (account)
"""
_ATTEMPTS = f"""
{_NUMBERS},
shared AS MATERIALIZED (
  SELECT number, number % :accounts AS account, number / :accounts / :tickets AS turn,
    number / :accounts % :tickets * {STEP} % :tickets AS place
  FROM numbers),
asked AS MATERIALIZED (
  SELECT number, account, turn, place, account * :tickets + place AS n, (place + 7 * turn) % {PERIOD} AS fault
  FROM shared)
INSERT INTO attempts (id, cdn, at_ms, key, pass, app, appinst, video, ip, pageurl, refurl, user_agent, server_ip, edge,
  cut, reason)
SELECT number + 1, cdn, :from_ms + (:until_ms - :from_ms) * number / (:accounts * :attempts),
  {_asked(_KEY, WRONG_KEY)}, {_asked(_PASSWORD, WRONG_PASS, NO_PASS)}, {_asked(_APP, WRONG_APP)}, 'play',
  {_asked(_VIDEO, WRONG_VIDEO)}, {_cases("fault", {WRONG_IP: _blob(GUESSED[WRONG_IP])}, otherwise=_IP)},
  'https://www.example.com/watch/' || (n % {traffic.CAMERAS}), 'https://www.example.com/', {_AGENT},
  {_one_of([_blob(server) for server in traffic.SERVERS])}, edge, 0, {_REASON}
FROM asked JOIN owners USING (account)
"""
# Whoever writes beside these rows has the counters in memory, and writes them with each commit.
_COUNT_ON = "UPDATE node SET last_attempt = :all, clock_ms = :until_ms, last_batch = last_batch + 1"


class BulkRows:
    """The ledger at `file`, which has accounts and nothing else, to be given the rows of `bulk`; account number n is
    the owner of edge n. Used by one thread at a time, beside a ledger that is opened after `sell` or before it."""

    def __init__(self, file: Path, bulk: BulkTraffic, edges: Sequence[Edge], *, from_ms: int, until_ms: int) -> None:
        assert len(edges) == bulk.accounts
        self._connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
        self._connection.set_busy_timeout(_BUSY_MS)
        # Whoever has the ledger open moves its WAL.
        self._connection.pragma("wal_autocheckpoint", 0)
        self._connection.pragma("synchronous", "NORMAL")
        self._connection.pragma("cache_size", -_CACHE_KIB)
        self._connection.execute(_OWNERS)
        self._connection.executemany(
            "INSERT INTO owners VALUES (?, ?, ?)", [(n, edge.cdn, edge.number) for n, edge in enumerate(edges)]
        )
        self._connection.execute(_TURNS)
        self._connection.executemany("INSERT INTO turns VALUES (?)", [(turn,) for turn in range(PERIOD)])
        self._bulk = bulk
        self._values = {
            "accounts": bulk.accounts,
            "tickets": bulk.tickets_each,
            "attempts": bulk.attempts_each,
            "unstep": bulk.unstep,
            "from_ms": from_ms,
            "until_ms": until_ms,
            "all": bulk.attempts,
        }

    def sell(self) -> None:
        """Write all tickets, as they are when all attempts have been made, and count on to the last of these. To be
        done before the ledger is opened, which reads the counters once."""
        with self._connection:
            self._connection.execute(_TICKETS, {**self._values, "first": 0, "last": self._bulk.tickets - 1})
            self._connection.execute(_COUNT_ON, self._values)

    def record(self, first: int, last: int) -> None:
        """Write the attempts numbered `first` to `last`, from 0, in one commit."""
        with self._connection:
            self._connection.execute(_ATTEMPTS, {**self._values, "first": first, "last": last})

    def close(self) -> None:
        self._connection.close()
