"""The node itself: where it stands, and whether all is sound."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher import __version__
from openusher.errors import StoreError
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
        """Where ledger and log stand; and of a node that runs what it does, and which its processes are."""
        usher = self._usher
        stats = await usher.stats()
        return {
            "version": __version__,
            "fault": usher.shipper.fault,
            "clock_ahead_s": usher.clock_ahead_s,
            **msgspec.structs.asdict(stats),
            "ship_lag_s": usher.shipper.lag_ms(stats.oldest_pending_ms) / 1000 if usher.attempt_log.ships else 0.0,
            "running": await self._running() if usher.pulse.up_s is not None else None,
        }

    async def _running(self) -> dict[str, Any]:
        usher = self._usher
        try:
            await usher.check_ready()
            not_ready = ""
        except StoreError as error:
            not_ready = str(error)
        log_pid = usher.attempt_log.pid
        pids = {
            "door": os.getpid(),
            "ledger": (await usher.ledger_tally()).pid,
            **({"log": log_pid} if log_pid else {}),
        }
        return {
            "up_s": usher.pulse.up_s,
            "not_ready": not_ready,
            "rates": usher.pulse.rates(),
            "sessions": len(usher.watching.book),
            "waiting": usher.waiting,
            "log_restarts": max(0, usher.attempt_log.starts - 1) if usher.attempt_log.ships else None,
            "pids": pids,
        }
