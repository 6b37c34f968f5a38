"""How MediaMTX asks: `authMethod: http`, one JSON question for every action and protocol; and `runOnRead` and
`runOnUnread`, by which it tells that a viewer watches, and has gone.

MediaMTX lets in by any 2xx and logs the body of any other answer, so there is none. Its questions are in
tests/golden/mediamtx.py, and read from its `internal/auth/manager.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openusher.connecting import Named
from openusher.errors import InvalidParameter, UsherError
from openusher.model.account import Edge
from openusher.model.discreet import Discreet
from openusher.model.edge import EdgeKind, may_publish, option
from openusher.usher import Usher
from openusher.watching import Verdict
from openusher.web.asgi import Answered, Respond
from openusher.web.edges.control import ID, ControlCall
from openusher.web.edges.endpoint import Call
from openusher.web.edges.hooks import (
    PUBLISHED,
    WRONG_PUBLISH_PASSWORD,
    is_refusal,
    query_fields,
    read_body,
    retry_after,
    stream_of,
)
from openusher.web.edges.question import Question, request_of
from openusher.web.observed import Learnt

# By which of the lists of MediaMTX's API a connection of a protocol is dropped: its question does not tell those over
# TLS apart.
_LISTS = {
    "rtsp": ("rtspsessions", "rtspssessions"),
    "rtmp": ("rtmpconns", "rtmpsconns"),
    "srt": ("srtconns",),
    "webrtc": ("webrtcsessions",),
    "hls": ("hlssessions",),
    "moq": ("moqsessions",),
}
# It asks once without a ticket, and by a 401 has the viewer send one.
_ASKS_AGAIN = frozenset(("rtsp", "hls", "webrtc"))

_NO_TICKET_YET = Verdict("Missing Auth Token")
_TAKEN: Answered = (200, b"", [], None)


class Asked(Discreet, frozen=True, kw_only=True, rename={"user_agent": "userAgent"}):
    """The question. `id` is the connection's or session's; null for what belongs to none yet. `user_agent` is there
    since 1.19."""

    action: str
    ip: str = ""
    user: str = ""
    password: str = ""
    token: str = ""
    path: str = ""
    protocol: str = ""
    id: str | None = None
    query: str = ""
    user_agent: str | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(Asked)


class ApiError(msgspec.Struct):
    """What MediaMTX's API says of what it does not find."""

    error: str


_api_decoder = msgspec.json.Decoder(ApiError)


