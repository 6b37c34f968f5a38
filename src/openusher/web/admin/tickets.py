"""Tickets, for those who hold the data folder: no signature is asked for."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher.model.limits import KEY_BYTES_MAX
from openusher.sevu.tickets import read_request
from openusher.usher import Usher
from openusher.web.admin.answering import cdn_of, parameters_of, route


def routes(usher: Usher) -> list[Route]:
    tickets = _Tickets(usher)
    return [route("POST", "/accounts/{cdn:int}/tickets", tickets.take_over)]


class _Tickets:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def take_over(self, request: Request) -> dict[str, Any]:
        """A ticket sold elsewhere: the parameters of sevu.request, and the `key` that it already has."""
        parameters = await parameters_of(request)
        wanted = read_request(parameters, cdn=cdn_of(request), now_s=self._usher.clock_ms // 1000).ticket
        parameters.require("key")
        key = parameters.text("key", bytes_max=KEY_BYTES_MAX) or ""
        ticket = await self._usher.issue_ticket(msgspec.structs.replace(wanted, key=key))
        return {"key": ticket.key}
