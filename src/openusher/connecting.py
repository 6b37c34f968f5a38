"""What media servers ask about whole connections: once at the start, perhaps again now and then, and at the end.

The rules are those of DESIGN, "Starts, follow-ups, sessions": a hook that comes again is the same question, and nothing
rests on an end that must come.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import msgspec

from openusher.ledger.base import HOOK, HOOK_KEPT_MS
from openusher.model.account import Edge
from openusher.model.attempt import AttemptRequest, text_digest
from openusher.model.discreet import Discreet
from openusher.model.session import EndedBy, connection_base, viewer_digest
from openusher.sessionbook import Live, Refusal
from openusher.watching import Answer, Connection, Verdict, Watching

# What the client of a session begins with that is known by the first of two names.
_HALF = "~"
_HALVES_MS = 10_000


class Named(Discreet, frozen=True, kw_only=True):
    """Which connection of an edge is meant: by the name of its session, or by the media server's own. Where `app`,
    `video`, `key` and `password` are given, its session must have them; None means any."""

    client: str = ""
    session_id: str = ""
    app: str | None = None
    video: str | None = None
    key: str | None = None
    password: str | None = None


class _Starting:
    """A start that is being decided, and whether its end has come meanwhile."""

    __slots__ = ("has_ended", "request")

    def __init__(self, request: AttemptRequest) -> None:
        self.request = request
        self.has_ended = False


class Connecting:
    """Answers media servers. A `client` is a server's name of a connection that its viewer cannot choose."""

    def __init__(self, watching: Watching, *, clock_ms: Callable[[], int]) -> None:
        self._watching = watching
        self._book = watching.book
        self._clock_ms = clock_ms
        self._starting: dict[tuple[int, str], list[_Starting]] = {}
        # The numbers of sessions whose end has come and is being written.
        self._ending: set[int] = set()

    def start(
        self,
        edge: Edge,
        request: AttemptRequest,
        client: str,
        answer: Answer,
        *,
        repeats: bool = True,
        in_halves: bool = False,
    ) -> None:
        """Decide whether a connection may begin, and open its session. What was open under its name is over.

        The same question within a minute gets the first answer again; not so without `repeats`, where a viewer may have
        had a hand in the name. With `in_halves` the server asks twice, by two names: the second within ten seconds, by
        the same viewer, is of the same session. Raises Busy.
        """
        now_ms, base = self._clock_ms(), connection_base(request)
        known = self._known(edge, client)
        # What comes after an end is no repeat of what came before it, even while the end is being written.
        repeats = repeats and not self._is_ending(edge, client, known)
        repeat_ms, viewer = HOOK_KEPT_MS if repeats else 0, viewer_digest(request, base)
        taken_over = self._half(edge, request, base, now_ms) if in_halves else None
        known_as = _HALF + client if in_halves and taken_over is None else client
        ends = tuple(
            live.session.number
            for live in known
            if not (repeats and live.session.viewer == viewer and now_ms - live.session.started_ms <= repeat_ms)
        )
        if repeats and not request.attempt_id:
            asked = text_digest(f"{edge.number}\0{client}\0{request.digest()}")
            request = msgspec.structs.replace(request, attempt_id=HOOK + asked)
        starting = _Starting(request)
        self._starting.setdefault((edge.number, client), []).append(starting)

        def answered(verdict: Verdict | Exception) -> None:
            self._forget(edge, client, starting)
            if isinstance(verdict, Verdict) and verdict.live is not None and starting.has_ended:
                self._watching.run(self._watching.end([verdict.live], EndedBy.STOPPED))
            answer(verdict)

        connection = Connection(
            client=known_as,
            repeat_ms=repeat_ms,
            ends=ends,
            takes_over=taken_over.session.number if taken_over is not None else 0,
        )
        try:
            self._watching.begin(edge, request, base, answered, connection=connection)
        except Exception:
            self._forget(edge, client, starting)
            raise

    def follow(self, edge: Edge, named: Named, ip: int | None = None) -> Verdict:
        """Whether a connection may go on; from memory. Without an `ip`, from where it began."""
        for live in self._named(edge, named):
            refusal = self._book.follow(live, live.session.ip if ip is None else ip, now_ms=self._clock_ms())
            return Verdict(refusal, live)
        return Verdict(Refusal.NO_SESSION)

    def open_of(self, edge: Edge, client: str) -> list[Live]:
        """The sessions of a server's name whose end has not come."""
        return [live for live in self._known(edge, client) if live.session.number not in self._ending]

    def end(self, edge: Edge, named: Named) -> Coroutine[None, None, None]:
        """The connection is over from this call on; what is returned writes it, and must be awaited. One that nobody
        knows is no fault: ends come twice, or late. Raises StoreError when awaited: then it goes on."""
        for starting in self._starting.get((edge.number, named.client), ()):
            asked = starting.request
            starting.has_ended |= named.app in (None, asked.app) and named.video in (None, asked.video)
        lives = self._named(edge, named)
        self._ending |= {live.session.number for live in lives}
        return self._end(lives)

    async def _end(self, lives: list[Live]) -> None:
        for live in lives:
            if not live.is_held_open:
                # It was watched until now.
                self._book.follow(live, live.session.ip, now_ms=self._clock_ms())
        try:
            await self._watching.end(lives, EndedBy.STOPPED)
        finally:
            self._ending -= {live.session.number for live in lives}

    def _named(self, edge: Edge, named: Named) -> list[Live]:
        if named.session_id:
            live = self._book.by_id(edge, named.session_id)
            known = [live] if live is not None else []
        else:
            known = self._known(edge, named.client)
        return [live for live in known if _is_meant(live, named)]

    def _known(self, edge: Edge, client: str) -> list[Live]:
        if not client:
            return []
        return self._book.by_client(edge, client) + self._book.by_client(edge, _HALF + client)

    def _half(self, edge: Edge, request: AttemptRequest, base: str, now_ms: int) -> Live | None:
        """The viewer's session that its server has asked about once, by another name."""
        found = self._book.by_ticket(
            edge, request.key, request.password, request.ip, request.user_agent, holds=lambda each: each == base
        )
        for live in found:
            if live.session.client.startswith(_HALF) and now_ms - live.session.started_ms <= _HALVES_MS:
                return live
        return None

    def _is_ending(self, edge: Edge, client: str, known: list[Live]) -> bool:
        starting = self._starting.get((edge.number, client), ())
        return any(each.has_ended for each in starting) or any(live.session.number in self._ending for live in known)

    def _forget(self, edge: Edge, client: str, starting: _Starting) -> None:
        waiting = self._starting[edge.number, client]
        waiting.remove(starting)
        if not waiting:
            del self._starting[edge.number, client]


def server_name_of(client: str) -> str:
    """The media server's own name of a session's client."""
    return client.removeprefix(_HALF)


def _is_meant(live: Live, named: Named) -> bool:
    session, ticket = live.session, live.ticket
    return (
        named.app in (None, session.app)
        and named.video in (None, session.video)
        and named.key in (None, ticket.key)
        and named.password in (None, ticket.password)
    )
