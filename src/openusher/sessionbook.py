"""The live sessions as a node knows them in memory, from which it answers follow-ups without a query or a write.

The ledger has each session and how it ended; when it was seen last goes there now and then, by `take_seen`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from enum import StrEnum
from hashlib import sha256
from sys import intern

import msgspec
from msgspec.structs import force_setattr

from openusher.ledger.base import SeeSessions
from openusher.livesession import ADDRESSES_WINDOW_MS, Live, OfTicket
from openusher.model.account import Edge, Secret
from openusher.model.iprule import parse_ip_rule
from openusher.model.session import (
    EndedBy,
    FoundSessions,
    Session,
    SessionFilter,
    SessionLimits,
    Started,
    taking_place,
)
from openusher.model.ticket import Ticket
from openusher.rules import has_expired

# How often a session's `seen_ms` is written while it goes on.
_SEEN_EVERY_MS = 30_000
_SEEN_ROWS_MAX = 500
# They are written by runs of numbers, which lie in a page or three of the ledger: a page for each would be most of what
# the ledger writes.
_RUN_SESSIONS = 32
_SIGNATURE_CHARACTERS = 32
# Of more connections it is not remembered that their sessions have ended.
_GONE_MAX = 10_000


class Refusal(StrEnum):
    """Why a follow-up is not allowed. No attempt is recorded, so these are no reasons of one."""

    NONE = ""
    NO_SESSION = "No Session"
    ENDED = "Session Ended"
    EXPIRED = "Expiration date surpassed"
    ADDRESS = "Invalid IP Address"
    ADDRESSES = "Too many addresses"
    NO_PLACE = "Too many sessions"


# Looked up once: these are the hottest lines of all.
_NONE = Refusal.NONE


class SessionBook:
    """All live sessions. To be used from one event loop; every `now_ms` is the clock that decides.

    With many sessions a follow-up finds its own in no cache of the processor, and waits for each place in memory that
    it reads: so a viewer's name is one text, and there are dictionaries only where there are several of something.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._keys: Sequence[Secret] = ()
        self._by_id: dict[str, Live] = {}
        # The one session of the same ticket from the same address with the same player, or several by number: a whole
        # event may watch with one ticket, and be over at once.
        self._by_viewer: dict[str, Live | dict[int, Live]] = {}
        self._by_key: dict[tuple[int, str], OfTicket] = {}
        self._by_number: dict[int, Live] = {}
        self._by_client: dict[tuple[int, str], dict[int, Live]] = {}
        # Those whose `seen_ms` is to be written, by run and number.
        self._seen: dict[int, dict[int, Live]] = {}
        # In the order in which they ended.
        self._gone: dict[tuple[int, str], None] = {}
        # How many follow-ups were answered so.
        self.follow_ups = dict.fromkeys(Refusal, 0)

    @property
    def limits(self) -> SessionLimits:
        return self._limits

    def __len__(self) -> int:
        return len(self._by_id)

    def load(self, found: FoundSessions, *, clock_ms: int, now_ms: int) -> None:
        """Take over what the ledger holds at a start. `clock_ms` is the last clock that it had seen: what has passed
        since was the node's own silence, not the viewers'."""
        tickets = {ticket.number: ticket for ticket in found.tickets}
        for session in found.sessions:
            silent_ms = max(0, clock_ms - session.seen_ms)
            seen_ms = session.seen_ms if session.is_held_open(session.seen_ms) else now_ms - silent_ms
            live = self._add(session, tickets[session.ticket], seen_ms=seen_ms)
            # Else the next start would take the downtime before this one for silence.
            if live.seen_ms > session.seen_ms:
                self._is_to_be_written(live)

    def sign_with(self, keys: Sequence[Secret]) -> None:
        """Sign cookies by the first of `keys` from now on; those that the others signed stay good."""
        self._keys = keys

    @property
    def last_number(self) -> int:
        """The largest number of a session here."""
        return max(self._by_number, default=0)

    def reconcile(self, found: FoundSessions, *, upto: int) -> None:
        """After a commit of unknown outcome: of the sessions up to that number only those that the ledger has found
        live on, by their tickets as they stand there. Later ones it need not have known when it was asked."""
        living = {session.number for session in found.sessions}
        for live in self.all():
            if live.session.number <= upto and live.session.number not in living:
                self._remove(live)
        for ticket in found.tickets:
            self.ticket_changed(ticket)

    # Who is it?

    def started(self, started: Started) -> Live:
        """The session of an accepted start."""
        live = self._by_id.get(started.session.id)
        if live is None:
            live = self._add(started.session, started.ticket, seen_ms=started.session.seen_ms)
            live.address = live.session.ip
        elif live.session.client != started.session.client:
            self._forget_client(live)
            live.session = started.session
            self._by_client.setdefault(_client(live), {})[live.session.number] = live
        self.ticket_changed(started.ticket)
        self.end_numbered(started.replaced)
        return live

    def seen_of(self, edge: Edge, key: str) -> tuple[tuple[int, int], ...]:
        """Number and `seen_ms` of the sessions of a ticket that limits them."""
        of_ticket = self._by_key.get((edge.cdn, key))
        if of_ticket is None or not of_ticket.ticket.max_sessions:
            return ()
        return tuple((number, live.seen_ms) for number, live in of_ticket.lives.items())

    def by_cookie(self, edge: Edge, cookie: str) -> Live | None:
        """The session that a cookie of this edge names."""
        name, _, signature = cookie.partition(".")
        live = self._by_id.get(name)
        if live is None or live.session.edge != edge.number or len(signature) != _SIGNATURE_CHARACTERS:
            return None
        if live.cookie and hmac.compare_digest(live.cookie.encode(), cookie.encode()):
            return live
        signatures = [_signature(key, live.session) for key in self._keys]
        is_ours = any(hmac.compare_digest(each.encode(), signature.encode()) for each in signatures)
        return live if is_ours else None

    def by_ticket(self, edge: Edge, key: str, password: str, ip: int, agent: str) -> Iterable[Live]:
        """The sessions of this ticket, address and player."""
        found = self._by_viewer.get(_viewer(edge.number, key, password, ip, agent))
        if found is None:
            return ()
        return (found,) if isinstance(found, Live) else found.values()

    def by_id(self, edge: Edge, name: str) -> Live | None:
        """The session of that name, where it is this edge's."""
        live = self._by_id.get(name)
        return live if live is not None and live.session.edge == edge.number else None

    def knows(self, number: int) -> bool:
        return number in self._by_number

    def by_client(self, edge: Edge, client: str) -> list[Live]:
        """The sessions that a media server knows by this name."""
        return list(self._by_client.get((edge.number, client), {}).values())

    def has_ended(self, edge: Edge, client: str) -> bool:
        """Whether a session that a media server knew by this name has ended lately, and none goes on."""
        name = (edge.number, client)
        return name in self._gone and name not in self._by_client

    def cookie_of(self, live: Live) -> str:
        """The text that names the session in a cookie."""
        if not live.cookie:
            live.cookie = f"{live.session.id}.{_signature(self._keys[0], live.session)}"
        return live.cookie

    # May it go on?

    def is_over(self, live: Live, *, now_ms: int) -> bool:
        """Whether nobody can wake it any more, though it may not have been ended yet."""
        if has_expired(live.ticket, now_ms=now_ms):
            return True
        if live.is_held_open:
            return now_ms - live.session.started_ms > self._limits.connection_ms
        return now_ms - live.seen_ms > self._limits.resume_ms

    def follow(self, live: Live, ip: int, *, now_ms: int) -> Refusal:
        """Whether a follow-up from `ip` is allowed; if so, it was seen."""
        ticket = live.ticket
        if has_expired(ticket, now_ms=now_ms):
            return Refusal.EXPIRED
        silent_ms = now_ms - live.seen_ms
        if silent_ms > self._limits.resume_ms and self.is_over(live, now_ms=now_ms):
            return Refusal.ENDED
        if ticket.max_sessions and not self._may_take_place(live, now_ms):
            return Refusal.NO_PLACE
        if ip != live.address or silent_ms >= ADDRESSES_WINDOW_MS:
            refusal = self._move(live, ip, now_ms)
            if refusal is not _NONE:
                return refusal
        if silent_ms > 0:
            # Who was away did not watch.
            if silent_ms < self._limits.idle_ms:
                live.watched_ms += silent_ms
            live.seen_ms = now_ms
            if now_ms - live.written_ms >= _SEEN_EVERY_MS:
                self._is_to_be_written(live)
        return _NONE

    def _may_take_place(self, live: Live, now_ms: int) -> bool:
        """Whether a session of a ticket that limits them goes on, or has room to wake."""
        limits = self._limits
        if now_ms - live.seen_ms < limits.hop_ms:
            return True
        seen = [(each.session, each.seen_ms) for each in live.of_ticket.lives.values()]
        there = taking_place(seen, idle_ms=limits.idle_ms, hop_ms=limits.hop_ms, now_ms=now_ms)
        return live.session in there or len(there) < live.ticket.max_sessions

    def _move(self, live: Live, ip: int, now_ms: int) -> Refusal:
        """Whether a session may be used from another address than last, or from the last after long."""
        lately = live.addresses(now_ms)
        if ip not in lately:
            if not parse_ip_rule(live.ticket.ip).admits(ip):
                return Refusal.ADDRESS
            if len(lately) >= self._limits.addresses_max:
                return Refusal.ADDRESSES
        live.move_to(ip, lately)
        return _NONE

    # What becomes of it

    def ticket_changed(self, ticket: Ticket) -> None:
        """Sessions go by the ticket as it stands; those of a revoked one are over."""
        of_ticket = self._by_key.get((ticket.cdn, ticket.key))
        if of_ticket is not None:
            of_ticket.ticket = ticket
            if not ticket.active:
                self.end(of_ticket.lives.values())

    def has_sessions_of(self, cdn: int, key: str) -> bool:
        return (cdn, key) in self._by_key

    def bound(self, cdn: int, key: str, ip_rule: str) -> None:
        """A decision without a session has bound a slot of the ticket's addresses."""
        of_ticket = self._by_key.get((cdn, key))
        if of_ticket is not None:
            of_ticket.ticket = msgspec.structs.replace(of_ticket.ticket, ip=ip_rule)

    def end(self, lives: Iterable[Live]) -> None:
        """They are over; the ledger knows."""
        for live in list(lives):
            if live.session.id in self._by_id:
                self._remove(live)

    def end_numbered(self, numbers: Iterable[int]) -> None:
        self.end([self._by_number[number] for number in numbers if number in self._by_number])

    def overdue(self, lives: Iterable[Live], *, now_ms: int) -> dict[EndedBy, list[Live]]:
        """Those of `lives` that nobody can wake any more, by what ends them."""
        found: dict[EndedBy, list[Live]] = {EndedBy.EXPIRED: [], EndedBy.SILENCE: [], EndedBy.DURATION: []}
        for live in lives:
            if has_expired(live.ticket, now_ms=now_ms):
                found[EndedBy.EXPIRED].append(live)
            elif self.is_over(live, now_ms=now_ms):
                found[EndedBy.DURATION if live.is_held_open else EndedBy.SILENCE].append(live)
        return found

    def take_seen(self, *, unwritten: bool = False) -> SeeSessions | None:
        """What the ledger should know of sessions that were seen, some hundred at a time; None when that is nothing.
        With `unwritten`, of all that were seen since it was told last."""
        if unwritten and not self._seen:
            for live in self.all():
                if live.seen_ms > live.written_ms:
                    self._is_to_be_written(live)
        seen: list[tuple[int, int, int]] = []
        while self._seen and len(seen) < _SEEN_ROWS_MAX:
            _, run = self._seen.popitem()
            seen += ((number, live.seen_ms, live.watched_ms) for number, live in run.items())
        return SeeSessions(seen) if seen else None

    def _is_to_be_written(self, live: Live) -> None:
        number = live.session.number
        self._seen.setdefault(number // _RUN_SESSIONS, {})[number] = live

    def wrote(self, written: SeeSessions) -> None:
        """The ledger has what was taken."""
        for number, seen_ms, _ in written.seen:
            live = self._by_number.get(number)
            if live is not None:
                live.written_ms = seen_ms

    def find(self, cdn: int, search: SessionFilter) -> list[Live]:
        """The live sessions of an account that match, newest first."""
        lives: Iterable[Live] = self._by_id.values()
        if search.key is not None:
            of_ticket = self._by_key.get((cdn, search.key))
            lives = of_ticket.lives.values() if of_ticket is not None else ()
        found = [live for live in lives if live.session.cdn == cdn and search.means(live.session, live.ticket)]
        return sorted(found, key=lambda live: live.session.number, reverse=True)

    def all(self) -> list[Live]:
        return list(self._by_id.values())

    def _add(self, session: Session, ticket: Ticket, *, seen_ms: int) -> Live:
        of_ticket = self._by_key.setdefault((ticket.cdn, ticket.key), OfTicket(ticket))
        _share_words(session)
        live = Live(session, of_ticket, seen_ms=seen_ms)
        of_ticket.lives[session.number] = live
        viewer = _viewer_of(live)
        others = self._by_viewer.get(viewer)
        if others is None:
            self._by_viewer[viewer] = live
        elif isinstance(others, Live):
            self._by_viewer[viewer] = {others.session.number: others, session.number: live}
        else:
            others[session.number] = live
        self._by_id[session.id] = live
        self._by_number[session.number] = live
        if session.client:
            self._by_client.setdefault(_client(live), {})[session.number] = live
        return live

    def _remove(self, live: Live) -> None:
        number, ticket = live.session.number, live.ticket
        del self._by_id[live.session.id]
        del self._by_number[number]
        run = self._seen.get(number // _RUN_SESSIONS, {})
        if run.pop(number, None) is not None and not run:
            del self._seen[number // _RUN_SESSIONS]
        viewer = _viewer_of(live)
        of_viewer = self._by_viewer[viewer]
        if isinstance(of_viewer, dict):
            del of_viewer[number]
        if isinstance(of_viewer, Live) or not of_viewer:
            del self._by_viewer[viewer]
        del live.of_ticket.lives[number]
        if not live.of_ticket.lives:
            del self._by_key[ticket.cdn, ticket.key]
        if live.session.client:
            self._forget_client(live)
            self._gone[_client(live)] = None
            if len(self._gone) > _GONE_MAX:
                del self._gone[next(iter(self._gone))]

    def _forget_client(self, live: Live) -> None:
        lives = self._by_client[_client(live)]
        del lives[live.session.number]
        if not lives:
            del self._by_client[_client(live)]


def _viewer_of(live: Live) -> str:
    session, ticket = live.session, live.ticket
    return _viewer(session.edge, ticket.key, ticket.password, session.ip, session.user_agent)


def _viewer(edge: int, key: str, password: str, ip: int, agent: str) -> str:
    # With their lengths, since any of them may hold what stands between them.
    return f"{edge}.{ip}.{len(key)}.{len(password)}.{key}{password}{agent}"


def _share_words(session: Session) -> None:
    """Have the words that many sessions have in common in memory once."""
    for name in ("app", "appinst", "video", "base", "user_agent"):
        # Nobody else has it yet.
        force_setattr(session, name, intern(getattr(session, name)))


def _client(live: Live) -> tuple[int, str]:
    return (live.session.edge, live.session.client)


def _signature(key: Secret, session: Session) -> str:
    text = f"{session.cdn}.{session.edge}.{session.id}"
    return hmac.new(key.reveal().encode(), text.encode(), sha256).hexdigest()[:_SIGNATURE_CHARACTERS]
