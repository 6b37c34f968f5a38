"""The SQLite ledger's public face: one writer on a thread of its own, and readers on theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from openusher.errors import AlreadyExists, LedgerUnavailable, NotAuthorised
from openusher.ledger.base import (
    Directory,
    Drawn,
    ImportedTickets,
    Ledger,
    LedgerStats,
    LedgerTally,
    NewAccount,
    Operation,
    Outcome,
    PendingAttempts,
    PendingCount,
    PendingGroups,
    PendingRows,
    PendingTotals,
)
from openusher.ledger.sqlite import blocks, imports, indexes, retention, store, tickets
from openusher.ledger.sqlite import search as searching
from openusher.ledger.sqlite.accounts import (
    delete_api_key,
    insert_account,
    insert_api_key,
    insert_cookie_key,
    insert_edge,
    read_directory,
    see_api_keys,
    update_account,
    update_edge,
)
from openusher.ledger.sqlite.batch import TICKET, ticket_of_row
from openusher.ledger.sqlite.readers import Readers
from openusher.ledger.sqlite.sessions import prune, read_ended_sessions, read_live_sessions, read_owed_sessions
from openusher.ledger.sqlite.verify import find_faults
from openusher.ledger.sqlite.writer import Writer
from openusher.model.account import Account, ApiKey, Edge, Secret
from openusher.model.block import Block
from openusher.model.limits import INTEGER_MAX
from openusher.model.search import AttemptFilter, GroupBy
from openusher.model.session import FoundSessions
from openusher.model.ticket import Ticket, TicketFilter

T = TypeVar("T")

_STATS = """
SELECT incarnation, last_attempt, last_block,
  (SELECT coalesce(max(number), 0) FROM blocks WHERE shipped),
  last_attempt - max(shipped_attempt, forgotten_attempt),
  (SELECT at_ms FROM attempts WHERE id > shipped_attempt ORDER BY id LIMIT 1), clock_ms, kept_from_ms, released_block,
  anonymised_before_ms, anonymised_block
