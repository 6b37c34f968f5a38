"""Reads the parts of a running node: what each metric is at this moment."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections import defaultdict
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from openusher import __version__
from openusher.backup.last import last_backup
from openusher.errors import StoreError
from openusher.ledger.base import LedgerStats, LedgerTally
from openusher.model.account import Edge
from openusher.model.attempt import Reason
from openusher.settings import Settings
from openusher.tally import Distribution
from openusher.usher import Usher
from openusher.web.metrics import families as show
from openusher.web.metrics.families import Family
from openusher.web.metrics.requests import RequestTally

T = TypeVar("T")

# A part that does not answer by then is left out: Prometheus itself waits ten seconds, and more come meanwhile.
_ANSWER_S_MAX = 2.0


class Kicks(Protocol):
    """What pays the kicks that are owed (control.py)."""

    paid: int
    given_up: int

    @property
    def owed(self) -> int: ...


class Reconciled(Protocol):
    """What ends the sessions of connections that are gone (reconcile.py)."""

    ended: int


class Reading:
    """A moment of a node: for each metric its values by their labels; and its processes, None for one that is none."""

    def __init__(self) -> None:
        self.values: dict[Family, dict[tuple[str, ...], float | Distribution]] = defaultdict(dict)
        self.ledger_pid: int | None = None
        self.log_pid: int | None = None

    def put(self, family: Family, value: float | Distribution, *labels: str) -> None:
        # Copied, since it goes to another thread while the parts count on.
        self.values[family][labels] = value.copied() if isinstance(value, Distribution) else value


class Readings:
    """Reads a node whenever it is asked to; all that this keeps are names."""

    def __init__(
        self, usher: Usher, settings: Settings, requests: RequestTally, *, kicks: Kicks, reconciled: Reconciled
    ) -> None:
        self._usher = usher
        self._settings = settings
        self._requests = requests
        self._kicks = kicks
        self._reconciled = reconciled
        # Also of edges that are gone: what they have asked stays counted.
        self._edges: dict[int, Edge] = {}

    async def read(self) -> Reading:
        """Take what there is; a part that does not answer in time is missing."""
        usher, reading = self._usher, Reading()
        is_ready, stats, tally = await asyncio.gather(
            _answer(_true(usher.check_ready())), _answer(usher.stats()), _answer(usher.ledger_tally())
        )
        self._read_node(reading, is_ready=is_ready is not None)
        self._read_decisions(reading)
        self._read_requests(reading)
        self._read_sessions(reading)
        self._read_searches(reading)
        reading.put(show.LEDGER_UP, tally is not None)
        if tally is not None:
            _put_ledger(reading, tally)
        if stats is not None:
            self._read_pending(reading, stats)
        if usher.attempt_log.ships:
            self._read_shipping(reading)
        return reading

    def _read_node(self, reading: Reading, *, is_ready: bool) -> None:
        reading.put(show.BUILD, 1, __version__, platform.python_version(), self._settings.log)
        reading.put(show.READY, is_ready)
        reading.put(show.TAKES_STARTS, self._usher.takes_starts)
        reading.put(show.CLOCK_AHEAD, self._usher.clock_ahead_s)
        reading.put(show.DISK_FREE_MIN, self._settings.free_bytes_min)
        last = last_backup(self._settings.data)
        reading.put(show.LAST_BACKUP, last.made_s if last else 0)
        try:
            disk = shutil.disk_usage(self._settings.data)
        except OSError:
            # The node sees that for itself, and takes no starts.
            return
        reading.put(show.DISK_FREE, disk.free)
        reading.put(show.DISK_SIZE, disk.total)

    def _read_decisions(self, reading: Reading) -> None:
        tally = self._usher.tally
        reading.put(show.REPEATS, tally.repeats)
        reading.put(show.WAITING, self._usher.waiting)
        self._edges |= {edge.number: edge for edge in self._usher.edges()}
        # From zero on, so that the first attempt of an edge shows as a rise.
        none = {(number, Reason.NONE): 0 for number in self._edges}
        # An edge may have the name of one that is revoked, and goes on with its counts.
        counts: dict[tuple[str, ...], int] = defaultdict(int)
        for (number, reason), count in (none | tally.decisions).items():
            edge = self._edges.get(number)
            named = (str(edge.cdn), edge.name) if edge is not None else ("", str(number))
            counts[(*named, "refused" if reason else "accepted", reason)] += count
        reading.values[show.DECISIONS].update(counts)

    def _read_requests(self, reading: Reading) -> None:
        requests = self._requests
        for (route, kind, method, status), answers in requests.answers.items():
            reading.put(show.REQUESTS, answers.count, route, kind, method, str(status))
        for (route, kind), took_s in requests.took_s.items():
            reading.put(show.REQUEST_SECONDS, took_s, route, kind)
        for labels, count in requests.bad.items():
            reading.put(show.BAD_REQUESTS, count, *labels)
        for route, count in requests.busy.items():
            reading.put(show.BUSY, count, route)
        for error, count in requests.faults.items():
            reading.put(show.FAULTS, count, error)

    def _read_sessions(self, reading: Reading) -> None:
        book = self._usher.watching.book
        reading.put(show.SESSIONS, len(book))
        for refusal, count in book.follow_ups.items():
            reading.put(show.FOLLOW_UPS, count, "refused" if refusal else "allowed", refusal)
        reading.put(show.KICKS_OWED, self._kicks.owed)
        reading.put(show.KICKS, self._kicks.paid, "paid")
        reading.put(show.KICKS, self._kicks.given_up, "given_up")
        reading.put(show.RECONCILED, self._reconciled.ended)

    def _read_searches(self, reading: Reading) -> None:
        searching = self._usher.searching
        for kind, took_s in searching.took_s.items():
            reading.put(show.SEARCH_SECONDS, took_s, kind)
        for kind, failed in searching.failed.items():
            reading.put(show.FAILED_SEARCHES, failed, kind)
        reading.put(show.KEPT_ANSWERS, searching.kept.answered, "counts")
        reading.put(show.KEPT_ANSWERS, searching.totals.answered, "totals")
        reading.put(show.KEPT_COUNTS, len(searching.kept))
        reading.put(show.KEPT_TOTALS_BYTES, searching.totals.size_bytes)

    def _read_pending(self, reading: Reading, stats: LedgerStats) -> None:
        reading.put(show.PENDING, stats.pending)
        if self._usher.attempt_log.ships:
            oldest_ms = stats.oldest_pending_ms
            age_ms = 0 if oldest_ms is None else max(0, self._usher.wall_ms - oldest_ms)
            reading.put(show.PENDING_OLDEST, age_ms / 1000)
            reading.put(show.SHIP_LAG, self._usher.shipper.lag_ms(oldest_ms) / 1000)
            reading.put(show.IN_FLIGHT, stats.last_block - stats.shipped_block)

    def _read_shipping(self, reading: Reading) -> None:
        shipper, attempt_log = self._usher.shipper, self._usher.attempt_log
        reading.log_pid = attempt_log.pid
        reading.put(show.SHIP_SECONDS, shipper.took_s)
        reading.put(show.SHIPPED, shipper.shipped_attempts)
        reading.put(show.SHIP_RETRIES, shipper.put_off)
        reading.put(show.SHIPPING_STOPPED, shipper.fault is not None)
        reading.put(show.LOG_UP, attempt_log.pid is not None)
        reading.put(show.LOG_RESTARTS, max(0, attempt_log.starts - 1))


def _put_ledger(reading: Reading, tally: LedgerTally) -> None:
    # One that is in this process is read as this process.
    reading.ledger_pid = tally.pid if tally.pid != os.getpid() else None
    reading.put(show.BATCH, tally.batch)
    reading.put(show.COMMIT_SECONDS, tally.commit_s)
    reading.put(show.SYNC_SECONDS, tally.sync_s)
    reading.put(show.FAILED_COMMITS, tally.not_written, "not_written")
    reading.put(show.FAILED_COMMITS, tally.unknown, "unknown")
    reading.put(show.CHECKPOINTS, tally.checkpoints, "done")
    reading.put(show.CHECKPOINTS, tally.failed_checkpoints, "failed")
    reading.put(show.WAL_BYTES, tally.wal_bytes)


async def _true(work: Awaitable[None]) -> bool:
    await work
    return True


async def _answer(asked: Awaitable[T]) -> T | None:
    """What was asked for, unless it fails or takes too long."""
    try:
        async with asyncio.timeout(_ANSWER_S_MAX):
            return await asked
    except (StoreError, TimeoutError):
        return None
