"""How SRS asks: `http_hooks`, JSON about a connection at its start and at its end.

SRS lets in by status 200 with `{"code":0}` alone; older ones looked at one of the two, so both say no. What it sends is
in tests/golden/srs.py, as captured from 6.0.157.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openusher.connecting import Named
from openusher.errors import NotAuthorised, UsherError
from openusher.model.account import Edge
from openusher.model.attempt import text_digest
from openusher.model.discreet import Discreet
from openusher.model.edge import EdgeKind, may_publish
from openusher.usher import Usher
from openusher.watching import Verdict
from openusher.web.asgi import JSON, Answered, Respond
from openusher.web.edges.control import ID, ControlCall
from openusher.web.edges.endpoint import Call
from openusher.web.edges.hooks import (
    PUBLISHED,
    WRONG_PUBLISH_PASSWORD,
    Stream,
    is_refusal,
    query_fields,
    read_body,
    retry_after,
    stream_of,
)
from openusher.web.edges.question import Question, request_of
from openusher.web.observed import Learnt

_DEFAULT_VHOST = "__defaultVhost__"
# What an HLS session's client begins with, and one whose id nothing could be asked about. Neither may meet another's.
_HLS, _UNNAMEABLE = "hls:", "!"
_CLIENT_NOT_FOUND = 2049

_YES = b'{"code":0}'
_TAKEN: Answered = (200, _YES, [JSON], None)


class Hook(Discreet, frozen=True, kw_only=True, rename={"page_url": "pageUrl", "secret": "param"}):
    """What SRS sends; the members that are of interest. Releases before 4 number their clients."""

    action: str
    client_id: str | int = ""
    ip: str = ""
    vhost: str = _DEFAULT_VHOST
    app: str = ""
    stream: str = ""
    stream_url: str = ""
    # The viewer's query, ticket and all.
    secret: str = ""
    page_url: str = ""


_decoder = msgspec.json.Decoder(Hook)


class ApiAnswer(msgspec.Struct):
    """What SRS's API answers; of interest is the code."""

    code: int


_api_decoder = msgspec.json.Decoder(ApiAnswer)


class SrsDoor:
    """The door, and SRS's control API (`http_api`)."""

    kind = EdgeKind.SRS
    method = "POST"

    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    def ask(self, call: Call, answer: Respond) -> None:
        """Say whether it may be what the hook tells. A connection alone decides nothing yet, and an action that we do
        not know is refused."""
        hook = read_body(call.body, _decoder)
        match hook.action:
            case "on_play":
                self._play(call.edge, hook, answer)
            case "on_stop" if hook.client_id:
                self._stop(call.edge, hook, answer)
            case "on_publish" if may_publish(call.edge, query_fields(hook.secret.removeprefix("?")).get("pass", "")):
                answer(200, _YES, [JSON], PUBLISHED)
            case "on_publish":
                answer(*_refused("Not Allowed", WRONG_PUBLISH_PASSWORD))
            # SRS 5 and 6 tell the end of HLS clients that were none (ossrs/srs#3330).
            case "on_stop" | "on_connect" | "on_close" | "on_unpublish":
                answer(*_TAKEN)
            case _:
                answer(*_refused("Not Allowed", None))

    def _play(self, edge: Edge, hook: Hook, answer: Respond) -> None:
        fields = query_fields(hook.secret.removeprefix("?"))
        stream = _stream(hook)
        question = Question(
            key=fields.get("key"),
            password=fields.get("pass"),
            app=stream.app,
            video=stream.video,
            ip=hook.ip,
            pageurl=hook.page_url,
        )

        def decided(verdict: Verdict | Exception) -> None:
            answer(*_answer_of(verdict))

        request, client = request_of(question, edge), _client(hook)
        self._usher.connecting.start(edge, request, client, decided, repeats=not client.startswith((_HLS, _UNNAMEABLE)))

    def _stop(self, edge: Edge, hook: Hook, answer: Respond) -> None:
        stream = _stream(hook)
        named = Named(client=_client(hook), app=stream.app, video=stream.video)
        self._usher.connecting.end(
            edge, named, told=lambda error: answer(*(_TAKEN if error is None else _fault(error)))
        )

    def tells_end(self, call: Call) -> bool:
        """See `TellsEnds`."""
        return read_body(call.body, _decoder).action == "on_stop"

    def refused(self, error: UsherError) -> Answered:
        return _fault(error)

    def drop(self, client: str) -> ControlCall | None:
        """See `Control`."""
        return ControlCall("DELETE", path) if (path := _path(client)) else None

    def has_dropped(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        """See `Control`. SRS answers 200 to most, and its code says the rest."""
        return all(status == 200 and _code(body) in (0, _CLIENT_NOT_FOUND) for status, body in answers)

    def look(self, client: str) -> tuple[str, ...]:
        """See `Shows`."""
        return (path,) if (path := _path(client)) else ()

    def is_gone(self, answers: Sequence[tuple[int, bytes]]) -> bool:
        """See `Shows`."""
        return all(_code(body) == _CLIENT_NOT_FOUND for _, body in answers)


def _path(client: str) -> str:
    """Where the control API has a client; empty for one that it cannot be asked about."""
    name = client.removeprefix(_HLS)
    return f"/api/v1/clients/{name}" if ID.fullmatch(name) else ""


def _code(body: bytes) -> int | None:
    try:
        return _api_decoder.decode(body).code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _client(hook: Hook) -> str:
    """The session's client. An HLS viewer can choose the id (`hls_ctx`), so it is kept apart from those that are SRS's
    own, and only what no path has a second meaning for is ever told the control API."""
    name = str(hook.client_id)
    if not ID.fullmatch(name):
        return _UNNAMEABLE + text_digest(name)
    is_hls = hook.stream.endswith(".m3u8") or "hls_ctx=" in hook.secret
    return _HLS + name if is_hls else name


def _stream(hook: Hook) -> Stream:
    """Which stream it is to SRS, which takes `cam1`, `cam1.flv` and `cam1.m3u8` for one.

    An app of another vhost than the default one has that in front: else it would be taken for the default one's app of
    that name. The default one's have no slash in them.
    """
    vhost = "" if hook.vhost == _DEFAULT_VHOST else hook.vhost
    prefix = f"{vhost}/{hook.app}/"
    if hook.stream_url.startswith(prefix):
        name = hook.stream_url.removeprefix(prefix)
    else:
        # Releases before 5 do not say. They leave out any extension.
        name = hook.stream.rpartition(".")[0] or hook.stream
    stream = stream_of(f"{hook.app}/{name}")
    return Stream(f"{vhost}/{stream.app}", stream.video) if vhost else stream


def _answer_of(verdict: Verdict | Exception) -> Answered:
    if isinstance(verdict, Exception):
        return _fault(verdict)
    return (200, _YES, [JSON], verdict) if verdict.allowed else _refused(verdict.reason, verdict)


def _refused(reason: str, learnt: Learnt) -> Answered:
    return 403, _said(403, reason), [JSON], learnt


def _fault(error: Exception) -> Answered:
    if isinstance(error, NotAuthorised):
        return _refused("Invalid edge token", error)
    if is_refusal(error):
        return _refused("Not understood", error)
    return 503, _said(503, "busy"), [JSON, retry_after(error)], error


def _said(code: int, message: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": message})
