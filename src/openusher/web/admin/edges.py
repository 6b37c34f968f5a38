"""Edges: made, changed and revoked, shown with their configuration, asked what a URL means to them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher.errors import InvalidParameter, NotAuthorised
from openusher.model.account import Edge, Secret
from openusher.model.edge import EdgeKind, changed_options, checked_options, path_map_of, shown_options
from openusher.model.limits import NAME_BYTES_MAX, checked_text
from openusher.model.pathmap import decoded_path
from openusher.sevu.dates import format_instant
from openusher.usher import Usher
from openusher.web.admin.answering import known_cdn_of, route
from openusher.web.edges.snippets import snippet_of
from openusher.web.edges.tickets import carried_ticket

GRACE_S_MAX = 30 * 86_400


class NewEdgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An edge to make; without a `name` it is called as its kind. Options come with all their values."""

    kind: EdgeKind
    name: str = ""
    options: dict[str, list[str]] = {}


class ChangedEdgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be another; see `changed_options`. Without a `name` it keeps its own."""

    name: str = ""
    options: dict[str, list[str]] = {}


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long the token before stays good."""

    grace_s: Annotated[int, msgspec.Meta(ge=0, le=GRACE_S_MAX)]


class PathBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A URL as a player asks for it."""

    url: str


def routes(usher: Usher) -> list[Route]:
    edges = _Edges(usher)
    return [
        route("POST", "/accounts/{cdn:int}/edges", edges.create),
        route("GET", "/edges", edges.list),
        route("GET", "/edges/{edge:int}", edges.show),
        route("POST", "/edges/{edge:int}/change", edges.change),
        route("POST", "/edges/{edge:int}/rotate", edges.rotate),
        route("POST", "/edges/{edge:int}/revoke", edges.revoke),
        route("POST", "/edges/{edge:int}/path", edges.read_path),
    ]


class _Edges:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def create(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=NewEdgeBody)
        options = checked_options(body.kind, body.options)
        name = _checked_name(body.name or body.kind)
        cdn = known_cdn_of(request, self._usher)
        edge, token = await self._usher.create_edge(cdn, kind=body.kind, name=name, options=options)
        return self._members_with_token(edge, token)

    async def list(self, request: Request) -> list[dict[str, Any]]:
        return [self._members(edge) for edge in self._usher.edges()]

    async def show(self, request: Request) -> dict[str, Any]:
        edge = self._edge(request)
        sessions = sum(live.session.edge == edge.number for live in self._usher.watching.book.all())
        return {**self._members(edge), "sessions": sessions, "snippet": snippet_of(edge)}

    async def change(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=ChangedEdgeBody)
        edge = self._edge(request)
        options = changed_options(edge, body.options)
        name = _checked_name(body.name) if body.name else edge.name
        changed = await self._usher.change_edge(edge, name=name, options=options)
        snippet = snippet_of(changed)
        return {**self._members(changed), "snippet": snippet, "snippet_changed": snippet != snippet_of(edge)}

    async def rotate(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=RotateBody)
        edge, token = await self._usher.rotate_edge(self._edge(request), grace_s=body.grace_s)
        return self._members_with_token(edge, token)

    async def revoke(self, request: Request) -> dict[str, Any]:
        edge = self._edge(request)
        ended = await self._usher.revoke_edge(edge)
        return {**self._members(self._edge(request)), "sessions_ended": ended}

    async def read_path(self, request: Request) -> dict[str, Any]:
        """What a URL means to an edge, its ticket's place included."""
        body = msgspec.json.decode(await request.body(), type=PathBody)
        carried = carried_ticket(_target(body.url))
        meaning = path_map_of(self._edge(request)).read(decoded_path(carried.path))
        carrying = "the path" if carried.in_path else "the query" if carried.key else "nothing"
        return {**msgspec.structs.asdict(meaning), "may_start": meaning.may_start, "ticket_in": carrying}

    def _members(self, edge: Edge) -> dict[str, Any]:
        until_ms = self._usher.old_token_until_ms(edge)
        return {
            "edge": edge.number,
            "cdn": edge.cdn,
            "kind": edge.kind,
            "name": edge.name,
            "options": shown_options(edge),
            "created_date": format_instant(edge.created_s),
            "revoked_date": format_instant(edge.revoked_s) if edge.revoked_s else None,
            "old_token_until": format_instant(until_ms // 1_000) if until_ms else None,
        }

    def _members_with_token(self, edge: Edge, token: Secret) -> dict[str, Any]:
        snippet = snippet_of(edge, token=token.reveal())
        return {**self._members(edge), "token": token.reveal(), "snippet": snippet}

    def _edge(self, request: Request) -> Edge:
        number = request.path_params["edge"]
        for edge in self._usher.edges():
            if edge.number == number:
                return edge
        raise NotAuthorised(f"there is no edge {number}; usher edge list shows them")


def _checked_name(name: str) -> str:
    if not name.isprintable() or '"' in name:
        raise InvalidParameter("name", "give printable characters without quotes")
    return checked_text("name", name, bytes_max=NAME_BYTES_MAX)


def _target(url: str) -> str:
    """Path and query of a URL, as a request has them."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
