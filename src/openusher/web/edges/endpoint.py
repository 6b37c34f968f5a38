"""Where media servers ask: `/v1/edges/<kind>` with the edge's token in a header, or `/e/<token>/<kind>`.

The second is for servers that send no header of ours. What follows in the target belongs to the kind's door.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from openusher.errors import NotAuthorised, UsherError
from openusher.model.account import Edge
from openusher.model.discreet import Discreet
from openusher.model.edge import EdgeKind
from openusher.usher import Usher
from openusher.web.asgi import (
    BODY_BYTES_MAX,
    CLOSE,
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
from openusher.web.edges.token import bearer_token
from openusher.web.observed import Observed, observed_of

WITH_HEADER, WITH_TOKEN = "/v1/edges/", "/e/"
_ROUTE_WITH_HEADER, _ROUTE_WITH_TOKEN = "/v1/edges/{kind}", "/e/{token}/{kind}"
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Call(Discreet, frozen=True, kw_only=True):
    """What a server sends. `target` is what stands behind the kind in the URL, with its query; header names are in
    lower case. `peer` is the address that it calls from, empty where the connection has none."""

    edge: Edge
    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes
    peer: str = ""


class Door(Protocol):
    """How one kind of server asks and wants to be answered."""

    kind: EdgeKind
    # That of the questions that go the short way; for a server that asks by several, the most usual one.
    method: str

    def ask(self, call: Call, answer: Respond) -> None:
        """Call `answer` when it is known, now or later. Raises UsherError, which is then answered by `refused`."""
        ...

    def refused(self, error: UsherError) -> Answered:
        """How this server is told that there is no decision. A token that is none must let nobody in."""
        ...


@runtime_checkable
class TellsEnds(Protocol):
    """A door of servers that tell when a viewer has gone."""

    def tells_end(self, call: Call) -> bool:
        """Whether this is told, and nothing asked. Raises UsherError for what cannot be read."""
        ...


class EdgeEndpoint:
    """Finds the edge that asks, and hands over to the door of its kind."""

    def __init__(self, usher: Usher, door: Door, *, request_s_max: float) -> None:
        self._usher = usher
        self._door = door
        self._kind = door.kind.value
        self._path = f"{WITH_HEADER}{self._kind}"
        self._request_s_max = request_s_max
        self.method = door.method

    def ask(self, target: str, headers: Headers, body: bytes, answer: Respond, observed: Observed) -> None:
        self._tell_route(target, observed)
        try:
            named = dict(headers)
            # Nearly all that is asked: without a second look at the URL.
            token, rest = (_bearer(named), "") if target == self._path else _token_and_rest(target, named)
            edge = observed.edge = self._usher.edge(token)
            if edge.kind != self._kind:
                raise NotAuthorised("this token is another kind of edge's")
            call = Call(edge=edge, method=observed.method, target=rest, headers=named, body=body, peer=observed.peer)
            if not self._usher.is_served(edge.cdn):
                self._refuse_questions(call)
            self._door.ask(call, answer)
        except UsherError as error:
            answer(*self._door.refused(error))

    def _tell_route(self, target: str, observed: Observed) -> None:
        observed.route = _ROUTE_WITH_TOKEN if target.startswith(WITH_TOKEN) else _ROUTE_WITH_HEADER
        observed.kind = self._kind

    def _refuse_questions(self, call: Call) -> None:
        """Of a disabled account's edge the end of what it has begun is still taken. Raises NotAuthorised."""
        if not (isinstance(self._door, TellsEnds) and self._door.tells_end(call)):
            raise NotAuthorised("the account of this edge is disabled")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The way of requests that did not come whole, or by another method than most."""
        observed, target = observed_of(scope), _target_of(scope)
        self._tell_route(target, observed)
        try:
            body = await read_body(scope, receive, seconds_max=self._request_s_max)
        except BodyTooLarge:
            problem = f"the body is longer than {BODY_BYTES_MAX} bytes\n".encode()
            await send_answer(send, 413, problem, _TEXT, *after_too_large(scope))
            return
        except BodyTooSlow:
            await send_answer(send, 408, b"the body did not arrive in time\n", _TEXT, CLOSE)
            return
        except ClientGone:
            return
        asked = target, scope["headers"], body
        status, text, headers, observed.learnt = await answer_of(lambda answer: self.ask(*asked, answer, observed))
        await send_answer(send, status, text, *headers)


def kind_of_target(target: str) -> str:
    """Which kind of edge a target is for; empty for none."""
    path = target.partition("?")[0]
    if path.startswith(WITH_HEADER):
        return path.split("/", 4)[3]
    return path.split("/", 4)[3] if path.startswith(WITH_TOKEN) and path.count("/") > 2 else ""


def _target_of(scope: Scope) -> str:
    query = scope["query_string"]
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return (path + b"?" + query if query else path).decode("latin-1")


def _bearer(headers: dict[bytes, bytes]) -> str:
    return bearer_token(headers.get(b"authorization", b""))


def _token_and_rest(target: str, headers: dict[bytes, bytes]) -> tuple[str, str]:
    """The token, and what stands behind the kind. Raises NotAuthorised where there is no token."""
    if not target.startswith(WITH_TOKEN):
        return _bearer(headers), _behind_kind(target, WITH_HEADER)
    token, _, _ = target[len(WITH_TOKEN) :].partition("/")
    return token, _behind_kind(target, f"{WITH_TOKEN}{token}/")


def _behind_kind(target: str, prefix: str) -> str:
    rest = target[len(prefix) :]
    ends = [at for at in (rest.find("/"), rest.find("?")) if at >= 0]
    return rest[min(ends) :] if ends else ""
