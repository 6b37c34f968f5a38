"""Sessions: an accepted attempt that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from openusher.model.address import Net
from openusher.model.attempt import AttemptRequest, Decision, text_digest, user_of
from openusher.model.discreet import Discreet
from openusher.model.pattern import Pattern
from openusher.model.ticket import Ticket


class EndedBy(StrEnum):
    """What ended a session."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    SILENCE = "silence"
    KICKED = "kicked"
    REPLACED = "replaced"
    STOPPED = "stopped"
    DURATION = "duration"
    DISABLED = "disabled"
    EDGE_REVOKED = "edge_revoked"


# After these the server goes on sending until it is told to drop the connection.
OWED = frozenset(EndedBy) - {EndedBy.SILENCE, EndedBy.STOPPED}


# What the client of a session begins with that its server is yet to ask about again, by another name.
HALF = "~"


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Silent for `idle_ms` a session sleeps; for `resume_ms` it can be woken. In ten minutes it may be used from
    `addresses_max` addresses. Who goes to another video has left the one before after `hop_ms`; who is kicked cannot
    start for `hold_ms`. A connection that its server never asks about again may last for `connection_ms`. Ended
    sessions are kept for reports for `ended_kept_ms`."""

    idle_ms: int
    resume_ms: int
    addresses_max: int
    hop_ms: int
    hold_ms: int
    connection_ms: int
    ended_kept_ms: int


SESSION_LIMITS = SessionLimits(
    idle_ms=300_000,
    resume_ms=21_600_000,
    addresses_max=3,
    hop_ms=15_000,
    hold_ms=60_000,
    connection_ms=86_400_000,
    ended_kept_ms=30 * 86_400_000,
)


class SessionWish(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a start asks for beside its decision. `id` is the session's name if one is opened: random, since whoever
    knows it watches. `base` is what its files' paths begin with (pathmap.py). A session that has been silent for longer
    than `resume_ms` is not joined; one for longer than `idle_ms` takes no place under the ticket's `max_sessions`, and
    neither does one of the same viewer, who has gone to another video, after `hop_ms`. `seen` has the number and
    `seen_ms` of the ticket's sessions as the door knows them. A viewer whose session was replaced replaces
    nobody for `hold_ms`, or two of them would end each other in turn.

    Where a media server asks once for a whole connection, `client` is its name of that: only a repeat of the same
    question within `repeat_ms` joins, the sessions numbered `ends` are over whatever is decided, and the one numbered
    `takes_over` goes on as this client's if it is the same viewer's."""

    id: str
    base: str
    resume_ms: int
    idle_ms: int
    hop_ms: int
    hold_ms: int
    seen: tuple[tuple[int, int], ...] = ()
    client: str = ""
    repeat_ms: int = 0
    ends: tuple[int, ...] = ()
    takes_over: int = 0


class Session(msgspec.Struct, frozen=True, tag=True, array_like=True, kw_only=True):
    """A session as the ledger keeps it. Times are unix milliseconds; `ended_ms` 0: it lives. `seen_ms` and `watched_ms`
    may be half a minute behind what the door knows. `viewer` is a digest of who watches what through which edge;
    `client` is the media server's own name of a connection, empty where viewers ask for each file."""

    number: int
    id: str
    cdn: int
    edge: int
    ticket: int
    viewer: str
    app: str
    appinst: str
    video: str
    base: str
    ip: int
    user_agent: str
    attempt: int
    started_ms: int
    seen_ms: int
    watched_ms: int
    ended_ms: int
    ended_by: str
    client: str = ""

    @property
    def client_name(self) -> str:
        """The media server's own name of the connection."""
        return self.client.removeprefix(HALF)

    def is_held_open(self, seen_ms: int) -> bool:
        """Whether only its server can say when its viewer goes: of one that never asks again, silence says nothing. One
        that it has asked about half may never have begun, and nobody would tell its end."""
        return self.client != "" and seen_ms <= self.started_ms and not self.client.startswith(HALF)


class Started(Discreet, frozen=True, tag=True, array_like=True, kw_only=True):
    """A start that was accepted: its session, perhaps one that it joined (`is_new` False: no attempt and no use), and
    the ticket as it stands since. `replaced` are the numbers of sessions that ended to make room."""

    decision: Decision
    session: Session
    ticket: Ticket
    is_new: bool
    replaced: tuple[int, ...] = ()


class FoundSessions(Discreet, frozen=True, kw_only=True):
    """Sessions, and the tickets that they name."""

    sessions: list[Session]
    tickets: list[Ticket]


class Watched(Discreet, frozen=True, kw_only=True):
    """A live session as it stands: when it was seen last, how long it was watched, whether it sleeps, and the name of
    its edge."""

    session: Session
    ticket: Ticket
    edge: str
    seen_ms: int
    watched_ms: int
    is_asleep: bool


class SessionFilter(Discreet, frozen=True, kw_only=True):
    """Which sessions are meant. All given members must hold; None means any. `app` and `video` as text are exact."""

    id: str | None = None
    key: str | None = None
    password: str | None = None
    user: str | None = None
    app: str | Pattern | None = None
    video: str | Pattern | None = None
    ip: Net | None = None

    def means(self, session: Session, ticket: Ticket) -> bool:
        """Whether this session matches."""
        return (
            self.id in (None, session.id)
            and self.key in (None, ticket.key)
            and self.password in (None, ticket.password)
            and (self.user is None or self.user == user_of(ticket.password))
            and _means(self.app, session.app)
            and _means(self.video, session.video)
            and (self.ip is None or self.ip.holds(session.ip))
        )


def _means(wanted: str | Pattern | None, name: str) -> bool:
    return wanted is None or (wanted.matches(name) if isinstance(wanted, Pattern) else wanted == name)


def connection_base(request: AttemptRequest) -> str:
    """The `base` of a connection's session, of which no path is."""
    return f"{request.app}/{request.appinst}/{request.video}"


def viewer_digest(request: AttemptRequest, base: str) -> str:
    """Who watches what: the same ticket, address, player and video through the same edge. Two people behind one
    address with one player and one ticket are one viewer (DESIGN, "Starts, follow-ups, sessions")."""
    parts = (request.key, request.password, request.user_agent, base, f"{request.cdn}.{request.edge}.{request.ip:x}")
    return text_digest("\0".join(parts))


def taking_place(seen: Sequence[tuple[Session, int]], *, idle_ms: int, hop_ms: int, now_ms: int) -> list[Session]:
    """Which of a ticket's sessions watch, given when each was seen last. Not who is silent for `idle_ms`; and not who
    has since begun another video, after `hop_ms`: but of connections a server says that they have ended."""
    begun_ms: dict[tuple[int, str], tuple[int, int]] = {}
    for session, _ in seen:
        player = session.ip, session.user_agent
        begun_ms[player] = max(begun_ms.get(player, (0, 0)), (session.number, session.started_ms))
    there = []
    for session, seen_ms in seen:
        number, started_ms = begun_ms[session.ip, session.user_agent]
        has_left = number > session.number and started_ms >= seen_ms and not session.client
        if session.is_held_open(seen_ms) or now_ms - seen_ms < (hop_ms if has_left else idle_ms):
            there.append(session)
    return there
