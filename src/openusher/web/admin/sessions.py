"""Sessions: who watches and who has, and ending them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher.sevu.sessions import ended_members, kick_members, read_kick, read_sessions, sessions_members
from openusher.usher import Usher
from openusher.web.admin.answering import known_cdn_of, parameters_of, route


class EndedSessionsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Those of so many hours, at most so many."""

    hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 366)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)]


def routes(usher: Usher) -> list[Route]:
    sessions = _Sessions(usher)
    return [
        route("POST", "/accounts/{cdn:int}/sessions", sessions.list),
        route("POST", "/accounts/{cdn:int}/ended-sessions", sessions.list_ended),
        route("POST", "/accounts/{cdn:int}/kick", sessions.kick),
        route("POST", "/cookie-key", sessions.rotate_cookie_key),
    ]


class _Sessions:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def list(self, request: Request) -> dict[str, Any]:
        """The parameters and the answer of sevu.sessions."""
        parameters = await parameters_of(request)
        cdn = known_cdn_of(request, self._usher)
        asked = read_sessions(parameters, cdn=cdn, now_s=0)
        live = self._usher.sessions(cdn, asked.search)
        return sessions_members(live[asked.seek : asked.seek + asked.limit], total=len(live))

    async def list_ended(self, request: Request) -> Any:
        body = msgspec.json.decode(await request.body(), type=EndedSessionsBody)
        from_ms = self._usher.clock_ms - body.hours * 3_600_000
        cdn = known_cdn_of(request, self._usher)
        found = await self._usher.ended_sessions(cdn, from_ms=from_ms, limit=body.limit)
        return [ended_members(watched) for watched in found]

    async def kick(self, request: Request) -> dict[str, Any]:
        """The parameters and the answer of sevu.kick."""
        parameters = await parameters_of(request)
        cdn = known_cdn_of(request, self._usher)
        search = read_kick(parameters, cdn=cdn, now_s=0).search
        return kick_members(await self._usher.kick(cdn, search))

    async def rotate_cookie_key(self, request: Request) -> dict[str, Any]:
        await self._usher.rotate_cookie_key()
        return {}