class MediaMtxDoor:
    """The door, and MediaMTX's control API."""

    kind = EdgeKind.MEDIAMTX
    method = "POST"

    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    def ask(self, call: Call, answer: Respond) -> None:
        """Answer a question, or take note of what a command tells; any other action is refused."""
        match _below(call):
            case "":
                self._authorize(call.edge, read_body(call.body, _decoder), answer)
            case "/read":
                for client in _clients(call.body):
                    self._usher.connecting.plays(call.edge, client)
                answer(*_TAKEN)
            case "/unread":
                self._end(call.edge, _clients(call.body), answer)
            case _:
                answer(*_refused(None))

    def _authorize(self, edge: Edge, asked: Asked, answer: Respond) -> None:
        fields = query_fields(asked.query.removeprefix("?"))
        match asked.action:
            case "read" | "playback":
                self._play(edge, asked, fields, answer)
            case "publish" if any(may_publish(edge, each) for each in (fields.get("pass", ""), asked.password)):
                answer(200, b"", [], PUBLISHED)
            case "publish":
                answer(*_refused(WRONG_PUBLISH_PASSWORD))
            case _:
                answer(*_refused(None))

    def _play(self, edge: Edge, asked: Asked, fields: dict[str, str], answer: Respond) -> None:
        key, password = _ticket(asked, fields)
        is_recording = asked.action == "playback"
        if not (key or password) and (is_recording or asked.protocol in _ASKS_AGAIN):
            answer(*_refused(_NO_TICKET_YET))
            return
        stream = stream_of(asked.path, app=option(edge, "app"))
        question = Question(
            key=key,
            password=password,
            app=stream.app,
            video=stream.video,
            ip=asked.ip,
            user_agent=_player(asked),
        )
        request = request_of(question, edge)

        def decided(verdict: Verdict | Exception) -> None:
            answer(*_answer_of(verdict))

        connecting = self._usher.connecting
        if is_recording or _asks_for_each_file(asked):
            connecting.watch(edge, request, decided)
        elif asked.id is not None:
            connecting.start(edge, request, _client(asked), decided, in_halves=asked.protocol == "rtsp")
        elif asked.protocol in ("hls", "webrtc"):
            # The page with a player, or a WebRTC client that asks for the servers: no video yet.
            connecting.look(edge, request, decided)
        else:
            raise InvalidParameter("id", "is missing")

    def _end(self, edge: Edge, clients: list[str], answer: Respond) -> None:
        named = (Named(client=client) for client in clients)
        self._usher.connecting.end(
            edge, *named, told=lambda error: answer(*(_TAKEN if error is None else _fault(error)))
        )

    def tells_end(self, call: Call) -> bool:
        """See `TellsEnds`."""
        return _below(call) == "/unread"

    def refused(self, error: UsherError) -> Answered:
        return _fault(error)

    def drop(self, client: str) -> ControlCall | None:
        """See `Control`."""
        paths = _paths(client, "kick")
        return ControlCall("POST", paths[0], also=paths[1:]) if paths else None

    def has_dropped(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        """See `Control`. 404: not in this list, or no longer."""
        is_done = any(status == 200 for status, _ in answers)
        return all(status in (200, 404) for status, _ in answers) and (is_done or self.is_gone(answers))

    def look(self, client: str) -> tuple[str, ...]:
        """See `Shows`."""
        return _paths(client, "get")

    def is_gone(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        """See `Shows`. A list that is not served, such as that of a protocol over TLS, is not found either; the API
        alone says so by an error of its own."""
        return all(status == 404 for status, _ in answers) and any(_is_error(body) for _, body in answers)


def _below(call: Call) -> str:
    """What stands behind the door's own URL."""
    return call.target.partition("?")[0].rstrip("/")


def _is_error(body: bytes) -> bool:
    try:
        return _api_decoder.decode(body).error != ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _paths(client: str, verb: str) -> tuple[str, ...]:
    """Where the control API may have a connection; nowhere if it cannot be asked about that."""
    protocol, _, name = client.partition(":")
    if protocol not in _LISTS or not ID.fullmatch(name):
        return ()
    return tuple(f"/v3/{each}/{verb}/{name}" for each in _LISTS[protocol])


def _ticket(asked: Asked, fields: dict[str, str]) -> tuple[str, str]:
    """Key and pass: from the query if it has a key; else the user's name and password; else the token, `key:pass`.

    The query may leave the pass to the password: over RTMP MediaMTX takes `pass` for that itself.
    """
    if fields.get("key"):
        return fields["key"], fields.get("pass") or asked.password
    if asked.user:
        return asked.user, asked.password
    # Where only a password was given it is the token too.
    key, _, password = asked.token.partition(":")
    return key, password or fields.get("pass", "")


def _player(asked: Asked) -> str:
    # Of the two questions about one RTSP viewer not each need have it.
    return "" if asked.protocol == "rtsp" or asked.user_agent is msgspec.UNSET else asked.user_agent


def _asks_for_each_file(asked: Asked) -> bool:
    """Before 1.18 HLS has no sessions, and what asks without an id may be any file."""
    return asked.protocol == "hls" and asked.id is None and asked.user_agent is msgspec.UNSET


def _client(asked: Asked) -> str:
    """The session's client, by whose protocol the control API knows it. Raises InvalidParameter."""
    if asked.protocol not in _LISTS or asked.id is None or not ID.fullmatch(asked.id):
        raise InvalidParameter("id", "is no id of a known protocol's connection")
    return f"{asked.protocol}:{asked.id}"


def _clients(body: bytes) -> list[str]:
    """Whom a command tells about: a form's first `id`, whatever it is a connection of, since ids are UUIDs. What else
    is in the form may be a viewer's. Raises InvalidParameter."""
    for field in body.decode("latin-1").split("&"):
        name, _, value = field.partition("=")
        if name == "id" and ID.fullmatch(value):
            return [f"{protocol}:{value}" for protocol in _LISTS]
    raise InvalidParameter("id", "is missing or none")


def _answer_of(verdict: Verdict | Exception) -> Answered:
    if isinstance(verdict, Exception):
        return _fault(verdict)
    return (200, b"", [], verdict) if verdict.allowed else _refused(verdict)


def _refused(learnt: Learnt) -> Answered:
    return 401, b"", [], learnt


def _fault(error: Exception) -> Answered:
    return _refused(error) if is_refusal(error) else (503, b"", [retry_after(error)], error)
