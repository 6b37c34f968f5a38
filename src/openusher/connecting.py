"""What media servers ask about whole connections: once at the start, perhaps again now and then, and at the end.

The rules are those of DESIGN, "Starts, follow-ups, sessions": a hook that comes again is the same question, and nothing
rests on an end that must come.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from openusher.errors import UsherError
from openusher.ledger.base import HOOK, HOOK_KEPT_MS
from openusher.livesession import Live
from openusher.model.account import Edge
from openusher.model.attempt import AttemptRequest, Reason, text_digest
from openusher.model.discreet import Discreet
from openusher.model.session import HALF, EndedBy, connection_base, viewer_digest
from openusher.sessionbook import Refusal
from openusher.watching import Answer, Connection, Verdict, Watching

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
        same = [
            live
            for live in known
            if repeats and live.session.viewer == viewer and now_ms - live.session.started_ms <= repeat_ms
        ]
        ends = tuple(live.session.number for live in known if live not in same)
        known_as, taken_over = client, None
        if same:
            known_as = same[0].session.client
        elif in_halves:
            taken_over = self._half(edge, request, base, now_ms)
            known_as = client if taken_over is not None else HALF + client
        if repeats and not request.attempt_id:
            request = _as_hook(edge, client, request)
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

    def watch(self, edge: Edge, request: AttemptRequest, answer: Answer) -> None:
        """Answer for one of the files of a video, where the server says neither which nor whose connection it is: it
        goes on with the session of the same ticket, address, player and video, or starts one. Raises Busy.

        One refused is the same question for a minute.
        """
        base = connection_base(request)
        for live in self._of_viewer(edge, request, base):
            if live.session.client:
                continue
            refusal = self._book.follow(live, request.ip, now_ms=self._clock_ms())
            if refusal in (Refusal.NONE, Refusal.NO_PLACE, Refusal.ADDRESSES):
                # To start anew where there is no room would only pay for it twice.
                self._book.follow_ups[refusal] += 1
                answer(Verdict(refusal, live if not refusal else None))
                return
        self._watching.begin(edge, _as_hook(edge, "", request), base, answer)

    def look(self, edge: Edge, request: AttemptRequest, answer: Answer) -> None:
        """Answer what a start would be answered, where the server asks before it opens anything: no use is taken. Only
        a refusal is recorded; the same within a minute is one."""

        def looked(verdict: Verdict | Exception) -> None:
            if isinstance(verdict, Exception) or verdict.allowed:
                answer(verdict)
                return
            try:
                self._watching.record_refusal(_as_hook(edge, "", request), Reason(verdict.reason), answer)
            except UsherError as error:
                answer(error)

        self._watching.look(request, looked)

    def follow(self, edge: Edge, named: Named, ip: int | None = None) -> Verdict:
        """Whether a connection may go on; from memory. Without an `ip`, from where it began."""
        refusal, found = Refusal.NO_SESSION, None
        for live in self._named(edge, named)[:1]:
            refusal = self._book.follow(live, live.session.ip if ip is None else ip, now_ms=self._clock_ms())
            found = live
        self._book.follow_ups[refusal] += 1
        return Verdict(refusal, found)

    def plays(self, edge: Edge, client: str) -> None:
        """A server tells that it sends to this connection. It must not where the session has ended: the kick may have
        come before the server knew the connection, or what the server told for its end was a pause."""
        if (edge.number, client) not in self._starting and self._book.has_ended(edge, client):
            self._watching.drop(edge, client)

    def open_of(self, edge: Edge, client: str) -> list[Live]:
        """The sessions of a server's name whose end has not come."""
        return [live for live in self._known(edge, client) if live.session.number not in self._ending]

    def end(self, edge: Edge, *named: Named, told: Callable[[Exception | None], None]) -> None:
        """These connections are over from this call on; `told` is called when that is written, or with what kept it
        from being written: then they go on. One that nobody knows is no fault: ends come twice, or late."""
        lives = [live for each in named for live in self._ended(edge, each)]
        self._ending |= {live.session.number for live in lives}

        async def write() -> None:
            try:
                await self._end(lives)
            except Exception as error:
                # Whatever it was, the server waits for an answer.
                told(error)
            else:
                told(None)

        self._watching.run(write())

    def _ended(self, edge: Edge, named: Named) -> list[Live]:
        """The sessions that are meant; a start that is still being decided is noted to have ended."""
        for starting in self._starting.get((edge.number, named.client), ()):
            asked = starting.request
            starting.has_ended |= named.app in (None, asked.app) and named.video in (None, asked.video)
        return self._named(edge, named)

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
        return self._book.by_client(edge, client) + self._book.by_client(edge, HALF + client)

    def _of_viewer(self, edge: Edge, request: AttemptRequest, base: str) -> list[Live]:
        """The sessions of this ticket, address, player and video."""
        lives = self._book.by_ticket(edge, request.key, request.password, request.ip, request.user_agent)
        return [live for live in lives if live.session.base == base]

    def _half(self, edge: Edge, request: AttemptRequest, base: str, now_ms: int) -> Live | None:
        """The viewer's session that its server has asked about once, by another name."""
        for live in self._of_viewer(edge, request, base):
            is_half = live.session.client.startswith(HALF) and live.session.number not in self._ending
            if is_half and now_ms - live.session.started_ms <= _HALVES_MS:
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


def _as_hook(edge: Edge, client: str, request: AttemptRequest) -> AttemptRequest:
    """The question as one that may come again."""
    asked = text_digest(f"{edge.number}\0{client}\0{request.digest()}")
    return msgspec.structs.replace(request, attempt_id=HOOK + asked)


def _is_meant(live: Live, named: Named) -> bool:
    session, ticket = live.session, live.ticket
    return (
        named.app in (None, session.app)
        and named.video in (None, session.video)
        and named.key in (None, ticket.key)
        and named.password in (None, ticket.password)
    )
