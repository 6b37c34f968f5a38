"""What all admin routes share: how an answer and an error are told, and which account a path names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from openusher.errors import AlreadyExists, CallerError, CommitUnknown, InvalidParameter, NotAuthorised, UsherError
from openusher.model.limits import INTEGER_MAX
from openusher.sevu.parameters import Parameters
from openusher.usher import Usher
from openusher.web.observed import Observed, observed_of

NDJSON = "application/x-ndjson"

Handler = Callable[[Request], Awaitable[Any]]


def route(method: str, path: str, handler: Handler) -> Route:
    """Answer with what `handler` returns, as JSON; or with why not."""
    return _route(method, path, handler, lambda content: _json(content, 200))


def stream(method: str, path: str, handler: Callable[[Request], Awaitable[AsyncGenerator[bytes, None]]]) -> Route:
    """As `route`, of an answer in pieces, which together are lines of JSON. Why it ends early is told in a last line,
    as `{"error": …}`: the status has been sent by then. Pieces must end with a line where that can happen."""
    return _route(method, path, handler, lambda pieces: StreamingResponse(_told(pieces), media_type=NDJSON))


async def _told(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except UsherError as error:
            yield line({"error": str(error)})


def line(content: Any) -> bytes:
    """A line of an answer in pieces."""
    return msgspec.json.encode(content) + b"\n"


def _route(method: str, path: str, handler: Handler, respond: Callable[[Any], Response]) -> Route:
    async def answer(request: Request) -> Response:
        observed = observed_of(request.scope)
        observed.route = path
        observed.cdn = _named_cdn(request)
        try:
            return respond(await handler(request))
        except msgspec.DecodeError as error:
            return _refused(InvalidParameter("body", str(error)), observed)
        except UsherError as error:
            return _refused(error, observed)
        except asyncio.CancelledError:
            # By the server, which ends and has waited for it.
            return _refused(CommitUnknown("the node is stopping; whether this was done is not known"), observed)

    return Route(path, answer, methods=[method])


def _refused(error: UsherError, observed: Observed) -> Response:
    observed.learnt = error
    return _json({"error": str(error)}, _status_of(error))


def _status_of(error: UsherError) -> int:
    match error:
        case NotAuthorised():
            return 404
        case AlreadyExists():
            return 409
        case CallerError():
            return 400
        case _:
            return 503


def _json(content: Any, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _named_cdn(request: Request) -> int:
    cdn: int = request.path_params.get("cdn", 0)
    return cdn if cdn <= INTEGER_MAX else 0


def cdn_of(request: Request) -> int:
    """The account that the path names. Raises NotAuthorised for a number that none can have."""
    cdn: int = request.path_params["cdn"]
    if cdn > INTEGER_MAX:
        raise NotAuthorised(f"there is no account with cdn {cdn}")
    return cdn


def known_cdn_of(request: Request, usher: Usher) -> int:
    """For what would find nothing with a mistyped number, and look as if nobody watched."""
    return known_cdn(cdn_of(request), usher)


def known_cdn(cdn: int, usher: Usher) -> int:
    """`cdn`, if there is such an account. Raises NotAuthorised."""
    if all(account.cdn != cdn for account in usher.accounts()):
        raise NotAuthorised(f"there is no account with cdn {cdn}; usher account list shows them")
    return cdn


async def parameters_of(request: Request) -> Parameters:
    """The parameters of a SEVU command, which some routes take as well."""
    members = msgspec.json.decode(await request.body(), type=dict[str, Any])
    return Parameters(members, {name: name for name in members})
