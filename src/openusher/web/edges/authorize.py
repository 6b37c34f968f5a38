"""The plain door, `POST /v1/authorize`: a JSON question in, a JSON answer out; see docs/reference/authorize.md."""

from __future__ import annotations

import asyncio
import re

import msgspec

from openusher.errors import AttemptIdReused, Busy, CommitUnknown, InvalidParameter, NotAuthorised, UsherError
from openusher.logs import event_log
from openusher.model.account import Edge
from openusher.model.attempt import Decision
from openusher.usher import Usher
from openusher.watching import Verdict
from openusher.web.asgi import (
    BODY_BYTES_MAX,
    CLOSE,
    JSON,
    Answered,
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    Headers,
    Receive,
    Respond,
    Scope,
    Send,
    after_too_large,
    answer_of,
    read_body,
    send_answer,
)
from openusher.web.edges.connections import Told, ask_of_connection, is_of_connection
from openusher.web.edges.question import Question, TicketState, complete, request_of, ticket_state
from openusher.web.edges.token import edge_token
from openusher.web.observed import Observed, observed_of

PATH = "/v1/authorize"

_CHALLENGE = (b"www-authenticate", b'Bearer realm="usher"')
_PERHAPS_DONE = "the attempt may have been recorded; ask again with the same attempt_id"

log = event_log()


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


class AuthorizeEndpoint:
    """The endpoint. It stands before every play, so that what came whole goes the short way (connection.py)."""

    method = "POST"

    def __init__(self, usher: Usher, *, request_s_max: float) -> None:
        self._usher = usher
        self._request_s_max = request_s_max

    def ask(self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed) -> None:
        """Decide the question in `body`, and answer it when that is on disk."""
        observed.route = PATH
        try:
            edge = observed.edge = self._usher.edge(edge_token(headers))
            question = self._question(edge, body)
            if is_of_connection(question):
                self._ask_of_connection(edge, question, answer)
                return
            request = request_of(complete(question), edge)
            deciding = self._usher.authorize(request)
        except UsherError as error:
            answer(*_refusal(error))
            return
        attempt_id = question.attempt_id or ""

        def decided(deciding: asyncio.Future[Decision]) -> None:
            error = deciding.exception()
            if error is None:
                decision = deciding.result()
                answer(200, _encode(decision, attempt_id), [JSON], decision)
            else:
                answer(*_fault(error))

        deciding.add_done_callback(decided)

    def _question(self, edge: Edge, body: bytes) -> Question:
        """Of a disabled account's edge the end of what it has begun is still taken. Raises NotAuthorised,
        InvalidParameter."""
        question = read_question(body)
        if question.action != "end" and not self._usher.is_served(edge.cdn):
            raise NotAuthorised("the account of this edge is disabled")
        return question

    def _ask_of_connection(self, edge: Edge, question: Question, answer: Respond) -> None:
        """Raises UsherError."""

        def answered(told: Told | Exception, verdict: Verdict | None) -> None:
            if isinstance(told, Told):
                answer(200, _encoder.encode(told), [JSON], verdict)
            else:
                answer(*_fault(told))

        ask_of_connection(self._usher, edge, question, answered)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The way of all that did not come whole, or cannot be answered with a decision."""
        observed = observed_of(scope)
        try:
            status, text, headers, observed.learnt = await self._answer(scope, receive, observed)
        except ClientGone:
            return
        await send_answer(send, status, text, *headers)

    async def _answer(self, scope: Scope, receive: Receive, observed: Observed) -> Answered:
        """Raises ClientGone."""
        if scope["method"] != "POST":
            return _refused(405, "", f"send a POST to {PATH}", (b"allow", b"POST"))
        try:
            # Before the body is read; `ask` looks again, since the edge may be revoked while that comes.
            observed.edge = self._usher.edge(edge_token(scope["headers"]))
            body = await read_body(scope, receive, seconds_max=self._request_s_max)
        except NotAuthorised as error:
            return _refusal(error)
        except BodyTooLarge:
            return _refused(413, "", f"the body is longer than {BODY_BYTES_MAX} bytes", *after_too_large(scope))
        except BodyTooSlow:
            return _refused(408, "", "the body did not arrive in time", CLOSE)
        return await answer_of(lambda answer: self.ask(PATH, scope["headers"], body, answer, observed))


def _refusal(error: UsherError) -> Answered:
    """How the door says that there is no decision."""
    match error:
        case NotAuthorised():
            problem = "give a valid edge token: Authorization: Bearer …"
            return _refused(401, "", problem, _CHALLENGE, error=error)
        case InvalidParameter():
            return _refused(400, error.field, error.problem, error=error)
        case AttemptIdReused():
            return _refused(409, "attempt_id", str(error), error=error)
        case CommitUnknown():
            return _refused(503, "", _PERHAPS_DONE, (b"retry-after", b"1"), error=error)
        case Busy():
            again = (b"retry-after", str(error.retry_after_s).encode())
            return _refused(503, "", "busy; ask again", again, error=error)
        case _:
            return _refused(503, "", "busy; ask again", (b"retry-after", b"1"), error=error)


def _refused(
    status: int, field: str, message: str, *headers: tuple[bytes, bytes], error: BaseException | None = None
) -> Answered:
    return status, _encoder.encode(Refusal(Fault(field, message))), [JSON, *headers], error


def _fault(error: BaseException) -> Answered:
    if isinstance(error, UsherError):
        return _refusal(error)
    log.error("request.failed", exc_info=error)
    return _refused(500, "", "failed; see the node's log", error=error)


def read_question(body: bytes) -> Question:
    """The question of a JSON body. Raises InvalidParameter naming the member."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParameter("", "the body is not JSON in UTF-8") from None


def _wrong_shape(problem: str) -> InvalidParameter:
    """msgspec's finding, which is in Python's words (``Expected `str | null`, got `int` - at `$.key` ``), in ours."""
    # First, since the name is the caller's: of any length, and anything may stand in it.
    if unknown := re.match(r"Object contains unknown field `(.{0,64}).*`", problem, re.DOTALL):
        return InvalidParameter(unknown[1], "is no member of a question; is it mistyped?", is_callers_name=True)
    if wrong := re.search(r" - at `\$\.([a-z_]+)`", problem):
        return InvalidParameter(wrong[1], "not a text; give one")
    return InvalidParameter("", "the body is no JSON object; give one")


def _encode(decision: Decision, attempt_id: str) -> bytes:
    # Without an id of the edge's own, the attempt's number in the log names it.
    named = attempt_id or str(decision.attempt)
    return _encoder.encode(Answer(decision.accepted, decision.reason, named, ticket_state(decision)))
