"""The application: one method a use case. What web and cli call; how ledger, gate, shipper and log are put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import string
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from openusher.attemptlog.base import AttemptLog, GroupedLog
from openusher.consistency import find_log_faults
from openusher.errors import (
    Busy,
    CountUnavailable,
    InvalidParameter,
    LogDamaged,
    LogUnavailable,
    NotAuthorised,
    StoreError,
    UnknownTicket,
)
from openusher.gate import Gate
from openusher.ledger.base import Directory, Issue, Ledger, LedgerStats, NewAccount, PendingGroups, Revoke
from openusher.model.account import Account, ApiKey, Edge, Secret, is_published, token_digest
from openusher.model.attempt import Attempt, AttemptRequest, Decision
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, in_order
from openusher.model.ticket import NewTicket, Ticket
from openusher.sevu.dates import format_instant
from openusher.shipper import Shipper

T = TypeVar("T")

COUNT_WAIT_S_MAX = 5.0
_COUNT_RETRY_S = 0.2
_READ_AGAIN_TIMES = 5
_READ_AGAIN_S = 0.1
# A clock that is put right in small steps is no fault.
_CLOCK_AHEAD_S_MAX = 60
_KEY_ALPHABET = string.ascii_uppercase + string.digits

log = logging.getLogger(__name__)


class Grouped(msgspec.Struct, frozen=True):
    """A page of groups, largest first; how many groups there are, and how many attempts, in all."""

    groups: list[Group]
    group_count: int
    total: int


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher needs once: shown when the account is made, and never again."""

    account: Account
    api_key: str
    secret: Secret
    edge_token: Secret


