"""The SQLite ledger's public face: one writer whose commits run on a thread, readers on threads of their own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from openusher.errors import (
    AlreadyExists,
    CallerError,
    CommitUnknown,
    InvalidParameter,
    LedgerUnavailable,
    NotAuthorised,
    UsherError,
)
from openusher.ledger.base import (
    BATCH_OPERATIONS_MAX,
    Directory,
    Ledger,
    LedgerStats,
    NewAccount,
    Operation,
    Outcome,
    PendingAttempts,
    PendingCount,
    PendingGroups,
)
from openusher.ledger.sqlite import blocks, search, store
from openusher.ledger.sqlite.accounts import insert_account, insert_api_key, read_directory, update_account
from openusher.ledger.sqlite.batch import Batch, Counters, ticket_of_row
from openusher.ledger.sqlite.readers import Readers
from openusher.ledger.sqlite.verify import find_faults
from openusher.model.account import Account, ApiKey
from openusher.model.block import Block
from openusher.model.search import AttemptFilter, GroupBy
from openusher.model.ticket import Ticket

T = TypeVar("T")

_TICKET = """
SELECT number, cdn, key, pass, app, video, ip, uses_limit, uses_taken, active, created_s, expires_s, used_s
FROM tickets WHERE cdn = ? AND key = ?
"""
_STATS = """
SELECT incarnation, last_attempt, last_block,
  (SELECT coalesce(max(number), 0) FROM blocks WHERE shipped),
  last_attempt - shipped_attempt,
  (SELECT at_ms FROM attempts WHERE id > shipped_attempt ORDER BY id LIMIT 1), clock_ms
