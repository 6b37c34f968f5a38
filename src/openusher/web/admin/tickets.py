"""Tickets, for those who hold the data folder: no signature is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from openusher.errors import InvalidParameter
from openusher.importing import Judged
from openusher.model.limits import APP_BYTES_MAX, KEY_BYTES_MAX, PASS_BYTES_MAX, VIDEO_BYTES_MAX, checked_text
from openusher.model.pattern import parse_pattern
from openusher.model.ticket import Ticket, TicketFilter, TicketState
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.search import ROWS_MAX
from openusher.sevu.tickets import issued_members, read_request, read_revoke, read_status, ticket_members
from openusher.usher import Usher
from openusher.web.admin.answering import known_cdn_of, parameters_of, route


class FindTicketsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tickets, `limit` of them, older than that of the key `before`. What is empty is not asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX)]
    before: str = ""
    key: str = ""
    app: str = ""
    video: str = ""
    user: str = ""
    state: TicketState | None = None


def routes(usher: Usher) -> list[Route]:
    tickets = _Tickets(usher)
    return [
        route("POST", "/accounts/{cdn:int}/tickets", tickets.issue),
        route("POST", "/accounts/{cdn:int}/tickets/status", tickets.show),
        route("POST", "/accounts/{cdn:int}/tickets/revoke", tickets.revoke),
        route("POST", "/accounts/{cdn:int}/tickets/list", tickets.find),
        route("POST", "/accounts/{cdn:int}/tickets/import", tickets.take_over_file),
    ]


class _Tickets:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def issue(self, request: Request) -> dict[str, Any]:
        """The parameters and the answer of sevu.request; with the `key` of a ticket that was sold elsewhere."""
        parameters = await parameters_of(request)
        cdn = known_cdn_of(request, self._usher)
        wanted = read_request(parameters, cdn=cdn, now_s=self._usher.clock_ms // 1000).ticket
        key = parameters.text("key", bytes_max=KEY_BYTES_MAX) or wanted.key
        return issued_members(await self._usher.issue_ticket(msgspec.structs.replace(wanted, key=key)))

    async def show(self, request: Request) -> dict[str, Any]:
        asked = read_status(await parameters_of(request), cdn=0, now_s=0)
        return self._members(await self._usher.ticket(known_cdn_of(request, self._usher), asked.key))

    async def revoke(self, request: Request) -> dict[str, Any]:
        asked = read_revoke(await parameters_of(request), cdn=0, now_s=0)
        return self._members(await self._usher.revoke_ticket(known_cdn_of(request, self._usher), asked.key))

    async def find(self, request: Request) -> list[dict[str, Any]]:
        body = msgspec.json.decode(await request.body(), type=FindTicketsBody)
        cdn = known_cdn_of(request, self._usher)
        found = await self._usher.find_tickets(cdn, _filter(body), before_key=body.before, limit=body.limit)
        return [self._members(ticket) for ticket in found]

    async def take_over_file(self, request: Request) -> Judged:
        """The body is the file, read as it comes."""
        cdn, dry_run = known_cdn_of(request, self._usher), "dry_run" in request.query_params
        return await self._usher.importing.take_over(cdn, _pieces_of(request), dry_run=dry_run)

    def _members(self, ticket: Ticket) -> dict[str, JsonValue]:
        return {**ticket_members(ticket), "state": ticket.state(self._usher.clock_ms // 1_000)}


def _filter(body: FindTicketsBody) -> TicketFilter:
    if body.key:
        parse_pattern("key", checked_text("key", body.key, bytes_max=KEY_BYTES_MAX))
    return TicketFilter(
        key=body.key or None,
        app=checked_text("app", body.app, bytes_max=APP_BYTES_MAX) or None,
        video=checked_text("video", body.video, bytes_max=VIDEO_BYTES_MAX) or None,
        user=checked_text("user", body.user, bytes_max=PASS_BYTES_MAX) or None,
        state=body.state,
    )


async def _pieces_of(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise InvalidParameter("body", "broke off; nothing was taken over") from None