class Usher:
    """A node's use cases. `start` before any, `close` after all.

    A count waits up to `count_wait_s_max` for a log process that restarts, or is verified, rather than fail.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt_log: AttemptLog,
        gate: Gate,
        shipper: Shipper,
        *,
        wall_ms: Callable[[], int],
        count_wait_s_max: float = COUNT_WAIT_S_MAX,
    ) -> None:
        self._ledger = ledger
        self._log = attempt_log
        self._gate = gate
        self.shipper = shipper
        self._wall_ms = wall_ms
        self._count_wait_s_max = count_wait_s_max
        self._directory = Directory(accounts={}, api_keys={}, edge_by_digest={})
        self._changing_accounts = asyncio.Lock()

    @property
    def takes_starts(self) -> bool:
        """False while the disk is nearly full: attempts and new tickets are then answered busy."""
        return self._gate.takes_starts

    @takes_starts.setter
    def takes_starts(self, value: bool) -> None:
        self._gate.takes_starts = value

    async def start(self, *, ships: bool = True) -> None:
        """Without `ships`, attempts stay where they are."""
        self._directory = await self._ledger.directory()
        if ships:
            if fault := self.clock_fault():
                log.error("clock.ahead: %s", fault)
            self.shipper.start()

    async def close(self) -> None:
        """Answer what is waiting, then stop. Attempts not yet shipped stay in the ledger."""
        async with contextlib.AsyncExitStack() as closing:
            # The last is closed first; one that fails to must not leave the ledger open.
            for part in (self._ledger, self._log, self.shipper, self._gate):
                closing.push_async_callback(part.close)

    # Who asks

    def api_key(self, name: str, *, cdn: int) -> ApiKey:
        """The key by which account `cdn` signs. Raises NotAuthorised: unknown, another account's, or disabled."""
        key = self._directory.api_keys.get(name)
        if key is None or key.cdn != cdn or not self._directory.accounts[cdn].active:
            raise NotAuthorised("no such API key in this account")
        return key

    def edge(self, token: str) -> Edge:
        """The edge that this token lets ask. Raises NotAuthorised: unknown, or its account is disabled."""
        edge = self._directory.edge_by_digest.get(token_digest(token))
        if edge is None or not self._directory.accounts[edge.cdn].active:
            raise NotAuthorised("no such edge token")
        return edge

    # What time it is

    @property
    def wall_ms(self) -> int:
        """The wall clock in unix milliseconds. It is the time that callers have too: what they sign is compared with
        it, and "an hour ago" is counted from it."""
        return self._wall_ms()

    @property
    def clock_ms(self) -> int:
        """As of when tickets are decided: the wall clock, or the largest one ever seen where that is later. A ticket's
        life is counted from it, or one for ten minutes could be dead from the first."""
        return max(self._wall_ms(), self._ledger.clock_ms)

    @property
    def clock_ahead_s(self) -> int:
        """How far the largest clock ever seen is ahead of the wall clock, in whole seconds; 0 where it is not."""
        return max(0, self._ledger.clock_ms - self._wall_ms()) // 1_000

    def clock_fault(self) -> str:
        """What it means that the ledger has seen a clock so far ahead, and what to do; empty while it is not."""
        if self.clock_ahead_s <= _CLOCK_AHEAD_S_MAX:
            return ""
        return (
            f"the ledger's clock is {self.clock_ahead_s} s ahead of this machine's: decisions are made as of "
            f"{format_instant(self.clock_ms // 1_000)} UTC, so tickets expire that much early, and commands that "
            "create are refused with code 2013 while it is more than a day; set the machine's clock right (NTP), and "
            "it passes once that has caught up"
        )

    # Tickets

    async def issue_ticket(
        self, ticket: NewTicket, *, api_key: str = "", replay_digest: str = "", replay_until_ms: int = 0
    ) -> Ticket:
        """Create a ticket, whose texts have been checked.

        Raises ReplayedCommand for a signature that has created one, AlreadyExists for a key that is taken, Busy.
        """
        issue = Issue(ticket=ticket, api_key=api_key, replay_digest=replay_digest, replay_until_ms=replay_until_ms)
        return await self._gate.issue(issue)

    async def ticket(self, cdn: int, key: str) -> Ticket:
        """A ticket as it stands. Raises UnknownTicket."""
        ticket = await self._ledger.ticket(cdn, key)
        if ticket is None:
            raise UnknownTicket("key: this account has no such ticket")
        return ticket

    async def revoke_ticket(self, cdn: int, key: str) -> Ticket:
        """Revoke for ever; one already revoked is returned as it is. Raises UnknownTicket."""
        return await self._gate.revoke(Revoke(cdn=cdn, key=key))

    # Attempts

    def authorize(self, request: AttemptRequest) -> asyncio.Future[Decision]:
        """Decide whether a video may start, and record the attempt. Raises AttemptIdReused, Busy."""
        return self._gate.decide(request)

    async def count_attempts(self, cdn: int, search: AttemptFilter) -> int:
        """Count matching attempts, exactly, every answered one included.

        Raises CountUnavailable when no exact number can be given.
        """
        # The ledger first: a block that moves in between is then counted once, in the ledger or below the horizon.
        pending = await self._ledger.count_pending(cdn, search)
        horizon = pending.horizon
        return pending.count + await self._from_log(horizon, lambda: self._log.count(cdn, search, horizon), empty=0)

    async def group_attempts(
        self, cdn: int, search: AttemptFilter, by: GroupBy, *, seek: int = 0, limit: int
    ) -> Grouped:
        """Count matching attempts by group and return `limit` groups behind the first `seek`; raises as a count."""
        # One reading of the ledger gives groups and sum, so that all groups add up to the count while attempts arrive.
        top = seek + limit
        pending = await self._ledger.group_pending(cdn, search, by, top=None if self._log.ships else top)
        horizon = pending.horizon
        in_log = await self._from_log(horizon, lambda: self._log.count(cdn, search, horizon), empty=0)
        if in_log == 0:
            return Grouped(pending.groups[seek:top], pending.group_count, pending.attempts)
        groups, group_count = await self._merge(cdn, search, by, pending, top=top)
        return Grouped(groups[seek:top], group_count, pending.attempts + in_log)

    async def _merge(
        self, cdn: int, search: AttemptFilter, by: GroupBy, pending: PendingGroups, *, top: int
    ) -> tuple[list[Group], int]:
        """The largest groups of ledger and log together. A group with pending attempts can stand anywhere in the
        log's order, so their counts are asked for by name, and the log's own list is longer by as many."""
        counts: dict[GroupValue, int] = {group.value: group.count for group in pending.groups}
        horizon = pending.horizon
        grouped = await self._from_log(
            horizon,
            lambda: self._log.groups(cdn, search, by, horizon, top=top + len(counts)),
            empty=GroupedLog([], 0),
        )
        nothing: dict[GroupValue, int] = {}
        in_log = await self._from_log(
            horizon,
            lambda: self._log.counts_of(cdn, search, by, horizon, values=list(counts)),
            empty=nothing,
        )
        merged = [Group(value, count + in_log.get(value, 0)) for value, count in counts.items()]
        merged.extend(group for group in grouped.groups if group.value not in counts)
        only_pending = sum(1 for value in counts if value not in in_log)
        return in_order(merged), grouped.total + only_pending

    async def list_attempts(self, cdn: int, search: AttemptFilter, *, seek: int, limit: int) -> list[Attempt]:
        """Matching attempts, newest first, `limit` of them behind the first `seek`; raises as a count."""
        pending = await self._ledger.newest_pending(cdn, search, seek=seek, limit=limit)
        if pending.matching is None:
            return pending.attempts
        # Everything pending is newer than everything shipped: ids rise, and blocks are shipped in order.
        seek_in_log = max(0, seek - pending.matching)
        missing = limit - len(pending.attempts)
        nothing: list[Attempt] = []
        return pending.attempts + await self._from_log(
            pending.horizon,
            lambda: self._log.newest(cdn, search, pending.horizon, seek=seek_in_log, limit=missing),
            empty=nothing,
        )

    async def _from_log(self, horizon: Horizon, ask: Callable[[], Awaitable[T]], *, empty: T) -> T:
        if not self._log.ships or horizon.upto == 0:
            return empty
        deadline = time.monotonic() + self._count_wait_s_max
        while True:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self.shipper.be_verified()
                start = self._log.starts
                answer = await ask()
                if self._log.starts == start:
                    return answer
            except TimeoutError:
                raise CountUnavailable("the attempt log is still being verified; try again in a minute") from None
            except LogUnavailable as error:
                if time.monotonic() + _COUNT_RETRY_S >= deadline:
                    raise CountUnavailable("the attempt log does not answer; try again in a minute") from error
                await asyncio.sleep(_COUNT_RETRY_S)
            except LogDamaged as error:
                raise CountUnavailable(f"{error}; run usher check") from error

    # Accounts

    async def create_account(
        self, name: str, *, cdn: int = 0, api_key: str = "", secret: Secret | None = None
    ) -> Credentials:
        """Make an account with one API key and one edge; what is not given is drawn at random.

        Raises AlreadyExists for a name, cdn or API key that is taken.
        """
        if secret is not None and is_published(secret) and not await self._ledger.is_demo():
            raise InvalidParameter("secret", "is the one printed in ScaleEngine's documentation; take your own")
        secret = secret or Secret(secrets.token_hex(32))
        api_key = api_key or "".join(secrets.choice(_KEY_ALPHABET) for _ in range(32))
        token = Secret(secrets.token_urlsafe(32))
        wanted = NewAccount(
            name=name,
            cdn=cdn,
            key=ApiKey(api_key=api_key, cdn=cdn, secret=secret),
            edge_name="default",
            edge_token_digest=token_digest(token.reveal()),
        )
        async with self._changing_accounts:
            account = await self._ledger.create_account(wanted)
            await self._read_directory(account, ApiKey(api_key=api_key, cdn=account.cdn, secret=secret))
        return Credentials(account=account, api_key=api_key, secret=secret, edge_token=token)

    async def set_account_active(self, cdn: int, *, active: bool) -> None:
        """Disable or enable an account, at once. Raises NotAuthorised for an unknown cdn."""
        async with self._changing_accounts:
            await self._ledger.set_account_active(cdn, active=active)
            account = self._directory.accounts.get(cdn)
            await self._read_directory(msgspec.structs.replace(account, active=active) if account else None)

    def accounts(self) -> list[Account]:
        return sorted(self._directory.accounts.values(), key=lambda account: account.cdn)

    async def add_api_key(self, cdn: int) -> ApiKey:
        """A second key for an account, so that a site can change keys without a gap. Raises NotAuthorised."""
        if cdn not in self._directory.accounts:
            raise NotAuthorised(f"there is no account with cdn {cdn}")
        name = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(32))
        key = ApiKey(api_key=name, cdn=cdn, secret=Secret(secrets.token_hex(32)))
        async with self._changing_accounts:
            await self._ledger.add_api_key(key)
            await self._read_directory(None, key)
        return key

    async def _read_directory(self, account: Account | None, key: ApiKey | None = None) -> None:
        """After a commit, under its lock: a reading begun before another's commit must not be the last one kept.

        What was committed holds, so it is known here even where the ledger cannot be read: then as `account` and
        `key`. A new edge has its number from the ledger, and is known with the next reading.
        """
        for _ in range(_READ_AGAIN_TIMES):
            try:
                self._directory = await self._ledger.directory()
                return
            except StoreError as error:
                log.warning("directory.unread: %s", error)
                await asyncio.sleep(_READ_AGAIN_S)
        known = self._directory
        self._directory = Directory(
            accounts={**known.accounts, account.cdn: account} if account else known.accounts,
            api_keys={**known.api_keys, key.api_key: key} if key else known.api_keys,
            edge_by_digest=known.edge_by_digest,
        )

    # The node

    async def stats(self) -> LedgerStats:
        return await self._ledger.stats()

    async def check(self, *, quick: bool = False) -> list[str]:
        """What is wrong with ledger and log, a sentence each with its repair; empty when all is sound."""
        faults = await self._ledger.check(quick=quick)
        faults.extend(filter(None, [self.clock_fault()]))
        if self._log.ships:
            try:
                found = await find_log_faults(self._ledger, self._log, quick=quick)
                faults.extend(str(fault) for fault in found)
            except LogDamaged as error:
                faults.append(f"the attempt log cannot be read: {error}; stop the node and restore its log folder")
        return faults

    async def check_ready(self) -> None:
        """Return if decisions can be made and counts given; raise the StoreError that says why not."""
        if not self.takes_starts:
            raise Busy("the disk is nearly full")
        await self._ledger.be_ready()
        try:
            async with asyncio.timeout(self._count_wait_s_max):
                await self.shipper.be_verified()
        except TimeoutError:
            raise LogUnavailable("the attempt log is still being verified") from None


def wall_ms() -> int:
    """The wall clock in unix milliseconds."""
    return time.time_ns() // 1_000_000
