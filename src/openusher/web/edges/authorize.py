"""The plain door, `POST /v1/authorize`: a JSON question in, a JSON answer out; see docs/reference/authorize.md."""

from __future__ import annotations

import asyncio
import logging
import re

import msgspec

from openusher.errors import AttemptIdReused, Busy, CommitUnknown, InvalidParameter, NotAuthorised, UsherError
from openusher.model.account import Edge
from openusher.model.address import NOT_SAID, parse_address
from openusher.model.attempt import AttemptRequest, Cut, Decision, text_digest
from openusher.model.discreet import Discreet
from openusher.model.limits import (
    APP_BYTES_MAX,
    KEY_BYTES_MAX,
    PASS_BYTES_MAX,
    URL_BYTES_MAX,
    USER_AGENT_BYTES_MAX,
    VIDEO_BYTES_MAX,
    cut_text,
    is_storable,
)
from openusher.usher import Usher
from openusher.web.asgi import (
    BODY_BYTES_MAX,
    CLOSE,
    JSON,
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    Headers,
    Receive,
    Respond,
    Scope,
    Send,
    after_too_large,
    header,
    read_body,
    send_answer,
)

PATH = "/v1/authorize"

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_BEARER = b"bearer "
_CHALLENGE = (b"www-authenticate", b'Bearer realm="usher"')
_PERHAPS_DONE = "the attempt may have been recorded; ask again with the same attempt_id"

log = logging.getLogger(__name__)


