"""The ledger's one writer, on a thread of its own: what it writes, it reads, decides and commits there."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from math import inf
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from openusher.errors import AlreadyExists, CallerError, CommitUnknown, InvalidParameter, LedgerUnavailable
from openusher.ledger.base import BATCH_OPERATIONS_MAX, Drawn, Issue, LedgerTally, Operation, Outcome
from openusher.ledger.sqlite import imports, store
from openusher.ledger.sqlite.batch import Batch, Counters
from openusher.ledger.sqlite.checkpoints import Checkpoints
from openusher.ledger.sqlite.indexes import set_indexes
from openusher.ledger.sqlite.onthread import on_thread
from openusher.ledger.sqlite.readers import Readers
from openusher.logs import event_log

T = TypeVar("T")

_COUNTERS = """
SELECT clock_ms, last_batch, last_attempt, last_session, (SELECT coalesce(max(number), 0) FROM tickets) FROM node
"""
# After a try that met readers who do not finish; each try holds up all others for a moment.
_WAL_RETRY_S = 10.0
# The second moves what came during the first.
_MOVES_BEFORE_RESTART = 2
# What one operation's content can raise, while the file is well: constraints, lengths, numbers past 63 bits, text
# that is no Unicode, types that no column takes, a ticket whose rules cannot be read.
_CONTENT_ERRORS = (
    CallerError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.RangeError,
    OverflowError,
    TypeError,
    ValueError,
)

log = event_log()


class Writer:
    """Writes one at a time, each durable when it returns. `open` before any, `close` after all."""

    def __init__(self, file: Path, readers: Readers, *, wal_pages_max: int, vfs: str | None) -> None:
        self._file = file
        self._vfs = vfs
        self._readers = readers
        # One thread: whoever writes next stands in its queue. What follows is its own, but for reading.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        # False from a commit of unknown outcome until the file was reopened and synced.
        self._is_sound = True
        # False from a write that surely failed until one succeeds.
        self._takes_writes = True
        self._tally = LedgerTally(pid=os.getpid())
        self._checkpoints = Checkpoints(lambda: store.open_beside(file, vfs=vfs), self._tally)
        self._wal_pages_max = wal_pages_max
        self._restarting_wal: asyncio.Task[None] | None = None
        self._next_wal_restart = 0.0

    _loop: asyncio.AbstractEventLoop
    _connection: apsw.Connection
    _incarnation: int
    # Those of the last commit.
    counters: Counters
    # Whether the attempts have indexes for searches.
    is_indexed: bool

    async def open(self, *, demo: bool, indexed: bool | None) -> None:
        """Open or create the file, migrated to this version, and set its indexes. Raises SetupError."""

        def open_file() -> None:
            self._connection = store.open_writer(self._file, demo=demo, vfs=self._vfs)
            self.is_indexed = set_indexes(self._connection, wanted=indexed)
            ((self._incarnation,),) = self._connection.execute("SELECT incarnation FROM node")
            self.counters = _read_counters(self._connection)

        self._loop = asyncio.get_running_loop()
        await self._on_thread(open_file)

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        """As `Ledger.commit_next`."""
        # Drawn first of all: whoever waits must not wait on when the file is broken.
        return await self._write(lambda: self._commit_drawn(draw()))

    def commit_soon(self, drawn: Drawn, answer: Callable[[list[Outcome] | Exception], None]) -> None:
        """As `SqliteLedger.commit_soon`."""

        def run() -> None:
            try:
                outcomes = self._commit_drawn(drawn)
            except Exception as error:
                answer(error)
            else:
                answer(outcomes)
            if self._wal_is_long:
                self._loop.call_soon_threadsafe(self._see_wal)

        self._thread.submit(run)

    async def write(
        self, statements: Callable[[apsw.Connection], T], *, clock_ms: int = 0, unreferenced: bool = False
    ) -> T:
        """Run `statements` and commit them, durably, on their own. The clock is `clock_ms` from then on, or later.

        With `unreferenced` nothing refers to the rows that they delete, and it is not looked for.
        """

        def commit_statements() -> T:
            with self._without_foreign_keys() if unreferenced else nullcontext():
                with self._transaction():
                    result = statements(self._connection)
                    counters = self._number_commit(self.counters, now_ms=clock_ms)
                self._commit(counters)
            return result

        return await self._write(lambda: self._tried(commit_statements))

    def tally(self) -> LedgerTally:
        """As `Ledger.tally`."""
        self._tally.wal_bytes = store.wal_bytes(self._file)
        return self._tally

    async def write_tickets(self, statements: Callable[[apsw.Connection, int], T], *, upto: int) -> T:
        """As `write`, of statements that number tickets, from behind the number that they are given: `upto` at most."""

        def commit_statements() -> T:
            counters = msgspec.structs.replace(self.counters, last_ticket=self.counters.last_ticket + upto)
            with self._transaction():
                result = statements(self._connection, self.counters.last_ticket)
                counters = self._number_commit(counters, now_ms=counters.clock_ms)
            self._commit(counters)
            return result

        return await self._write(lambda: self._tried(commit_statements))

    async def be_ready(self) -> None:
        """As `Ledger.be_ready`."""
        await self._on_thread(self._be_sound)
        if not self._takes_writes:
            await self.write(lambda connection: None)

    async def close(self) -> None:
        self._next_wal_restart = inf
        if self._restarting_wal is not None:
            await self._restarting_wal
        await asyncio.to_thread(self._checkpoints.close)
        await self._on_thread(self._connection.close)
        self._thread.shutdown()

    def _on_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run `work` after all that was asked before it, to its end although its asker is cancelled: a commit cannot
        be called back, and whoever writes next must not meet it half done."""
        return on_thread(self._thread, work)

    async def _write(self, work: Callable[[], T]) -> T:
        result = await self._on_thread(work)
        if self._wal_is_long:
            self._see_wal()
        return result

    # One write, on the thread

    def _tried(self, commit: Callable[[], T]) -> T:
        """The result of `commit`, and a note whether the file takes writes."""
        try:
            self._be_sound()
            result = commit()
        except LedgerUnavailable:
            self._takes_writes = False
            self._tally.not_written += 1
            raise
        except CommitUnknown:
            self._tally.unknown += 1
            raise
        self._takes_writes = True
        return result

    def _commit_drawn(self, drawn: Drawn) -> list[Outcome]:
        assert len(drawn.operations) <= BATCH_OPERATIONS_MAX
        if not drawn.operations:
            return []
        began = time.perf_counter()
        outcomes = self._tried(lambda: self._commit_batch(drawn))
        self._tally.batch.add(len(drawn.operations))
        self._tally.commit_s.add(time.perf_counter() - began)
        return outcomes

    def _commit_batch(self, drawn: Drawn) -> list[Outcome]:
        batch = Batch(self._connection, self.counters, now_ms=drawn.now_ms)
        try:
            with self._transaction():
                outcomes = batch.apply(drawn.operations)
                batch.write()
        except _CONTENT_ERRORS:
            return self._commit_one_by_one(drawn)
        self._commit(batch.counters)
        return outcomes

    def _commit_one_by_one(self, drawn: Drawn) -> list[Outcome]:
        """As `_commit_batch` where one of the operations cannot be stored: that one is refused, the others go on."""
        outcomes: list[Outcome] = []
        counters = self.counters
        with self._transaction():
            for operation in drawn.operations:
                batch = Batch(self._connection, counters, now_ms=drawn.now_ms)
                self._connection.execute("SAVEPOINT one")
                try:
                    applied = batch.apply([operation])
                    batch.write()
                    outcomes.extend(applied)
                    counters = batch.counters
                except _CONTENT_ERRORS as error:
                    self._connection.execute("ROLLBACK TO one")
                    outcomes.append(self._refusal(operation, error))
                self._connection.execute("RELEASE one")
            counters = self._number_commit(counters, now_ms=drawn.now_ms)
        self._commit(counters)
        return outcomes

    def _refusal(self, operation: Operation, error: Exception) -> CallerError:
        """Why this one could not be stored."""
        if isinstance(operation, Issue) and imports.holds(self._connection, operation.ticket.cdn, operation.ticket.key):
            return AlreadyExists("key: a file that is being taken over has it; look again once that has ended")
        log.error("ledger.operation_refused", error=type(error).__name__)
        return InvalidParameter("request", "cannot be stored as it is")

    def _number_commit(self, counters: Counters, *, now_ms: int) -> Counters:
        """Give the open transaction a number: every commit has one, so that one of unknown outcome can be looked up."""
        batch = Batch(self._connection, counters, now_ms=now_ms)
        batch.write()
        return batch.counters

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction that is left open for the commit when its statements succeed, and rolled back otherwise."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
        except BaseException as error:
            self._roll_back()
            if isinstance(error, apsw.Error) and not isinstance(error, _CONTENT_ERRORS):
                raise LedgerUnavailable(f"the ledger could not be written: {type(error).__name__}") from error
            raise

    @contextmanager
    def _without_foreign_keys(self) -> Iterator[None]:
        self._connection.pragma("foreign_keys", False)
        try:
            yield
        finally:
            # One that does not take it is broken, and opened anew with them.
            with suppress(apsw.Error):
                self._connection.pragma("foreign_keys", True)

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            log.error("ledger.not_rolled_back", error=type(error).__name__)
            self._is_sound = False

    def _commit(self, counters: Counters) -> None:
        """Commit the open transaction: from then on `counters` are the ledger's."""
        began = time.perf_counter()
        try:
            self._connection.execute("COMMIT")
        except (apsw.FullError, apsw.BusyError, apsw.ReadOnlyError) as error:
            self._roll_back()
            raise LedgerUnavailable(f"the ledger could not be written: {type(error).__name__}") from error
        except Exception as error:
            log.error("ledger.commit_unknown", error=type(error).__name__)
            self._is_sound = False
            try:
                self._be_sound()
            except LedgerUnavailable:
                raise CommitUnknown("the ledger's disk fails; what was asked may or may not be written") from error
            if self.counters.last_batch != counters.last_batch:
                raise LedgerUnavailable("the ledger could not be written") from error
        except BaseException:
            self._is_sound = False
            raise
        else:
            self._tally.sync_s.add(time.perf_counter() - began)
        self.counters = counters
        try:
            self._checkpoints.after_commit(self._connection)
        except apsw.Error as error:
            # The commit is durable all the same.
            self._tally.failed_checkpoints += 1
            log.warning("ledger.not_checkpointed", error=type(error).__name__)

    # After a fault, on the thread

    def _be_sound(self) -> None:
        """After a commit of unknown outcome: reopen, see what was written, sync it. Raises LedgerUnavailable."""
        if self._is_sound:
            return
        self._reopen()
        self._readers.reconnect()
        self._is_sound = True

    def _reopen(self) -> None:
        try:
            self._connection.close(True)
            self._connection = store.reopen_writer(self._file, incarnation=self._incarnation, vfs=self._vfs)
            # What was read back may live in the kernel's cache only; a checkpoint copies and syncs it anew.
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            counters = _read_counters(self._connection)
        except Exception as error:
            raise LedgerUnavailable(f"the ledger cannot be opened again: {type(error).__name__}") from error
        if counters.last_batch < self.counters.last_batch:
            raise LedgerUnavailable("the ledger on the disk is older than what was answered")
        self.counters = counters

    # The WAL

    @property
    def _wal_is_long(self) -> bool:
        return self._checkpoints.wal_pages >= self._wal_pages_max

    def _see_wal(self) -> None:
        """On the loop: a WAL that readers keep from being used anew is to be taken from them."""
        if self._wal_is_long and self._restarting_wal is None and time.monotonic() >= self._next_wal_restart:
            self._restarting_wal = self._loop.create_task(self._restart_wal(), name="ledger, WAL restart")

    async def _restart_wal(self) -> None:
        """Without a pause between readers a WAL is never begun anew, and grows until the disk is full. Readers wait
        here for some tenths of a second; writers only for what came while the rest was moved beside them. Where one
        reads on, it is tried again later."""
        try:
            await self._on_thread(self._checkpoints.pause)
            async with self._readers.quiet():
                for _ in range(_MOVES_BEFORE_RESTART):
                    await asyncio.wrap_future(self._checkpoints.move_beside())
                await self._on_thread(lambda: store.restart_wal(self._connection))
            self._tally.checkpoints += 1
        except (apsw.Error, TimeoutError) as error:
            self._tally.failed_checkpoints += 1
            log.warning("ledger.wal_not_restarted", error=type(error).__name__)
            self._next_wal_restart = time.monotonic() + _WAL_RETRY_S
        finally:
            self._checkpoints.go_on()
            self._restarting_wal = None


def _read_counters(connection: apsw.Connection) -> Counters:
    clock_ms, last_batch, last_attempt, last_session, last_ticket = next(connection.execute(_COUNTERS))
    return Counters(
        clock_ms=clock_ms,
        last_batch=last_batch,
        last_attempt=last_attempt,
        last_ticket=last_ticket,
        last_session=last_session,
    )
