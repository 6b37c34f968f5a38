"""API keys: made, listed and revoked."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher.model.account import ApiKey
from openusher.sevu.dates import format_instant, format_instant_or_never
from openusher.usher import Usher
from openusher.web.admin.answering import cdn_of, known_cdn_of, route


class RevokeKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to revoke; an account's last one only where `even_last` says so."""

    api_key: str
    even_last: bool = False


def routes(usher: Usher) -> list[Route]:
    keys = _Keys(usher)
    return [
        route("POST", "/accounts/{cdn:int}/keys", keys.create),
        route("GET", "/accounts/{cdn:int}/keys", keys.list_of_account),
        route("GET", "/keys", keys.list_all),
        route("POST", "/keys/revoke", keys.revoke),
    ]


class _Keys:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def create(self, request: Request) -> dict[str, Any]:
        key = await self._usher.add_api_key(cdn_of(request))
        return {"cdn": key.cdn, "api_key": key.api_key, "secret": key.secret.reveal()}

    async def list_all(self, request: Request) -> list[dict[str, Any]]:
        keys = (key for account in self._usher.accounts() for key in self._usher.api_keys(account.cdn))
        return [key_members(key) for key in keys]

    async def list_of_account(self, request: Request) -> list[dict[str, Any]]:
        return [key_members(key) for key in self._usher.api_keys(known_cdn_of(request, self._usher))]

    async def revoke(self, request: Request) -> dict[str, Any]:
        body = msgspec.json.decode(await request.body(), type=RevokeKeyBody)
        key = await self._usher.revoke_api_key(body.api_key, even_last=body.even_last)
        return {"cdn": key.cdn, "api_key": key.api_key}


def key_members(key: ApiKey) -> dict[str, Any]:
    """A key without what it signs with."""
    return {
        "cdn": key.cdn,
        "api_key": key.api_key,
        "created_date": format_instant(key.created_s),
        "used_date": format_instant_or_never(key.used_s),
    }