FROM node
"""
# How long a search of the ledger may take before it is broken off, in seconds.
READ_S_MAX = 10.0
_COUNTERS = "SELECT clock_ms, last_batch, last_attempt, (SELECT coalesce(max(number), 0) FROM tickets) FROM node"

log = logging.getLogger(__name__)


class SqliteLedger:
    """A ledger in one file. Made by `open`; to be used from one event loop; the caller holds the data folder.

    Statements of a write run on the loop, its commit on a thread: see batch.py for why.
    """

    def __init__(
        self,
        file: Path,
        *,
        read_s_max: float = READ_S_MAX,
        wal_pages_max: int = store.WAL_PAGES_MAX,
        vfs: str | None = None,
    ) -> None:
        self._file = file
        self._vfs = vfs
        self._writing = asyncio.Lock()
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="ledger-commit")
        self._readers = Readers(self._connect_reader, seconds_max=read_s_max)
        # False from a commit of unknown outcome until the file was reopened and synced.
        self._is_sound = True
        self._wal_pages_max = wal_pages_max
        self._restarting_wal: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        file: Path,
        *,
        demo: bool = False,
        read_s_max: float = READ_S_MAX,
        wal_pages_max: int = store.WAL_PAGES_MAX,
        vfs: str | None = None,
    ) -> SqliteLedger:
        """Open or create the ledger at `file`, migrated to this version. Raises SetupError.

        A search that takes longer than `read_s_max` seconds is broken off. `wal_pages_max`: see `_restart_wal`.
        """
        ledger = cls(file, read_s_max=read_s_max, wal_pages_max=wal_pages_max, vfs=vfs)
        ledger._connection = await asyncio.get_running_loop().run_in_executor(
            ledger._committer, lambda: store.open_writer(file, demo=demo, vfs=vfs)
        )
        ledger._counters = _read_counters(ledger._connection)
        return ledger

    _connection: apsw.Connection
    _counters: Counters

    @property
    def clock_ms(self) -> int:
        return self._counters.clock_ms

    async def commit_batch(self, operations: Sequence[Operation], *, now_ms: int) -> list[Outcome]:
        assert 0 < len(operations) <= BATCH_OPERATIONS_MAX
        return await _to_its_end(self._commit_batch(operations, now_ms=now_ms))

    async def _commit_batch(self, operations: Sequence[Operation], *, now_ms: int) -> list[Outcome]:
        async with self._writing:
            await self._be_sound()
            try:
                batch, outcomes = self._prepare(operations, now_ms=now_ms)
            except _CONTENT_ERRORS:
                batch, outcomes = self._prepare_one_by_one(operations, now_ms=now_ms)
            await self._commit(batch.counters)
            return outcomes

    def _prepare(self, operations: Sequence[Operation], *, now_ms: int) -> tuple[Batch, list[Outcome]]:
        with self._transaction():
            batch = Batch(self._connection, self._counters, now_ms=now_ms)
            return batch, batch.apply(operations)

    def _prepare_one_by_one(self, operations: Sequence[Operation], *, now_ms: int) -> tuple[Batch, list[Outcome]]:
        """As `_prepare` where one of the operations cannot be stored: that one is refused, the others go on."""
        outcomes: list[Outcome] = []
        counters = self._counters
        with self._transaction():
            for operation in operations:
                batch = Batch(self._connection, counters, now_ms=now_ms)
                self._connection.execute("SAVEPOINT one")
                try:
                    outcomes.extend(batch.apply([operation]))
                    counters = batch.counters
                except _CONTENT_ERRORS as error:
                    log.error("ledger.operation_refused: %s", type(error).__name__)
                    self._connection.execute("ROLLBACK TO one")
                    outcomes.append(InvalidParameter("request", "cannot be stored as it is"))
                self._connection.execute("RELEASE one")
            batch = Batch(self._connection, counters, now_ms=now_ms)
            batch.apply([])
            return batch, outcomes

    def _transaction(self) -> _OpenTransaction:
        return _OpenTransaction(self._connection)

    async def _write(self, statements: Callable[[apsw.Connection], T]) -> T:
        """Run `statements` and commit them, durably, on their own."""
        return await _to_its_end(self._commit_alone(statements))

    async def _commit_alone(self, statements: Callable[[apsw.Connection], T]) -> T:
        async with self._writing:
            await self._be_sound()
            with self._transaction():
                result = statements(self._connection)
                # Every commit has its number, so that one of unknown outcome can be looked up.
                batch = Batch(self._connection, self._counters, now_ms=self._counters.clock_ms)
                batch.apply([])
            await self._commit(batch.counters)
            return result

    async def _commit(self, counters: Counters) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._committer, self._connection.execute, "COMMIT")
        except (apsw.FullError, apsw.BusyError, apsw.ReadOnlyError) as error:
            self._roll_back()
            raise LedgerUnavailable(f"the ledger could not be written: {type(error).__name__}") from error
        except apsw.Error as error:
            log.error("ledger.commit_unknown: %s", error)
            self._is_sound = False
            try:
                await self._be_sound()
            except LedgerUnavailable:
                raise CommitUnknown("the ledger's disk fails; what was asked may or may not be written") from error
            if self._counters.last_batch != counters.last_batch:
                raise LedgerUnavailable("the ledger could not be written") from error
        self._counters = counters
        self._watch_wal()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def _be_sound(self) -> None:
        """After a commit of unknown outcome: reopen, see what was written, sync it. Raises LedgerUnavailable."""
        if self._is_sound:
            return
        await asyncio.get_running_loop().run_in_executor(self._committer, self._reopen)
        self._is_sound = True

    def _reopen(self) -> None:
        try:
            self._connection.close(True)
            self._connection = store.open_writer(self._file, vfs=self._vfs)
            # What was read back may live in the kernel's cache only; a checkpoint copies and syncs it anew.
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._counters = _read_counters(self._connection)
        except (apsw.Error, UsherError) as error:
            raise LedgerUnavailable("the ledger's disk fails") from error

    async def _read(self, question: Callable[[apsw.Connection], T]) -> T:
        return await self._readers.ask(question)

    def _connect_reader(self) -> apsw.Connection:
        connection = store.open_reader(self._file, vfs=self._vfs)
        search.prepare(connection)
        return connection

    def _watch_wal(self) -> None:
        """After a commit: a WAL that readers keep from being used anew is taken from them."""
        if store.wal_pages(self._connection) < self._wal_pages_max or self._restarting_wal is not None:
            return
        self._restarting_wal = asyncio.get_running_loop().create_task(self._restart_wal(), name="ledger, WAL restart")

    async def _restart_wal(self) -> None:
        """Without a pause between readers a WAL is never begun anew, and grows until the disk is full. Readers wait
        here for a moment; writers only for the checkpoint itself."""
        try:
            async with self._readers.quiet(), self._writing:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._committer, store.restart_wal, self._connection)
        except apsw.Error as error:
            log.warning("ledger.wal_not_restarted: %s", type(error).__name__)
        finally:
            self._restarting_wal = None

    async def ticket(self, cdn: int, key: str) -> Ticket | None:
        rows = await self._read(lambda connection: list(connection.execute(_TICKET, (cdn, key))))
        return ticket_of_row(rows[0]) if rows else None

    async def count_pending(self, cdn: int, search_for: AttemptFilter) -> PendingCount:
        return await self._read(lambda connection: search.count_pending(connection, cdn, search_for))

    async def group_pending(
        self, cdn: int, search_for: AttemptFilter, by: GroupBy, *, top: int | None
    ) -> PendingGroups:
        return await self._read(lambda connection: search.group_pending(connection, cdn, search_for, by, top=top))

    async def newest_pending(
        self, cdn: int, search_for: AttemptFilter, *, seek: int = 0, limit: int
    ) -> PendingAttempts:
        return await self._read(
            lambda connection: search.newest_pending(connection, cdn, search_for, seek=seek, limit=limit)
        )

    async def directory(self) -> Directory:
        return await self._read(read_directory)

    async def create_account(self, account: NewAccount) -> Account:
        now_s = int(time.time())
        return await self._write_unique(lambda connection: insert_account(connection, account, now_s=now_s))

    async def set_account_active(self, cdn: int, *, active: bool) -> None:
        if not await self._write(lambda connection: update_account(connection, cdn, active=active)):
            raise NotAuthorised(f"there is no account with cdn {cdn}")

    async def add_api_key(self, key: ApiKey) -> None:
        now_s = int(time.time())
        await self._write_unique(lambda connection: insert_api_key(connection, key, now_s=now_s))

    async def _write_unique(self, statements: Callable[[apsw.Connection], T]) -> T:
        try:
            return await self._write(statements)
        except apsw.ConstraintError as error:
            if str(error).startswith("FOREIGN KEY"):
                raise NotAuthorised("there is no account with this cdn") from error
            # SQLite's text ends with the column: "UNIQUE constraint failed: accounts.name".
            column = str(error).rpartition(".")[2]
            raise AlreadyExists(f"{column}: another account has it; choose another") from error

    async def next_block(self, *, now_ms: int) -> Block | None:
        open_block = await self._read(blocks.oldest_unshipped)
        if open_block is not None:
            return open_block
        after_id = await self._read(blocks.last_assigned)
        found = await self._read(lambda connection: blocks.next_range(connection, after_id=after_id))
        if found is None:
            return None
        return await self._write(lambda connection: blocks.assign(connection, found))

    async def block_rows(self, block: Block) -> bytes:
        return await self._read(lambda connection: blocks.rows_of(connection, block))

    async def mark_shipped(self, block: Block) -> None:
        await self._write(lambda connection: blocks.mark_shipped(connection, block))

    async def delete_shipped(self, *, limit: int) -> int:
        # Asked often and mostly for nothing: no commit is owed then.
        if not await self._read(blocks.has_shipped_rows):
            return 0
        return await self._write(lambda connection: blocks.delete_shipped(connection, limit=limit))

    async def blocks(self) -> list[Block]:
        return await self._read(blocks.all_blocks)

    async def stats(self) -> LedgerStats:
        row = await self._read(lambda connection: next(connection.execute(_STATS)))
        return LedgerStats(**dict(zip(LedgerStats.__struct_fields__, row, strict=True)))

    async def be_ready(self) -> None:
        async with self._writing:
            await self._be_sound()

    async def is_demo(self) -> bool:
        """Whether this ledger was made for a demo, the only one that may carry the page's published secret."""
        return bool(await self._read(lambda connection: next(connection.execute("SELECT is_demo FROM node"))[0]))

    async def check(self, *, quick: bool) -> list[str]:
        # A check reads every page; how long that takes is the operator's own choice.
        return await self._readers.ask(lambda connection: find_faults(connection, quick=quick), seconds_max=0)

    async def close(self) -> None:
        if self._restarting_wal is not None:
            await self._restarting_wal
        async with self._writing:
            self._readers.close()
            await asyncio.get_running_loop().run_in_executor(self._committer, self._connection.close)
            self._committer.shutdown()


class _OpenTransaction:
    """Begins a transaction that is left open for the commit when its statements succeed, and rolled back otherwise."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise LedgerUnavailable(f"the ledger could not be written: {type(error).__name__}") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, apsw.Error) and not isinstance(error, _CONTENT_ERRORS):
            raise LedgerUnavailable(f"the ledger could not be written: {type(error).__name__}") from error


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Let a write run to its end although its asker is cancelled: a commit cannot be called back, and whoever writes
    next must not meet it half done."""
    return await asyncio.shield(asyncio.get_running_loop().create_task(work))


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
    UnicodeError,
)


def _read_counters(connection: apsw.Connection) -> Counters:
    clock_ms, last_batch, last_attempt, last_ticket = next(connection.execute(_COUNTERS))
    return Counters(clock_ms=clock_ms, last_batch=last_batch, last_attempt=last_attempt, last_ticket=last_ticket)


def _is_a_ledger(ledger: SqliteLedger) -> Ledger:
    return ledger