FROM node
"""
# How long a search of the ledger may take before it is broken off, in seconds.
READ_S_MAX = 10.0


class SqliteLedger:
    """A ledger in one file. Made by `open`; to be used from one event loop; the caller holds the data folder."""

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
        self._readers = Readers(self._connect_reader, seconds_max=read_s_max)
        self._writer = Writer(file, self._readers, wal_pages_max=wal_pages_max, vfs=vfs)

    @classmethod
    async def open(
        cls,
        file: Path,
        *,
        demo: bool = False,
        indexed: bool | None = None,
        read_s_max: float = READ_S_MAX,
        wal_pages_max: int = store.WAL_PAGES_MAX,
        vfs: str | None = None,
    ) -> SqliteLedger:
        """Open or create the ledger at `file`, migrated to this version. Raises SetupError.

        `indexed` says whether its attempts shall have indexes for searches: see indexes.py; None leaves that as it is.
        A search that takes longer than `read_s_max` seconds is broken off. A WAL of `wal_pages_max` pages is taken
        from readers that keep it from being begun anew.
        """
        ledger = cls(file, read_s_max=read_s_max, wal_pages_max=wal_pages_max, vfs=vfs)
        await ledger._writer.open(demo=demo, indexed=indexed)
        return ledger

    def _connect_reader(self) -> apsw.Connection:
        connection = store.open_reader(self._file, vfs=self._vfs)
        searching.prepare(connection)
        tickets.prepare(connection)
        return connection

    @property
    def clock_ms(self) -> int:
        return self._writer.counters.clock_ms

    async def commit_batch(self, operations: Sequence[Operation], *, now_ms: int) -> list[Outcome]:
        return await self.commit_next(lambda: Drawn(operations=operations, now_ms=now_ms))

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        return await self._writer.commit_next(draw)

    def commit_soon(self, drawn: Drawn, answer: Callable[[list[Outcome] | Exception], None]) -> None:
        """As `commit_next`, from any thread; `answer` is called, on another, before the next batch is begun."""
        self._writer.commit_soon(drawn, answer)

    async def ticket(self, cdn: int, key: str) -> Ticket | None:
        rows = await self._readers.ask(lambda connection: list(connection.execute(TICKET, (cdn, key))), cdn=cdn)
        return ticket_of_row(rows[0]) if rows else None

    async def count_pending(self, cdn: int, search: AttemptFilter, *, held: bool = False) -> PendingCount:
        indexed = self._writer.is_indexed
        return await self._readers.search(
            cdn, lambda connection: searching.count_pending(connection, cdn, search, held=held, indexed=indexed)
        )

    async def group_pending(self, cdn: int, search: AttemptFilter, by: GroupBy, *, top: int | None) -> PendingGroups:
        indexed = self._writer.is_indexed
        return await self._readers.search(
            cdn, lambda connection: searching.group_pending(connection, cdn, search, by, top=top, indexed=indexed)
        )

    async def totals_pending(self, cdn: int, search: AttemptFilter, *, most: int) -> PendingTotals:
        indexed = self._writer.is_indexed
        return await self._readers.search(
            cdn, lambda connection: searching.totals_pending(connection, cdn, search, most=most, indexed=indexed)
        )

    async def newest_pending(self, cdn: int, search: AttemptFilter, *, seek: int = 0, limit: int) -> PendingAttempts:
        indexed = self._writer.is_indexed
        return await self._readers.search(
            cdn,
            lambda connection: searching.newest_pending(
                connection, cdn, search, seek=seek, limit=limit, indexed=indexed
            ),
        )

    async def oldest_pending(self, cdn: int, search: AttemptFilter, *, limit: int) -> PendingRows:
        indexed = self._writer.is_indexed
        return await self._readers.search(
            cdn, lambda connection: searching.oldest_pending(connection, cdn, search, limit=limit, indexed=indexed)
        )

    async def directory(self) -> Directory:
        return await self._readers.ask(read_directory)

    async def create_account(self, account: NewAccount) -> Account:
        now_s = int(time.time())
        return await self._write_unique(lambda connection: insert_account(connection, account, now_s=now_s))

    async def set_account_active(self, cdn: int, *, active: bool) -> None:
        if not await self._writer.write(lambda connection: update_account(connection, cdn, active=active)):
            raise NotAuthorised(f"there is no account with cdn {cdn}")

    async def add_api_key(self, key: ApiKey) -> None:
        now_s = int(time.time())
        await self._write_unique(lambda connection: insert_api_key(connection, key, now_s=now_s))

    async def revoke_api_key(self, api_key: str) -> None:
        if not await self._writer.write(lambda connection: delete_api_key(connection, api_key)):
            raise NotAuthorised("there is no such API key")

    async def see_api_keys(self, used_s: dict[str, int]) -> None:
        await self._writer.write(lambda connection: see_api_keys(connection, used_s))

    async def find_tickets(
        self, cdn: int, search: TicketFilter, *, before: int, limit: int, now_s: int
    ) -> list[Ticket]:
        return await self._readers.search(
            cdn,
            lambda connection: tickets.find_tickets(connection, cdn, search, before=before, limit=limit, now_s=now_s),
        )

    async def begin_import(self, cdn: int) -> int:
        now_s = int(time.time())
        try:
            return await self._writer.write_tickets(
                lambda connection, last: imports.begin(connection, cdn, last_ticket=last, now_s=now_s), upto=0
            )
        except apsw.ConstraintError as error:
            raise NotAuthorised(f"there is no account with cdn {cdn}") from error

    async def import_tickets(self, number: int, tickets: list[Ticket]) -> ImportedTickets:
        return await self._writer.write_tickets(
            lambda connection, last: imports.add(connection, number, tickets, last_ticket=last), upto=len(tickets)
        )

    async def finish_import(self, number: int) -> None:
        now_s = int(time.time())
        if not await self._writer.write(lambda connection: imports.finish(connection, number, now_s=now_s)):
            raise LedgerUnavailable("this import was dropped; nothing of it is there")

    async def drop_imports(self, *, limit: int) -> int:
        # Asked at each start and mostly for nothing: no commit is owed then.
        if not await self._readers.ask(imports.has_unfinished):
            return 0
        # Nobody ever saw them. All sessions that there have been would be looked through for each.
        return await self._writer.write(
            lambda connection: imports.drop_unfinished(connection, limit=limit), unreferenced=True
        )

    async def count_tickets(self, cdn: int) -> int:
        return await self._readers.search(cdn, lambda connection: tickets.count_tickets(connection, cdn))

    async def create_edge(self, edge: Edge) -> Edge:
        now_s = int(time.time())
        return await self._write_unique(lambda connection: insert_edge(connection, edge, now_s=now_s))

    async def change_edge(self, edge: Edge, *, old_until_ms: int) -> None:
        now_ms = self.clock_ms
        if not await self._write_unique(
            lambda connection: update_edge(connection, edge, old_until_ms=old_until_ms, now_ms=now_ms)
        ):
            raise NotAuthorised(f"there is no edge {edge.number}")

    async def add_cookie_key(self, secret: Secret) -> None:
        now_s = int(time.time())
        await self._writer.write(lambda connection: insert_cookie_key(connection, secret, now_s=now_s))

    async def live_sessions(self, *, after: int, limit: int) -> FoundSessions:
        return await self._readers.ask(lambda connection: read_live_sessions(connection, after=after, limit=limit))

    async def owed_sessions(self, *, after: int, limit: int) -> FoundSessions:
        return await self._readers.ask(lambda connection: read_owed_sessions(connection, after=after, limit=limit))

    async def ended_sessions(self, cdn: int, *, from_ms: int, limit: int) -> FoundSessions:
        return await self._readers.search(
            cdn, lambda connection: read_ended_sessions(connection, cdn, from_ms=from_ms, limit=limit)
        )

    async def prune_sessions(self, *, before_ms: int, limit: int) -> int:
        return await self._writer.write(lambda connection: prune(connection, before_ms=before_ms, limit=limit))

    async def _write_unique(self, statements: Callable[[apsw.Connection], T]) -> T:
        try:
            return await self._writer.write(statements)
        except apsw.ConstraintError as error:
            if str(error).startswith("FOREIGN KEY"):
                raise NotAuthorised("there is no account with this cdn") from error
            # SQLite's text ends with table and column: "UNIQUE constraint failed: edges.cdn, edges.name".
            table, _, column = str(error).rpartition(" ")[2].partition(".")
            other = "another edge of this account" if table == "edges" else "another account"
            raise AlreadyExists(f"{column}: {other} has it; choose another") from error

    async def forget(self, *, before_ms: int) -> None:
        await self._writer.write(
            lambda connection: retention.forget(connection, before_ms=before_ms), clock_ms=before_ms
        )

    async def delete_forgotten(self, *, limit: int) -> int:
        # As with shipped rows: no commit is owed for nothing.
        if not await self._readers.ask(retention.has_forgotten_rows):
            return 0
        return await self._writer.write(lambda connection: retention.delete_forgotten(connection, limit=limit))

    async def release_blocks(self, *, upto: int) -> None:
        await self._writer.write(lambda connection: retention.release_blocks(connection, upto=upto))

    async def anonymise(self, *, before_ms: int) -> None:
        await self._writer.write(
            lambda connection: retention.anonymise(connection, before_ms=before_ms), clock_ms=before_ms
        )

    async def anonymise_rows(self, *, limit: int) -> int:
        if not await self._readers.ask(retention.has_plain_rows):
            return 0
        return await self._writer.write(lambda connection: retention.anonymise_rows(connection, limit=limit))

    async def anonymise_blocks(self, digests: dict[int, str]) -> None:
        await self._writer.write(lambda connection: retention.anonymise_blocks(connection, digests))

    async def anonymise_sessions(self, *, before_ms: int, limit: int) -> int:
        # Not by the writer, which decides: there may be a million, nearly all of which are anonymised.
        numbers = await self._readers.ask_aside(
            lambda connection: retention.whole_sessions(connection, before_ms=before_ms, limit=limit)
        )
        if not numbers:
            return 0
        return await self._writer.write(lambda connection: retention.anonymise_sessions(connection, numbers))

    async def next_block(self, *, now_ms: int) -> Block | None:
        open_block = await self._readers.ask(blocks.oldest_unshipped)
        if open_block is not None:
            return open_block
        after_id = await self._readers.ask(blocks.last_assigned)
        found = await self._readers.ask_of_block(lambda connection: blocks.next_range(connection, after_id=after_id))
        if found is None:
            return None
        return await self._writer.write(lambda connection: blocks.assign(connection, found))

    async def block_rows(self, block: Block) -> bytes:
        return await self._readers.ask_of_block(lambda connection: blocks.rows_of(connection, block))

    async def write_rows(self, block: Block, file: str) -> None:
        try:
            await self._readers.ask_of_block(lambda connection: blocks.write_rows(connection, block, Path(file)))
        except OSError as error:
            raise LedgerUnavailable(f"{file}: cannot be written: {error.strerror}") from error

    async def mark_shipped(self, block: Block) -> None:
        await self._writer.write(lambda connection: blocks.mark_shipped(connection, block))

    async def delete_shipped(self, *, limit: int, upto: int = INTEGER_MAX) -> int:
        # Asked often and mostly for nothing: no commit is owed then.
        if not await self._readers.ask(lambda connection: blocks.has_shipped_rows(connection, upto=upto)):
            return 0
        return await self._writer.write(lambda connection: blocks.delete_shipped(connection, limit=limit, upto=upto))

    async def blocks(self) -> list[Block]:
        # There may be so many that short reads must not stand behind it.
        return await self._readers.ask_aside(blocks.all_blocks)

    async def stats(self) -> LedgerStats:
        return await self._readers.ask(_read_stats)

    async def tally(self) -> LedgerTally:
        return self._writer.tally()

    async def be_ready(self) -> None:
        await self._writer.be_ready()

    async def is_demo(self) -> bool:
        """Whether this ledger was made for a demo, the only one that may carry the page's published secret."""
        return bool(await self._readers.ask(lambda connection: next(connection.execute("SELECT is_demo FROM node"))[0]))

    async def check(self, *, quick: bool) -> list[str]:
        # A check reads every page; how long that takes is the operator's own choice.
        return await self._readers.ask_aside(lambda connection: find_faults(connection, quick=quick))

    async def copy_to(self, file: str) -> LedgerStats:
        return await self._readers.ask_aside(lambda connection: _copied(connection, Path(file)))

    async def set_indexes(self, *, wanted: bool) -> None:
        """Make or drop the indexes that `open` speaks of. Raises LedgerUnavailable: they are as before."""
        if not await self._readers.ask(lambda connection: indexes.are_as(connection, wanted=wanted)):
            await self._writer.write(lambda connection: indexes.set_indexes(connection, wanted=wanted))
        self._writer.is_indexed = wanted

    async def close(self) -> None:
        await self._readers.close()
        await self._writer.close()


def _read_stats(connection: apsw.Connection) -> LedgerStats:
    row = next(connection.execute(_STATS))
    return LedgerStats(**dict(zip(LedgerStats.__struct_fields__, row, strict=True)))


def _copied(connection: apsw.Connection, copy: Path) -> LedgerStats:
    store.copy_whole(connection, copy)
    copied = store.open_reader(copy)
    try:
        return _read_stats(copied)
    finally:
        copied.close()


def _is_a_ledger(ledger: SqliteLedger) -> Ledger:
    return ledger
