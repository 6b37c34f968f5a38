"""The node itself: where it stands, and whether all is sound."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher import __version__
from openusher.usher import Usher
from openusher.web.admin.answering import route


class CheckBody(msgspec.Struct, forbid_unknown_fields=True):
    """`quick` leaves out what reads every page and text."""

    quick: bool = False


def routes(usher: Usher) -> list[Route]:
    node = _Node(usher)
    return [route("POST", "/check", node.check), route("GET", "/status", node.status)]


class _Node:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

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
