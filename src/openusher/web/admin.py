"""The admin API, on a socket that only the data folder's owner can open. The CLI is its client, also without a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from openusher import __version__
from openusher.errors import AlreadyExists, CallerError, InvalidParameter, NotAuthorised, UsherError
from openusher.model.account import Account, Edge, Secret
from openusher.model.discreet import Discreet
from openusher.model.edge import EdgeKind, checked_options, path_map_of, shown_options
from openusher.model.limits import INTEGER_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, checked_text
from openusher.model.pathmap import decoded_path
from openusher.sevu.parameters import Parameters
from openusher.sevu.sessions import ended_members, kick_members, read_kick, read_sessions, sessions_members
from openusher.sevu.tickets import read_request
from openusher.usher import Usher
from openusher.web.edges.snippets import snippet_of
from openusher.web.edges.tickets import carried_ticket

# A cdn is a positive number that fits a PHP client's integer.
_CDN_MAX = 2**31 - 1
_SECRET_BYTES_MAX = 256


class NewAccountBody(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account to make. What is left out is drawn; `secret` is taken over from a site that has one."""

    name: str
    cdn: int = 0
    api_key: str = ""
    secret: str = ""


class NewEdgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An edge to make; without a `name` it is called as its kind. Options come with all their values."""

    kind: EdgeKind
    name: str = ""
    options: dict[str, list[str]] = {}


class EndedSessionsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Those of so many hours, at most so many."""

    hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 366)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class PathBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A URL as a player asks for it."""

    url: str


class CheckBody(msgspec.Struct, forbid_unknown_fields=True):
    """`quick` leaves out what reads every page and text."""

    quick: bool = False


def admin_app(usher: Usher) -> Starlette:
    """The admin routes over `usher`. Errors come as `{"error": …}` with the natural status."""
    admin = _Admin(usher)
    routes = [
        Route("/accounts", _guarded(admin.list_accounts), methods=["GET"]),
        Route("/accounts", _guarded(admin.create_account), methods=["POST"]),
        Route("/accounts/{cdn:int}/disable", _guarded(admin.disable_account), methods=["POST"]),
        Route("/accounts/{cdn:int}/enable", _guarded(admin.enable_account), methods=["POST"]),
        Route("/accounts/{cdn:int}/keys", _guarded(admin.add_key), methods=["POST"]),
        Route("/accounts/{cdn:int}/tickets", _guarded(admin.import_ticket), methods=["POST"]),
        Route("/accounts/{cdn:int}/edges", _guarded(admin.create_edge), methods=["POST"]),
        Route("/accounts/{cdn:int}/sessions", _guarded(admin.list_sessions), methods=["POST"]),
        Route("/accounts/{cdn:int}/kick", _guarded(admin.kick), methods=["POST"]),
        Route("/accounts/{cdn:int}/ended-sessions", _guarded(admin.list_ended_sessions), methods=["POST"]),
        Route("/edges", _guarded(admin.list_edges), methods=["GET"]),
        Route("/edges/{edge:int}", _guarded(admin.show_edge), methods=["GET"]),
        Route("/edges/{edge:int}/path", _guarded(admin.read_path), methods=["POST"]),
        Route("/cookie-key", _guarded(admin.rotate_cookie_key), methods=["POST"]),
        Route("/check", _guarded(admin.check), methods=["POST"]),
        Route("/status", _guarded(admin.status), methods=["GET"]),
    ]
    return Starlette(routes=routes)


Handler = Callable[[Request], Awaitable[Any]]


def _guarded(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return _json(await handler(request), 200)
        except msgspec.DecodeError as error:
            return _json({"error": f"body: {error}"}, 400)
        except NotAuthorised as error:
            return _json({"error": str(error)}, 404)
        except AlreadyExists as error:
            return _json({"error": str(error)}, 409)
        except CallerError as error:
            return _json({"error": str(error)}, 400)
        except UsherError as error:
            return _json({"error": str(error)}, 503)

    return answer


def _json(content: Any, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _cdn(request: Request) -> int:
    """The account that the path names. Raises NotAuthorised for a number that none can have."""
    cdn: int = request.path_params["cdn"]
    if cdn > INTEGER_MAX:
        raise NotAuthorised(f"there is no account with cdn {cdn}")
    return cdn


class _Admin:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def list_accounts(self, request: Request) -> list[Account]:
        return self._usher.accounts()

    async def create_account(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=NewAccountBody)
        if not 0 <= body.cdn <= _CDN_MAX:
            raise InvalidParameter("cdn", f"give a number from 1 to {_CDN_MAX}")
        if not body.name:
            raise InvalidParameter("name", "is empty")
        made = await self._usher.create_account(
            checked_text("name", body.name, bytes_max=NAME_BYTES_MAX),
            cdn=body.cdn,
            api_key=checked_text("api_key", body.api_key, bytes_max=NAME_BYTES_MAX),
            secret=Secret(checked_text("secret", body.secret, bytes_max=_SECRET_BYTES_MAX)) if body.secret else None,
        )
        return {
            "name": made.account.name,
            "cdn": made.account.cdn,
            "api_key": made.api_key,
            "secret": made.secret.reveal(),
            "edge_token": made.edge_token.reveal(),
        }

    async def disable_account(self, request: Request) -> dict[str, Any]:
        await self._usher.set_account_active(_cdn(request), active=False)
        return {"cdn": _cdn(request), "active": False}

    async def enable_account(self, request: Request) -> dict[str, Any]:
        await self._usher.set_account_active(_cdn(request), active=True)
        return {"cdn": _cdn(request), "active": True}

    async def add_key(self, request: Request) -> dict[str, Any]:
        key = await self._usher.add_api_key(_cdn(request))
        return {"cdn": key.cdn, "api_key": key.api_key, "secret": key.secret.reveal()}

    async def create_edge(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=NewEdgeBody)
        options = checked_options(body.kind, body.options)
        name = checked_text("name", body.name or body.kind, bytes_max=NAME_BYTES_MAX)
        if not name.isprintable() or '"' in name:
            raise InvalidParameter("name", "give printable characters without quotes")
        cdn = self._known_cdn(request)
        edge, token = await self._usher.create_edge(cdn, kind=body.kind, name=name, options=options)
        return {**_edge_members(edge), "token": token.reveal(), "snippet": snippet_of(edge, token=token.reveal())}

    async def list_edges(self, request: Request) -> list[dict[str, Any]]:
        return [_edge_members(edge) for edge in self._usher.edges()]

    async def show_edge(self, request: Request) -> dict[str, Any]:
        edge = self._edge(request)
        return {**_edge_members(edge), "snippet": snippet_of(edge)}

    async def read_path(self, request: Request) -> dict[str, Any]:
        """What a URL means to an edge, its ticket's place included."""
        body = msgspec.json.decode(await request.body(), type=PathBody)
        carried = carried_ticket(_target(body.url))
        meaning = path_map_of(self._edge(request)).read(decoded_path(carried.path))
        carrying = "the path" if carried.in_path else "the query" if carried.key else "nothing"
        return {**msgspec.structs.asdict(meaning), "may_start": meaning.may_start, "ticket_in": carrying}

    async def list_sessions(self, request: Request) -> dict[str, Any]:
        """The parameters and the answer of sevu.sessions."""
        members = msgspec.json.decode(await request.body(), type=dict[str, Any])
        parameters = Parameters(members, {name: name for name in members})
        cdn = self._known_cdn(request)
        asked = read_sessions(parameters, cdn=cdn, now_s=0)
        live = self._usher.sessions(cdn, asked.search)
        return sessions_members(live[asked.seek : asked.seek + asked.limit], total=len(live))

    async def list_ended_sessions(self, request: Request) -> list[dict[str, Any]]:
        body = msgspec.json.decode(await request.body(), type=EndedSessionsBody)
        from_ms = self._usher.clock_ms - body.hours * 3_600_000
        found = await self._usher.ended_sessions(self._known_cdn(request), from_ms=from_ms, limit=body.limit)
        return [ended_members(watched) for watched in found]

    async def kick(self, request: Request) -> dict[str, Any]:
        """The parameters and the answer of sevu.kick."""
        members = msgspec.json.decode(await request.body(), type=dict[str, Any])
        parameters = Parameters(members, {name: name for name in members})
        cdn = self._known_cdn(request)
        search = read_kick(parameters, cdn=cdn, now_s=0).search
        return kick_members(await self._usher.kick(cdn, search))

    async def rotate_cookie_key(self, request: Request) -> dict[str, Any]:
        await self._usher.rotate_cookie_key()
        return {}

    def _known_cdn(self, request: Request) -> int:
        """For what would find nothing with a mistyped number, and look as if nobody watched."""
        cdn = _cdn(request)
        if all(account.cdn != cdn for account in self._usher.accounts()):
            raise NotAuthorised(f"there is no account with cdn {cdn}; usher account list shows them")
        return cdn

    def _edge(self, request: Request) -> Edge:
        number = request.path_params["edge"]
        for edge in self._usher.edges():
            if edge.number == number:
                return edge
        raise NotAuthorised(f"there is no edge {number}; usher edge list shows them")

    async def import_ticket(self, request: Request) -> dict[str, Any]:
        """Take over a ticket sold elsewhere: the parameters of sevu.request, and the `key` that it already has."""
        members = msgspec.json.decode(await request.body(), type=dict[str, Any])
        cdn = _cdn(request)
        parameters = Parameters(members, {name: name for name in members})
        now_s = self._usher.clock_ms // 1000
        wanted = read_request(parameters, cdn=cdn, now_s=now_s).ticket
        parameters.require("key")
        key = parameters.text("key", bytes_max=KEY_BYTES_MAX) or ""
        ticket = await self._usher.issue_ticket(msgspec.structs.replace(wanted, key=key))
        return {"key": ticket.key}

    async def check(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body() or b"{}", type=CheckBody)
        faults = await self._usher.check(quick=body.quick)
        return {"faults": faults}

    async def status(self, request: Request) -> dict[str, Any]:
        stats = await self._usher.stats()
        return {
            "version": __version__,
            "fault": self._usher.shipper.fault,
            "clock_ahead_s": self._usher.clock_ahead_s,
            **msgspec.structs.asdict(stats),
        }


def _edge_members(edge: Edge) -> dict[str, Any]:
    return {"edge": edge.number, "cdn": edge.cdn, "kind": edge.kind, "name": edge.name, "options": shown_options(edge)}


def _target(url: str) -> str:
    """Path and query of a URL, as a request has them."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
