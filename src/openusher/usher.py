"""The application: one method a use case. What web and cli call; how ledger, gate, shipper and log are put together."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable

from msgspec.structs import replace

from openusher.attemptlog.base import AttemptLog
from openusher.backup.staging import Staging
from openusher.connecting import Connecting
from openusher.consistency import check_log
from openusher.errors import (
    Busy,
    CommitUnknown,
    LogUnavailable,
    StoreError,
    UnknownTicket,
)
from openusher.exporting import Exporting
from openusher.gate import Gate, GateTally
from openusher.importing import Importing
from openusher.keptcounts import KEPT_COUNTS
from openusher.kepttotals import KEPT_TOTALS_BYTES
from openusher.ledger.base import Issue, Ledger, LedgerStats, LedgerTally, PayKicks, Revoke, SeeSessions
from openusher.livesession import Live
from openusher.logs import event_log
from openusher.model.account import Secret
from openusher.model.attempt import AttemptRequest, Decision
from openusher.model.limits import INTEGER_MAX
from openusher.model.session import SESSION_LIMITS, EndedBy, Session, SessionFilter, SessionLimits, Watched
from openusher.model.ticket import NewTicket, Ticket, TicketFilter
from openusher.pulse import Pulse
from openusher.reaper import Ages, Reaper, ReapStep
from openusher.searching import COUNT_WAIT_S_MAX, Searching
from openusher.sessionbook import SessionBook
from openusher.sevu.dates import format_instant
from openusher.shipper import Shipper
from openusher.tailing import Tailing
from openusher.tenants import Credentials as Credentials
from openusher.tenants import Tenants
from openusher.watching import Watching

# A clock that is put right in small steps is no fault.
_CLOCK_AHEAD_S_MAX = 60
# Between two tries at ending sessions that nobody may ask about any more.
_END_AGAIN_S = 1.0

log = event_log()


class Usher(Tenants):
    """A node's use cases. `start` before any, `close` after all.

    A count waits up to `count_wait_s_max` for a log process that restarts, or is verified, rather than fail.
    """

    # Set where the node has a data folder.
    staging: Staging

    def __init__(
        self,
        ledger: Ledger,
        attempt_log: AttemptLog,
        gate: Gate,
        shipper: Shipper,
        *,
        wall_ms: Callable[[], int],
        session_limits: SessionLimits = SESSION_LIMITS,
        count_wait_s_max: float = COUNT_WAIT_S_MAX,
        kept_counts: int = KEPT_COUNTS,
        kept_totals_bytes_max: int = KEPT_TOTALS_BYTES,
        ages: Ages = Ages(),  # noqa: B008
        on_reap: Callable[[ReapStep], None] = lambda step: None,
    ) -> None:
        super().__init__(ledger, clock_ms=lambda: self.clock_ms)
        self._log = attempt_log
        self._gate = gate
        self.shipper = shipper
        self._wall_ms = wall_ms
        self._count_wait_s_max = count_wait_s_max
        self.searching = Searching(
            ledger,
            attempt_log,
            shipper,
            wait_s_max=count_wait_s_max,
            kept_counts=kept_counts,
            kept_totals_bytes_max=kept_totals_bytes_max,
        )
        self.tailing = Tailing(gate)
        self.exporting = Exporting(ledger, attempt_log, self.searching)
        self.reaper = Reaper(
            ledger,
            attempt_log,
            shipper,
            ages=ages,
            answered=self.searching.answered,
            wall_ms=wall_ms,
            on_step=on_reap,
        )
        self.watching = Watching(ledger, gate, SessionBook(session_limits), clock_ms=lambda: self.clock_ms)
        self.importing = Importing(ledger, clock_ms=lambda: self.clock_ms, takes_tickets=lambda: self.takes_starts)
        self.pulse = Pulse(gate.tally, self.watching.book)
        self.connecting = Connecting(self.watching, clock_ms=lambda: self.clock_ms)

    @property
    def session_resume_s(self) -> int:
        """For how long a session that fell silent can be woken."""
        return self.watching.book.limits.resume_ms // 1_000

    @property
    def takes_starts(self) -> bool:
        """False while the disk is nearly full: attempts and new tickets are then answered busy."""
        return self._gate.takes_starts

    @takes_starts.setter
    def takes_starts(self, value: bool) -> None:
        self._gate.takes_starts = value

    async def start(self, *, ships: bool = True) -> None:
        """Without `ships`, attempts stay where they are."""
        clock_ms = self._ledger.clock_ms
        self._know(await self._ledger.directory())
        if ships:
            self._gate.tally.last_attempt = (await self._ledger.stats()).last_attempt_id
            await self._load_sessions(clock_ms=clock_ms)
            if fault := self.clock_fault():
                log.error("clock.found_ahead", ahead_s=self.clock_ahead_s, fault=fault)
            await self.reaper.start()
            self.shipper.start()
            self.pulse.start()

    async def _load_sessions(self, *, clock_ms: int) -> None:
        if not self._directory.cookie_keys:
            await self._ledger.add_cookie_key(Secret(secrets.token_hex(32)))
            self._know(await self._ledger.directory())
        self.watching.book.sign_with(self._directory.cookie_keys)
        await self.watching.load(clock_ms=clock_ms, now_ms=self.clock_ms)
        self.watching.start()
        self.watching.run(self.write_key_uses_on())
        self.watching.run(self.importing.drop_on())
        if self._refused():
            self.watching.run(self._end_refused_on())

    def end_streams(self) -> None:
        """End what goes on for as long as somebody listens or reads: a node that stops has seconds."""
        self.tailing.close()
        self.exporting.close()

    async def close(self) -> None:
        """Answer what is waiting, then stop. Attempts not yet shipped stay in the ledger."""
        async with contextlib.AsyncExitStack() as closing:
            # The last is closed first; one that fails to must not leave the ledger open.
            for part in (self._ledger, self._log, self.shipper, self.reaper, self._gate, self.watching, self.pulse):
                closing.push_async_callback(part.close)
            with contextlib.suppress(StoreError):
                await self.write_key_uses()

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

    async def find_tickets(self, cdn: int, search: TicketFilter, *, before_key: str, limit: int) -> list[Ticket]:
        """Up to `limit` tickets of an account that match, the newest first; with `before_key` those older than that
        one. Raises UnknownTicket for it, Busy and the ledger's errors."""
        before = (await self.ticket(cdn, before_key)).number if before_key else INTEGER_MAX
        now_s = self.clock_ms // 1_000
        return await self._ledger.find_tickets(cdn, search, before=before, limit=limit, now_s=now_s)

    async def count_tickets(self, cdn: int) -> int:
        """How many an account has, whatever has become of them. Raises Busy and the ledger's errors."""
        return await self._ledger.count_tickets(cdn)

    async def revoke_ticket(self, cdn: int, key: str) -> Ticket:
        """Revoke for ever; one already revoked is returned as it is. Raises UnknownTicket."""
        await self.watching.before_revoking(cdn, key)
        try:
            ticket = await self._gate.revoke(Revoke(cdn=cdn, key=key))
        except CommitUnknown:
            self.watching.be_sure()
            raise
        self.watching.book.ticket_changed(ticket)
        self.watching.owes.set()
        return ticket

    # Attempts

    def authorize(self, request: AttemptRequest) -> asyncio.Future[Decision]:
        """Decide whether a video may start, and record the attempt. Raises AttemptIdReused, Busy."""
        deciding = self._gate.decide(request)
        if self.watching.book.has_sessions_of(request.cdn, request.key):
            deciding.add_done_callback(lambda done: self.watching.decided(request, done))
        return deciding

    # Sessions

    def sessions(self, cdn: int, search: SessionFilter) -> list[Watched]:
        """The account's live sessions that match, newest first."""
        names = {edge.number: edge.name for edge in self.edges()}
        book, now_ms = self.watching.book, self.clock_ms
        return [
            Watched(
                session=live.session,
                ticket=live.ticket,
                edge=names.get(live.session.edge, ""),
                seen_ms=live.seen_at(now_ms),
                watched_ms=live.watched_at(now_ms),
                is_asleep=now_ms - live.seen_at(now_ms) >= book.limits.idle_ms,
            )
            for live in book.find(cdn, search)
            if not book.is_over(live, now_ms=now_ms)
        ]

    async def ended_sessions(self, cdn: int, *, from_ms: int, limit: int) -> list[Watched]:
        """The account's sessions that ended since, the last ended first. Raises CountUnavailable, Busy."""
        found = await self._ledger.ended_sessions(cdn, from_ms=from_ms, limit=limit)
        tickets = {ticket.number: ticket for ticket in found.tickets}
        names = {edge.number: edge.name for edge in self.edges()}
        return [
            Watched(
                session=session,
                ticket=tickets[session.ticket],
                edge=names.get(session.edge, ""),
                seen_ms=session.seen_ms,
                watched_ms=session.watched_ms,
                is_asleep=False,
            )
            for session in found.sessions
        ]

    async def rotate_cookie_key(self) -> None:
        """Sign cookies by a new key; those that older ones signed stay good, so that nobody is logged out."""
        key = Secret(secrets.token_hex(32))
        await self._change(
            lambda: self._ledger.add_cookie_key(key),
            lambda directory, _: replace(directory, cookie_keys=[key, *directory.cookie_keys]),
        )
        self.watching.book.sign_with(self._directory.cookie_keys)

    async def kick(self, cdn: int, search: SessionFilter) -> int:
        """End the account's live sessions that match, and refuse their tickets for a while where they were used.
        Returns how many there were. Raises Busy and the ledger's errors."""
        kicked = 0
        # Starts that were under way have opened theirs meanwhile; they are refused from now on.
        book = self.watching.book
        while lives := [each for each in book.find(cdn, search) if not book.is_over(each, now_ms=self.clock_ms)]:
            await self.watching.kick(lives)
            kicked += len(lives)
        return kicked

    async def end_refused(self) -> int:
        """See `Tenants`."""
        try:
            return await self._end_refused()
        except StoreError:
            self.watching.run(self._end_refused_on())
            raise

    async def _end_refused_on(self) -> None:
        while True:
            try:
                await self._end_refused()
                return
            except StoreError as error:
                log.warning("sessions.not_ended", error=error)
                await asyncio.sleep(_END_AGAIN_S)

    async def _end_refused(self) -> int:
        # Starts that were asked for before have opened theirs once this is answered.
        await self._gate.see_to(SeeSessions([]))
        ended = 0
        for by, lives in self._refused().items():
            await self.watching.end(lives, by)
            ended += len(lives)
        return ended

    def _refused(self) -> dict[EndedBy, list[Live]]:
        """The live sessions that nobody may ask about any more, by what ends them."""
        directory = self._directory
        revoked = {edge.number for edge in directory.edges.values() if edge.revoked_s}
        disabled = {account.cdn for account in directory.accounts.values() if not account.active}
        found: dict[EndedBy, list[Live]] = {}
        for live in self.watching.book.all() if revoked or disabled else ():
            if live.session.edge in revoked:
                found.setdefault(EndedBy.EDGE_REVOKED, []).append(live)
            elif live.session.cdn in disabled:
                found.setdefault(EndedBy.DISABLED, []).append(live)
        return found

    async def owed_kicks(self, *, after: int, limit: int) -> list[Session]:
        """Sessions that were ended here and whose media servers are to drop their connections, numbered above `after`,
        in order of their numbers. Raises Busy and the ledger's errors."""
        return (await self._ledger.owed_sessions(after=after, limit=limit)).sessions

    async def pay_kicks(self, numbers: list[int]) -> None:
        """They have. Raises Busy and the ledger's errors."""
        if numbers:
            await self._gate.see_to(PayKicks(numbers))

    # The node

    @property
    def tally(self) -> GateTally:
        """What was decided since the node is up."""
        return self._gate.tally

    @property
    def waiting(self) -> int:
        """How many operations wait for the next batch."""
        return self._gate.waiting

    @property
    def attempt_log(self) -> AttemptLog:
        return self._log

    async def ledger_tally(self) -> LedgerTally:
        """What the ledger has done since the node is up. Raises LedgerUnavailable."""
        return await self._ledger.tally()

    async def stats(self) -> LedgerStats:
        return await self._ledger.stats()

    async def check(self, *, quick: bool = False) -> list[str]:
        """What is wrong with ledger and log, a sentence each with its repair; empty when all is sound."""
        faults = await self._ledger.check(quick=quick)
        faults.extend(filter(None, [self.clock_fault()]))
        return [*faults, *(await check_log(self._ledger, self._log, quick=quick))]

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
