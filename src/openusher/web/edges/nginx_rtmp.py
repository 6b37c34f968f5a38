"""How nginx with its RTMP module asks: a form by POST at the start of a play or publish, now and then, and at the end.

What the module sends is from its source, `ngx_rtmp_notify_module.c` 1.2.2, and captured. It reads of an answer the
first digit of the status only: 2 lets go on, 4 and 5 close the viewer's connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from openusher.connecting import Named
from openusher.errors import InvalidParameter, NotAuthorised, StoreError, UsherError
from openusher.livesession import Live
from openusher.logs import event_log
from openusher.model.attempt import AttemptRequest
from openusher.model.discreet import Discreet
from openusher.model.edge import EdgeKind, may_publish
from openusher.model.session import EndedBy, connection_base
from openusher.sessionbook import Refusal
from openusher.usher import Usher
from openusher.watching import Verdict
from openusher.web.asgi import Answered, Respond
from openusher.web.edges.control import ID, ControlCall
from openusher.web.edges.endpoint import Call
from openusher.web.edges.hooks import PUBLISHED, WRONG_PUBLISH_PASSWORD, is_refusal, retry_after
from openusher.web.edges.question import Question, read_address, request_of
from openusher.web.observed import Published

# The fields of each call in their order, the call's own name among them. Behind these stands what the viewer has put
# behind the name of the stream, or of the application for the two that are about the whole connection.
_FIRST = (b"app", b"flashver", b"swfurl", b"tcurl", b"pageurl", b"addr")
_OF_STREAM = (*_FIRST, b"clientid", b"call")
_OF_UPDATE = (*_OF_STREAM, b"time", b"timestamp", b"name")
_CALL_AT = _OF_STREAM.index(b"call")
_ENDS = ("play_done", "done", "disconnect")
_ORDER = {
    b"connect": (*_FIRST, b"epoch", b"call"),
    b"play": (*_OF_STREAM, b"name", b"start", b"duration", b"reset"),
    b"publish": (*_OF_STREAM, b"name", b"type"),
    b"update_play": _OF_UPDATE,
    b"update_publish": _OF_UPDATE,
    b"play_done": (*_OF_STREAM, b"name"),
    b"publish_done": (*_OF_STREAM, b"name"),
    b"done": (*_OF_STREAM, b"name"),
    b"record_done": (*_OF_STREAM, b"recorder", b"name", b"path"),
    b"disconnect": (*_OF_STREAM, b"app"),
}
# A stream's name and all behind it are cut at 255 bytes by the module; no honest viewer has so many fields.
_FIELDS_MAX = 64
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_DROPPED = re.compile(rb"[1-9][0-9]{0,8}")
# A player that goes from one stream to the next says so first, and the module tells both almost at once.
_CLOSED_S_MAX = 1.0
_LOOK_S = 0.02
# A drop is made by the worker that takes the call, if it has the viewer.
_DROP_ANSWERS_MAX = 6
_REASON = b"x-usher-reason"
_FIRST_IS_OPEN = "Close the first stream before the next"
_TAKEN: Answered = (200, b"", [], None)

log = event_log()


class Hook(Discreet, frozen=True, kw_only=True):
    """What the module tells. `password` is what stands as `pass` behind the stream's name; `client` is the module's own
    name of the connection, empty before it has one."""

    call: str
    app: str
    name: str
    addr: str
    client: str
    user_agent: str
    pageurl: str
    key: str
    password: str


class NginxRtmpDoor:
    """The door, and the control API of the module."""

    kind = EdgeKind.NGINX_RTMP
    method = "POST"

    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    def ask(self, call: Call, answer: Respond) -> None:
        """Say whether a viewer may play or an encoder publish, whether they may go on, and note the end."""
        if call.method != self.method:
            raise InvalidParameter("notify_method", "is post")
        hook = read_hook(call.body, peer=call.peer)
        match hook.call:
            case "play":
                self._play(call, hook, answer)
            case "update_play":
                answer(*self._update(call, hook))
            case "publish" | "update_publish":
                # No attempt: encoders have no ticket. That of a relay carries no password and is refused like any.
                may = may_publish(call.edge, hook.password)
                answer(*((200, b"", [], PUBLISHED) if may else _refused(WRONG_PUBLISH_PASSWORD)))
            case "play_done" | "done":
                self._end(call, Named(client=hook.client, app=hook.app, video=hook.name), answer)
            case "disconnect":
                self._end(call, Named(client=hook.client), answer)
            case _:
                # A connection that has asked for nothing yet, or a file of which the module tells that it is whole.
                answer(*_TAKEN)

    def refused(self, error: UsherError) -> Answered:
        return _fault(error)

    def drop(self, client: str) -> ControlCall | None:
        number = client.partition("@")[0]
        # By nothing that a viewer has chosen: the module does not decode it, nor need it know more.
        return (
            ControlCall("GET", f"/drop/client?clientid={number}", _DROP_ANSWERS_MAX) if ID.fullmatch(number) else None
        )

    def has_dropped(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        # It answers with how many it has dropped.
        return any(status == 200 and _DROPPED.fullmatch(body.strip()) for status, body in answers)

    def tells_end(self, call: Call) -> bool:
        """See `TellsEnds`."""
        return read_hook(call.body, peer=call.peer).call in _ENDS

    def _update(self, call: Call, hook: Hook) -> Answered:
        named = Named(client=hook.client, app=hook.app, video=hook.name, key=hook.key, password=hook.password)
        ip = read_address("addr", hook.addr)
        verdict = self._usher.connecting.follow(call.edge, named, ip)
        # Unlike a viewer of files, a connection stays where it is.
        is_elsewhere = verdict.live is not None and verdict.live.session.ip != ip
        return _refused(Verdict(Refusal.NO_SESSION)) if is_elsewhere else _answer_of(verdict)

    def _play(self, call: Call, hook: Hook, answer: Respond) -> None:
        if not hook.name:
            raise InvalidParameter("name", "is empty")
        question = Question(
            key=hook.key,
            password=hook.password,
            app=hook.app,
            video=hook.name,
            ip=hook.addr,
            pageurl=hook.pageurl,
            user_agent=hook.user_agent,
        )
        request = request_of(question, call.edge)
        if not self._other_plays(call, hook, request):
            self._start(call, hook, request, answer)
            return

        async def start_when_closed() -> None:
            rounds = round(_CLOSED_S_MAX / _LOOK_S)
            while (others := self._other_plays(call, hook, request)) and rounds:
                rounds -= 1
                await asyncio.sleep(_LOOK_S)
            try:
                if not self._usher.may_ask(call.edge):
                    raise NotAuthorised("this edge may not ask any more")
                self._start(call, hook, request, answer, is_second=bool(others))
            except UsherError as error:
                answer(*_fault(error))

        self._usher.watching.run(start_when_closed())

    def _other_plays(self, call: Call, hook: Hook, request: AttemptRequest) -> list[Live]:
        """What the same connection plays besides. From another address it was another, of a server that has begun to
        number them anew."""
        base = connection_base(request)
        return [
            live
            for live in self._usher.connecting.open_of(call.edge, hook.client)
            if live.session.base != base and live.session.ip == request.ip
        ]

    def _start(
        self, call: Call, hook: Hook, request: AttemptRequest, answer: Respond, *, is_second: bool = False
    ) -> None:
        """Decide. One that `is_second` on a connection whose first stream was not closed is refused even with a good
        ticket: the module would go on sending the first, by the ticket of this. Raises Busy."""

        def decided(verdict: Verdict | Exception) -> None:
            if isinstance(verdict, Exception):
                answer(*_fault(verdict))
            elif verdict.allowed and (is_second or self._other_plays(call, hook, request)):
                self._usher.watching.run(refuse(verdict))
            else:
                answer(*_answer_of(verdict))

        async def refuse(verdict: Verdict) -> None:
            try:
                # The module closes the connection for this answer.
                await self._usher.watching.end(self._usher.connecting.open_of(call.edge, hook.client), EndedBy.STOPPED)
            except StoreError as error:
                log.warning("nginx_rtmp.not_ended", error=error)
            answer(*_refused(Verdict(_FIRST_IS_OPEN, decision=verdict.decision)))

        self._usher.connecting.start(call.edge, request, hook.client, decided)

    def _end(self, call: Call, named: Named, answer: Respond) -> None:
        # Noted before anything else is asked: the same connection's next play may be right behind.
        self._usher.connecting.end(
            call.edge, named, told=lambda error: answer(*(_TAKEN if error is None else _fault(error)))
        )


def read_hook(body: bytes, *, peer: str) -> Hook:
    """Read a call by the order in which the module writes it: of a viewer's texts only what comes last is as it was
    sent, so none can stand where a field of the server's stands. `peer` is the server that calls: two may number their
    connections alike.

    Raises InvalidParameter.
    """
    fields = [field.partition(b"=")[::2] for field in body.split(b"&")]
    if len(fields) > _FIELDS_MAX:
        raise InvalidParameter("body", f"has more than {_FIELDS_MAX} fields")
    order = _ORDER.get(fields[_CALL_AT][1], ()) if len(fields) > _CALL_AT else ()
    if not order or tuple(name for name, _ in fields[: len(order)]) != order:
        raise InvalidParameter("body", "is not as nginx's RTMP module 1.2 writes it")
    said = dict(fields[: len(order)])
    number = said.get(b"clientid", b"")
    if b"clientid" in said and not _NUMBER.fullmatch(number):
        raise InvalidParameter("clientid", "is no number")
    key, password = _ticket(fields[len(order) :])
    return Hook(
        call=said[b"call"].decode(),
        app=_text("app", said[b"app"]),
        name=_text("name", said.get(b"name", b"")),
        addr=_text("addr", said[b"addr"]),
        client=f"{number.decode()}@{peer}" if number else "",
        user_agent=_text_for_people("flashver", said[b"flashver"]),
        pageurl=_text_for_people("pageurl", said[b"pageurl"]),
        key=key,
        password=password,
    )


def _ticket(fields: list[tuple[bytes, bytes]]) -> tuple[str, str]:
    """The first key and the first pass of what a viewer sends, as forms are read everywhere."""
    found: dict[str, str] = {}
    for name, value in fields:
        found.setdefault(_text("query", name.replace(b"+", b" ")), _text("query", value.replace(b"+", b" ")))
    return found.get("key", ""), found.get("pass", "")


def _text(field: str, raw: bytes) -> str:
    try:
        return _unescaped(field, raw).decode()
    except UnicodeDecodeError:
        raise InvalidParameter(field, "is not UTF-8") from None


def _text_for_people(field: str, raw: bytes) -> str:
    """What decides nothing. The module may have cut a character of it in two."""
    return _unescaped(field, raw).decode(errors="replace")


def _unescaped(field: str, raw: bytes) -> bytes:
    if _BAD_PERCENT.search(raw):
        raise InvalidParameter(field, "has a percent sign that escapes nothing")
    return unquote_to_bytes(raw)


def _answer_of(verdict: Verdict) -> Answered:
    return (200, b"", [], verdict) if verdict.allowed else _refused(verdict)


def _refused(refusal: Verdict | Published) -> Answered:
    return 403, b"", [(_REASON, refusal.reason.encode())], refusal


def _fault(error: Exception) -> Answered:
    """Not decided: the module lets nobody in, and closes the connection."""
    if isinstance(error, NotAuthorised):
        return 403, b"", [(_REASON, b"Invalid edge token")], error
    if is_refusal(error):
        return 403, b"", [(_REASON, b"Not understood")], error
    return 503, b"", [retry_after(error)], error
