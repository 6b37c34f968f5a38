"""Each HTTP request as it is seen once, when it is answered: by the log, by the metrics, by whoever else joins.

All ways of an answer end here: the short way (shortway.py), the application's (`seen` below), and what the connection
itself refuses (connection.py). To join, write an `Observer` and name it beside the others in server.py, `serve`:

    def count(observed: Observed) -> None:
        requests[observed.route, observed.method, observed.status] += 1

It is called once an answer, in the event loop, some 20,000 times a second: count, and leave words to whoever reads.
What it is given is complete and changes no more. `outcome_of` says in a word how it went.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from enum import StrEnum
from typing import Any

import msgspec

from openusher.errors import Busy, CallerError, CommandRefused, NotAuthorised, StoreError
from openusher.model.account import Edge
from openusher.model.attempt import Decision
from openusher.sevu import codes
from openusher.watching import Verdict

# Of a path that we do not know, and of what was no request yet.
NO_ROUTE, NO_METHOD = "(none)", "(none)"
# In the scope of a request: the Observed that its endpoint writes to.
_OBSERVED = "usher.observed"

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Published(msgspec.Struct, frozen=True):
    """An encoder asked to publish: allowed where `reason` is empty."""

    reason: str


class Commanded(msgspec.Struct):
    """A SEVU command: its name, empty where it is none of ours; whose it says to be; its API key, empty where there is
    none such; and the code that it got. `error` is what it was refused for."""

    command: str = ""
    cdn: int = 0
    api_key: str = ""
    code: int = 0
    error: Exception | None = None


# What a door answers with: what was decided, or what kept it from being decided. None where there was nothing to.
Learnt = Verdict | Decision | Published | Commanded | BaseException | None


class Observed(msgspec.Struct):
    """One request. `route` is the template of its path, never the path; `kind` is that of the door, empty where there
    is none; `peer` is the address that it came from, empty on a socket that has none. `seconds` are those from its
    headers (on the short way from its end, which is in the same piece) to its answer."""

    method: str
    peer: str
    began: float
    route: str = NO_ROUTE
    kind: str = ""
    edge: Edge | None = None
    # The account, where a path names it.
    cdn: int = 0
    learnt: Learnt = None
    status: int = 0
    seconds: float = 0.0


Observer = Callable[[Observed], None]


class Outcome(StrEnum):
    """How a request went. Attempts, bad input, busy and faults are different things, and never one count."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FOLLOWED = "followed"
    NOT_FOLLOWED = "not_followed"
    PUBLISHED = "published"
    NOT_PUBLISHED = "not_published"
    DONE = "done"
    BAD_INPUT = "bad_input"
    NOT_AUTHORISED = "not_authorised"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    FAULT = "fault"

    # That of Enum takes longer than all else that counting by it does; logs and metrics do so at each request.
    __hash__ = str.__hash__


# Looked up once: most answers are one of these.
_ACCEPTED, _REFUSED, _FOLLOWED, _NOT_FOLLOWED = (
    Outcome.ACCEPTED,
    Outcome.REFUSED,
    Outcome.FOLLOWED,
    Outcome.NOT_FOLLOWED,
)
_CODE_NAMES = {code.number: code.name for code in codes.CODES}
_UNPROVEN = frozenset(
    code.number for code in (codes.NOT_AUTHORISED, codes.WRONG_SIGNATURE, codes.TIMESTAMP_OUTSIDE_RANGE)
)


def outcome_of(observed: Observed) -> tuple[Outcome, str]:
    """How it went, and the reason: a door's own words for a refusal, the name of a command's code, or the kind of an
    error (`invalid_parameter`). They are few, and never what a stranger sent."""
    learnt = observed.learnt
    # By exact types: of these classes isinstance takes a microsecond for each that it is not.
    if type(learnt) is Verdict:
        if learnt.decision is None:
            return (_NOT_FOLLOWED if learnt.reason else _FOLLOWED), learnt.reason
        return (_REFUSED if learnt.reason else _ACCEPTED), learnt.reason
    if type(learnt) is Decision:
        return (_REFUSED if learnt.reason else _ACCEPTED), learnt.reason
    if learnt is None:
        return _of_status(observed.status), ""
    if type(learnt) is Published:
        return (Outcome.NOT_PUBLISHED if learnt.reason else Outcome.PUBLISHED), learnt.reason
    if type(learnt) is Commanded:
        if learnt.error is None:
            return Outcome.DONE, ""
        return _of_error(learnt.error), _CODE_NAMES.get(learnt.code, "")
    assert isinstance(learnt, BaseException)
    return _of_error(learnt), kind_of(learnt)


def _of_error(error: BaseException) -> Outcome:
    match error:
        case NotAuthorised():
            return Outcome.NOT_AUTHORISED
        case CommandRefused() if error.code in _UNPROVEN:
            return Outcome.NOT_AUTHORISED
        case CallerError():
            return Outcome.BAD_INPUT
        case Busy():
            return Outcome.BUSY
        case StoreError():
            return Outcome.UNAVAILABLE
        case _:
            return Outcome.FAULT


def _of_status(status: int) -> Outcome:
    if status < 400:
        return Outcome.DONE
    if status in (401, 403):
        return Outcome.NOT_AUTHORISED
    if status == 503:
        return Outcome.BUSY
    return Outcome.BAD_INPUT if status < 500 else Outcome.FAULT


def kind_of(error: BaseException) -> str:
    """The name of an error's class as logs and metrics spell it: `invalid_parameter`."""
    return name_of(type(error))


def name_of(kind: type[BaseException]) -> str:
    """As `kind_of`, of a class."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def observed_of(scope: _Scope) -> Observed:
    """Where an endpoint writes what it learns of a request, its route first."""
    observed = scope.get(_OBSERVED)
    if not isinstance(observed, Observed):
        # Asked without a server around.
        observed = scope[_OBSERVED] = begun(scope["method"], scope.get("client"))
    return observed


def begun(method: str, client: tuple[str, int] | None) -> Observed:
    return Observed(method, client[0] if client else "", time.perf_counter())


def ended(observed: Observed, status: int) -> Observed:
    """Answered just now."""
    observed.status = status
    observed.seconds = time.perf_counter() - observed.began
    return observed


def unseen(observed: Observed) -> None:
    """The observer where nobody looks."""


def each_of(*observers: Observer) -> Observer:
    """One for all of these."""
    if len(observers) < 2:
        return observers[0] if observers else unseen

    def observe(observed: Observed) -> None:
        for each in observers:
            each(observed)

    return observe


def seen(app: _App, observe: Observer) -> _App:
    """The application `app`, each of whose answers is shown to `observe`."""

    async def answering(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        observed = observed_of(scope)
        status = 0

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        except Exception as error:
            # The server answers so.
            status, observed.learnt = status or 500, error
            raise
        finally:
            # Else the client is gone, and there was no answer.
            if status:
                observe(ended(observed, status))

    return answering