class Question(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body as it comes. `key` and `pass` may be missing or null: that is an attempt without a ticket.

    Unknown members are refused: a mistyped `attempt_id` would silently cost a second use.
    """

    key: str | None = None
    password: str | None = msgspec.field(name="pass", default=None)
    app: str
    video: str
    ip: str
    appinst: str | None = None
    pageurl: str | None = None
    refurl: str | None = None
    server_ip: str | None = None
    user_agent: str | None = None
    attempt_id: str | None = None


class TicketState(msgspec.Struct):
    """What an answer tells of the ticket: starts left (null: unlimited) and expiry in unix seconds."""

    uses_left: int | None
    expires: int


class Answer(msgspec.Struct):
    """The answer. `ticket` is null where no ticket was opened."""

    allow: bool
    reason: str
    attempt_id: str
    ticket: TicketState | None


class Fault(msgspec.Struct):
    """Why there is no answer: the member concerned, or empty, and what to do about it."""

    field: str
    message: str


class Refusal(msgspec.Struct):
    """The body of every status but 200."""

    error: Fault


_decoder = msgspec.json.Decoder(Question)
_encoder = msgspec.json.Encoder()

# field, its limit, and how a cut one is marked
_LIMITS = (
    ("key", KEY_BYTES_MAX, Cut.KEY),
    ("password", PASS_BYTES_MAX, Cut.PASS),
    ("app", APP_BYTES_MAX, Cut.APP),
    ("video", VIDEO_BYTES_MAX, Cut.VIDEO),
    ("appinst", APP_BYTES_MAX, Cut.APPINST),
    ("pageurl", URL_BYTES_MAX, Cut.PAGEURL),
    ("refurl", URL_BYTES_MAX, Cut.REFURL),
    ("user_agent", USER_AGENT_BYTES_MAX, Cut.USER_AGENT),
)


class AuthorizeEndpoint:
    """The endpoint. It stands before every play, so that what came whole goes the short way (connection.py)."""

    path = PATH

    def __init__(self, usher: Usher, *, request_s_max: float) -> None:
        self._usher = usher
        self._request_s_max = request_s_max

    def ask(self, headers: Headers, body: bytes, answer: Respond) -> None:
        """Decide the question in `body`, and answer it when that is on disk."""
        try:
            edge = self._usher.edge(_token(headers))
            request, attempt_id = read_question(body, edge)
            deciding = self._usher.authorize(request)
        except UsherError as error:
            answer(*_refusal(error))
            return

        def decided(deciding: asyncio.Future[Decision]) -> None:
            error = deciding.exception()
            if error is None:
                answer(200, _encode(deciding.result(), attempt_id), [JSON])
            elif isinstance(error, UsherError):
                answer(*_refusal(error))
            else:
                log.error("request.failed", exc_info=error)
                answer(*_refused(500, "", "failed; see the node's log"))

        deciding.add_done_callback(decided)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The way of all that did not come whole, or cannot be answered with a decision."""
        if scope["method"] != "POST":
            await _send(send, _refused(405, "", f"send a POST to {PATH}", (b"allow", b"POST")))
            return
        try:
            # Before the body is read; `ask` looks again, since the account may be disabled while that comes.
            self._usher.edge(_token(scope["headers"]))
            body = await read_body(scope, receive, seconds_max=self._request_s_max)
        except NotAuthorised as error:
            await _send(send, _refusal(error))
        except BodyTooLarge:
            problem = f"the body is longer than {BODY_BYTES_MAX} bytes"
            await _send(send, _refused(413, "", problem, *after_too_large(scope)))
        except BodyTooSlow:
            await _send(send, _refused(408, "", "the body did not arrive in time", CLOSE))
        except ClientGone:
            return
        else:
            answered: asyncio.Future[_Answered] = asyncio.get_running_loop().create_future()
            self.ask(scope["headers"], body, lambda *answer: _settle(answered, answer))
            await _send(send, await answered)


_Answered = tuple[int, bytes, Headers]


def _settle(answered: asyncio.Future[_Answered], answer: _Answered) -> None:
    # Cancelled where the server gave up waiting for it at its end.
    if not answered.done():
        answered.set_result(answer)


async def _send(send: Send, answered: _Answered) -> None:
    status, body, headers = answered
    await send_answer(send, status, body, *headers)


def _refusal(error: UsherError) -> _Answered:
    """How the door says that there is no decision."""
    match error:
        case NotAuthorised():
            return _refused(401, "", "give a valid edge token: Authorization: Bearer …", _CHALLENGE)
        case InvalidParameter():
            return _refused(400, error.field, error.problem)
        case AttemptIdReused():
            return _refused(409, "attempt_id", str(error))
        case CommitUnknown():
            return _refused(503, "", _PERHAPS_DONE, (b"retry-after", b"1"))
        case Busy():
            return _refused(503, "", "busy; ask again", (b"retry-after", str(error.retry_after_s).encode()))
        case _:
            return _refused(503, "", "busy; ask again", (b"retry-after", b"1"))


def _refused(status: int, field: str, message: str, *headers: tuple[bytes, bytes]) -> _Answered:
    return status, _encoder.encode(Refusal(Fault(field, message))), [JSON, *headers]


def read_question(body: bytes, edge: Edge) -> tuple[AttemptRequest, str]:
    """Read the JSON body into a question that both stores can hold, and its `attempt_id` as the edge wrote it.

    Raises InvalidParameter naming the member.
    """
    try:
        question = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParameter("", "the body is not JSON in UTF-8") from None
    texts, cut, uncut = _bounded(question)
    server_ip = NOT_SAID
    if question.server_ip:
        server_ip = _address("server_ip", question.server_ip)
        if server_ip == NOT_SAID:
            raise InvalidParameter("server_ip", "is no server's address; leave it out where that is not known")
    request = AttemptRequest(
        cdn=edge.cdn,
        edge=edge.number,
        ip=_address("ip", question.ip),
        server_ip=server_ip,
        attempt_id=_attempt_id(question.attempt_id),
        cut=cut,
        # The same id may come with a text that differs beyond the cut, and is then another question.
        uncut=text_digest("\0".join(uncut)) if uncut else "",
        **texts,
    )
    return request, question.attempt_id or ""


def _bounded(question: Question) -> tuple[dict[str, str], int, list[str]]:
    """The texts within their limits, which of them were cut, and what these were before."""
    texts: dict[str, str] = {}
    cut, uncut = 0, []
    for field, bytes_max, mark in _LIMITS:
        text = getattr(question, field) or ""
        # Most texts are settled here, without the two calls.
        if not text.isascii() or len(text) > bytes_max or "\0" in text:
            if not is_storable(text):
                raise InvalidParameter("pass" if field == "password" else field, "holds a NUL character")
            whole = text
            text, was_cut = cut_text(whole, bytes_max=bytes_max)
            if was_cut:
                cut |= mark
                uncut.append(whole)
        texts[field] = text
    return texts, cut, uncut


def _address(field: str, text: str) -> int:
    try:
        return parse_address(text)
    except ValueError:
        raise InvalidParameter(field, "is not an IPv4 or IPv6 address") from None


def _attempt_id(text: str | None) -> str:
    if not text:
        return ""
    if not _UUID.fullmatch(text):
        raise InvalidParameter("attempt_id", "is not a UUID such as 0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01")
    return text.lower()


def _wrong_shape(problem: str) -> InvalidParameter:
    """msgspec's finding, which is in Python's words (``Expected `str | null`, got `int` - at `$.key` ``), in ours."""
    # First, since the name is the caller's: of any length, and anything may stand in it.
    if unknown := re.match(r"Object contains unknown field `(.{0,64}).*`", problem, re.DOTALL):
        return InvalidParameter(unknown[1], "is no member of a question; is it mistyped?")
    if wrong := re.search(r" - at `\$\.([a-z_]+)`", problem):
        return InvalidParameter(wrong[1], "not a text; give one")
    if missing := re.search(r"missing required field `([a-z_]+)`", problem):
        return InvalidParameter(missing[1], "is missing; give a text")
    return InvalidParameter("", "the body is no JSON object; give one")


def _token(headers: Headers) -> str:
    value = header(headers, b"authorization")
    if not value[:7].lower() == _BEARER:
        raise NotAuthorised("no edge token")
    return value[7:].strip().decode("latin-1")


def _encode(decision: Decision, attempt_id: str) -> bytes:
    state = None if decision.expires_s is None else TicketState(decision.uses_left, decision.expires_s)
    # Without an id of the edge's own, the attempt's number in the log names it.
    named = attempt_id or str(decision.attempt)
    return _encoder.encode(Answer(decision.accepted, decision.reason, named, state))
