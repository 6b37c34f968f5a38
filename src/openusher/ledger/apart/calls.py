"""The ledger's methods that travel as they are: by name, with their arguments, to the process that has it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from openusher.ledger.base import (
    Directory,
    ImportedTickets,
    LedgerStats,
    LedgerTally,
    NewAccount,
    PendingAttempts,
    PendingCount,
    PendingGroups,
    PendingRows,
    PendingTotals,
)
from openusher.model.account import Account, ApiKey, Edge, Secret
from openusher.model.block import Block
from openusher.model.limits import INTEGER_MAX
from openusher.model.search import AttemptFilter, GroupBy
from openusher.model.session import FoundSessions
from openusher.model.ticket import Ticket, TicketFilter


class LedgerCalls(ABC):
    """One method for each of the contract's (base.py), so that the type checker sees what each takes and gives."""

    @abstractmethod
    async def _ask(self, method: str, **arguments: Any) -> Any:
        """Call `method` over there. Raises what it raises, and LedgerUnavailable or CommitUnknown if that process
        ends."""

    async def ticket(self, cdn: int, key: str) -> Ticket | None:
        found: Ticket | None = await self._ask("ticket", cdn=cdn, key=key)
        return found

    async def count_pending(self, cdn: int, search: AttemptFilter, *, held: bool = False) -> PendingCount:
        found: PendingCount = await self._ask("count_pending", cdn=cdn, search=search, held=held)
        return found

    async def group_pending(self, cdn: int, search: AttemptFilter, by: GroupBy, *, top: int | None) -> PendingGroups:
        found: PendingGroups = await self._ask("group_pending", cdn=cdn, search=search, by=by, top=top)
        return found

    async def totals_pending(self, cdn: int, search: AttemptFilter, *, most: int) -> PendingTotals:
        found: PendingTotals = await self._ask("totals_pending", cdn=cdn, search=search, most=most)
        return found

    async def newest_pending(self, cdn: int, search: AttemptFilter, *, seek: int = 0, limit: int) -> PendingAttempts:
        found: PendingAttempts = await self._ask("newest_pending", cdn=cdn, search=search, seek=seek, limit=limit)
        return found

    async def oldest_pending(self, cdn: int, search: AttemptFilter, *, limit: int) -> PendingRows:
        found: PendingRows = await self._ask("oldest_pending", cdn=cdn, search=search, limit=limit)
        return found

    async def directory(self) -> Directory:
        found: Directory = await self._ask("directory")
        return found

    async def create_account(self, account: NewAccount) -> Account:
        made: Account = await self._ask("create_account", account=account)
        return made

    async def set_account_active(self, cdn: int, *, active: bool) -> None:
        await self._ask("set_account_active", cdn=cdn, active=active)

    async def add_api_key(self, key: ApiKey) -> None:
        await self._ask("add_api_key", key=key)

    async def revoke_api_key(self, api_key: str) -> None:
        await self._ask("revoke_api_key", api_key=api_key)

    async def see_api_keys(self, used_s: dict[str, int]) -> None:
        await self._ask("see_api_keys", used_s=used_s)

    async def find_tickets(
        self, cdn: int, search: TicketFilter, *, before: int, limit: int, now_s: int
    ) -> list[Ticket]:
        found: list[Ticket] = await self._ask(
            "find_tickets", cdn=cdn, search=search, before=before, limit=limit, now_s=now_s
        )
        return found

    async def begin_import(self, cdn: int) -> int:
        number: int = await self._ask("begin_import", cdn=cdn)
        return number

    async def import_tickets(self, number: int, tickets: list[Ticket]) -> ImportedTickets:
        imported: ImportedTickets = await self._ask("import_tickets", number=number, tickets=tickets)
        return imported

    async def finish_import(self, number: int) -> None:
        await self._ask("finish_import", number=number)

    async def drop_imports(self, *, limit: int) -> int:
        dropped: int = await self._ask("drop_imports", limit=limit)
        return dropped

    async def count_tickets(self, cdn: int) -> int:
        counted: int = await self._ask("count_tickets", cdn=cdn)
        return counted

    async def create_edge(self, edge: Edge) -> Edge:
        made: Edge = await self._ask("create_edge", edge=edge)
        return made

    async def change_edge(self, edge: Edge, *, old_until_ms: int) -> None:
        await self._ask("change_edge", edge=edge, old_until_ms=old_until_ms)

    async def add_cookie_key(self, secret: Secret) -> None:
        await self._ask("add_cookie_key", secret=secret)

    async def live_sessions(self, *, after: int, limit: int) -> FoundSessions:
        found: FoundSessions = await self._ask("live_sessions", after=after, limit=limit)
        return found

    async def ended_sessions(self, cdn: int, *, from_ms: int, limit: int) -> FoundSessions:
        found: FoundSessions = await self._ask("ended_sessions", cdn=cdn, from_ms=from_ms, limit=limit)
        return found

    async def owed_sessions(self, *, after: int, limit: int) -> FoundSessions:
        found: FoundSessions = await self._ask("owed_sessions", after=after, limit=limit)
        return found

    async def prune_sessions(self, *, before_ms: int, limit: int) -> int:
        pruned: int = await self._ask("prune_sessions", before_ms=before_ms, limit=limit)
        return pruned

    async def forget(self, *, before_ms: int) -> None:
        await self._ask("forget", before_ms=before_ms)

    async def delete_forgotten(self, *, limit: int) -> int:
        deleted: int = await self._ask("delete_forgotten", limit=limit)
        return deleted

    async def release_blocks(self, *, upto: int) -> None:
        await self._ask("release_blocks", upto=upto)

    async def anonymise(self, *, before_ms: int) -> None:
        await self._ask("anonymise", before_ms=before_ms)

    async def anonymise_rows(self, *, limit: int) -> int:
        changed: int = await self._ask("anonymise_rows", limit=limit)
        return changed

    async def anonymise_blocks(self, digests: dict[int, str]) -> None:
        await self._ask("anonymise_blocks", digests=digests)

    async def anonymise_sessions(self, *, before_ms: int, limit: int) -> int:
        changed: int = await self._ask("anonymise_sessions", before_ms=before_ms, limit=limit)
        return changed

    async def next_block(self, *, now_ms: int) -> Block | None:
        block: Block | None = await self._ask("next_block", now_ms=now_ms)
        return block

    async def block_rows(self, block: Block) -> bytes:
        rows: bytes = await self._ask("block_rows", block=block)
        return rows

    async def write_rows(self, block: Block, file: str) -> None:
        await self._ask("write_rows", block=block, file=file)

    async def mark_shipped(self, block: Block) -> None:
        await self._ask("mark_shipped", block=block)

    async def delete_shipped(self, *, limit: int, upto: int = INTEGER_MAX) -> int:
        deleted: int = await self._ask("delete_shipped", limit=limit, upto=upto)
        return deleted

    async def blocks(self) -> list[Block]:
        found: list[Block] = await self._ask("blocks")
        return found

    async def stats(self) -> LedgerStats:
        found: LedgerStats = await self._ask("stats")
        return found

    async def tally(self) -> LedgerTally:
        found: LedgerTally = await self._ask("tally")
        return found

    async def be_ready(self) -> None:
        await self._ask("be_ready")

    async def is_demo(self) -> bool:
        found: bool = await self._ask("is_demo")
        return found

    async def check(self, *, quick: bool) -> list[str]:
        faults: list[str] = await self._ask("check", quick=quick)
        return faults

    async def copy_to(self, file: str) -> LedgerStats:
        copied: LedgerStats = await self._ask("copy_to", file=file)
        return copied

    async def set_indexes(self, *, wanted: bool) -> None:
        await self._ask("set_indexes", wanted=wanted)
