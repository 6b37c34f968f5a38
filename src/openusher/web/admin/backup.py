"""Backups: made ready by the node, and let go of once they are copied."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher import __version__
from openusher.ledger.sqlite.store import schema_version
from openusher.usher import Usher
from openusher.web.admin.answering import route


def routes(usher: Usher) -> list[Route]:
    backup = _Backup(usher)
    return [route("POST", "/backup", backup.begin), route("DELETE", "/backup", backup.end)]


def _engine_version() -> str:
    with suppress(PackageNotFoundError):
        return f"chdb-core {version('chdb-core')}"
    return ""


class _Backup:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def begin(self, request: Request) -> dict[str, Any]:
        staged = await self._usher.staging.begin()
        versions = {"usher": __version__, "engine": _engine_version(), "schema": schema_version()}
        return {"versions": versions, "staged": msgspec.to_builtins(staged)}

    async def end(self, request: Request) -> dict[str, Any]:
        await self._usher.staging.end()
        return {}
