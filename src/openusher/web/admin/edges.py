"""Edges: made, shown with their configuration, asked what a URL means to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher.errors import InvalidParameter, NotAuthorised
from openusher.model.account import Edge
from openusher.model.edge import EdgeKind, checked_options, path_map_of, shown_options
from openusher.model.limits import NAME_BYTES_MAX, checked_text
from openusher.model.pathmap import decoded_path
from openusher.usher import Usher
from openusher.web.admin.answering import known_cdn_of, route
from openusher.web.edges.snippets import snippet_of
from openusher.web.edges.tickets import carried_ticket


class NewEdgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An edge to make; without a `name` it is called as its kind. Options come with all their values."""

    kind: EdgeKind
    name: str = ""
    options: dict[str, list[str]] = {}


class PathBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A URL as a player asks for it."""

    url: str


def routes(usher: Usher) -> list[Route]:
    edges = _Edges(usher)
    return [
        route("POST", "/accounts/{cdn:int}/edges", edges.create),
        route("GET", "/edges", edges.list),
        route("GET", "/edges/{edge:int}", edges.show),
        route("POST", "/edges/{edge:int}/path", edges.read_path),
    ]


class _Edges:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def create(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=NewEdgeBody)
        options = checked_options(body.kind, body.options)
        name = checked_text("name", body.name or body.kind, bytes_max=NAME_BYTES_MAX)
        if not name.isprintable() or '"' in name:
            raise InvalidParameter("name", "give printable characters without quotes")
        cdn = known_cdn_of(request, self._usher)
        edge, token = await self._usher.create_edge(cdn, kind=body.kind, name=name, options=options)
        return {**_members(edge), "token": token.reveal(), "snippet": snippet_of(edge, token=token.reveal())}

    async def list(self, request: Request) -> list[dict[str, Any]]:
        return [_members(edge) for edge in self._usher.edges()]

    async def show(self, request: Request) -> dict[str, Any]:
        edge = self._edge(request)
        return {**_members(edge), "snippet": snippet_of(edge)}

    async def read_path(self, request: Request) -> dict[str, Any]:
        """What a URL means to an edge, its ticket's place included."""
        body = msgspec.json.decode(await request.body(), type=PathBody)
        carried = carried_ticket(_target(body.url))
        meaning = path_map_of(self._edge(request)).read(decoded_path(carried.path))
        carrying = "the path" if carried.in_path else "the query" if carried.key else "nothing"
        return {**msgspec.structs.asdict(meaning), "may_start": meaning.may_start, "ticket_in": carrying}

    def _edge(self, request: Request) -> Edge:
        number = request.path_params["edge"]
        for edge in self._usher.edges():
            if edge.number == number:
                return edge
        raise NotAuthorised(f"there is no edge {number}; usher edge list shows them")


def _members(edge: Edge) -> dict[str, Any]:
    return {"edge": edge.number, "cdn": edge.cdn, "kind": edge.kind, "name": edge.name, "options": shown_options(edge)}


def _target(url: str) -> str:
    """Path and query of a URL, as a request has them."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
