"""Questions to the plain door about a connection: its start, whether it may go on, its end.

See docs/reference/authorize.md.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from openusher.connecting import Named
from openusher.errors import InvalidParameter
from openusher.model.account import Edge
from openusher.model.limits import is_storable
from openusher.usher import Usher
from openusher.watching import Verdict
from openusher.web.edges.question import Question, TicketState, complete, read_address, request_of, ticket_state

CLIENT_BYTES_MAX = 255


class Told(msgspec.Struct):
    """The answer. `session_id` is empty and `ticket` null where there is none."""

    allow: bool
    reason: str
    attempt_id: str
    session_id: str
    ticket: TicketState | None


# With the verdict that it tells, if any.
_Answer = Callable[[Told | Exception, Verdict | None], None]


def is_of_connection(question: Question) -> bool:
    """Whether it is about more than one attempt."""
    return question.action not in (None, "start") or question.client_id is not None or question.session_id is not None


def ask_of_connection(usher: Usher, edge: Edge, question: Question, answer: _Answer) -> None:
    """Call `answer` when it is known, now or later. Raises InvalidParameter, Busy."""
    match question.action or "start":
        case "start":
            _start(usher, edge, question, answer)
        case "follow":
            ip = None if question.ip is None else read_address("ip", question.ip)
            verdict = usher.connecting.follow(edge, _named(question), ip)
            answer(_told(verdict), verdict)
        case "end":
            _end(usher, edge, _named(question), answer)
        case _:
            raise InvalidParameter("action", "give start, follow or end")


def _start(usher: Usher, edge: Edge, question: Question, answer: _Answer) -> None:
    if question.session_id is not None:
        raise InvalidParameter("session_id", "is what the answer to a start tells; give it with follow and end")
    if question.attempt_id:
        raise InvalidParameter("attempt_id", "goes without client_id, by which a question that comes again is known")
    usher.connecting.start(
        edge,
        request_of(complete(question), edge),
        _client(question.client_id),
        lambda given: answer(_told(given), given) if isinstance(given, Verdict) else answer(given, None),
    )


def _end(usher: Usher, edge: Edge, named: Named, answer: _Answer) -> None:
    taken = Told(allow=True, reason="", attempt_id="", session_id=named.session_id, ticket=None)
    usher.connecting.end(edge, named, told=lambda error: answer(taken if error is None else error, None))


def _named(question: Question) -> Named:
    if not question.session_id and question.client_id is None:
        raise InvalidParameter("session_id", "is missing, and so is client_id; give one of them")
    return Named(
        client="" if question.session_id else _client(question.client_id),
        session_id=question.session_id or "",
        app=question.app,
        video=question.video,
        key=question.key,
        password=question.password,
    )


def _client(text: str | None) -> str:
    if not text or len(text.encode()) > CLIENT_BYTES_MAX or not is_storable(text) or text.startswith("~"):
        raise InvalidParameter("client_id", f"give 1 to {CLIENT_BYTES_MAX} bytes without NUL, and no ~ in front")
    return text


def _told(verdict: Verdict) -> Told:
    decision, live = verdict.decision, verdict.live
    if live is None or not verdict.allowed:
        attempt_id = "" if decision is None else str(decision.attempt)
        ticket = None if decision is None else ticket_state(decision)
        return Told(verdict.allowed, verdict.reason, attempt_id, session_id="", ticket=ticket)
    ticket = TicketState(live.ticket.uses_left, live.ticket.expires_s)
    return Told(allow=True, reason="", attempt_id=str(live.session.attempt), session_id=live.session.id, ticket=ticket)
