"""Accounts."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from openusher.errors import InvalidParameter
from openusher.model.account import Account, Secret
from openusher.model.discreet import Discreet
from openusher.model.limits import NAME_BYTES_MAX, checked_text
from openusher.model.session import SessionFilter
from openusher.sevu.dates import format_instant
from openusher.usher import Usher
from openusher.web.admin.answering import cdn_of, known_cdn_of, route
from openusher.web.admin.keys import key_members

# A cdn is a positive number that fits a PHP client's integer.
_CDN_MAX = 2**31 - 1
_SECRET_BYTES_MAX = 256


class NewAccountBody(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account to make. What is left out is drawn; `secret` is taken over from a site that has one."""

    name: str
    cdn: int = 0
    api_key: str = ""
    secret: str = ""


def routes(usher: Usher) -> list[Route]:
    accounts = _Accounts(usher)
    return [
        route("GET", "/accounts", accounts.list),
        route("POST", "/accounts", accounts.create),
        route("POST", "/accounts/{cdn:int}/disable", accounts.disable),
        route("POST", "/accounts/{cdn:int}/enable", accounts.enable),
        route("GET", "/accounts/{cdn:int}", accounts.show),
    ]


class _Accounts:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def list(self, request: Request) -> list[dict[str, Any]]:
        return [_members(account) for account in self._usher.accounts()]

    async def create(self, request: Request) -> dict[str, Any]:
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

    async def disable(self, request: Request) -> dict[str, Any]:
        ended = await self._usher.set_account_active(cdn_of(request), active=False)
        return {"cdn": cdn_of(request), "active": False, "sessions_ended": ended}

    async def enable(self, request: Request) -> dict[str, Any]:
        await self._usher.set_account_active(cdn_of(request), active=True)
        return {"cdn": cdn_of(request), "active": True}

    async def show(self, request: Request) -> dict[str, Any]:
        cdn = known_cdn_of(request, self._usher)
        account = next(each for each in self._usher.accounts() if each.cdn == cdn)
        edges = [edge for edge in self._usher.edges() if edge.cdn == cdn]
        return {
            **_members(account),
            "keys": [key_members(key) for key in self._usher.api_keys(cdn)],
            "edges": [edge.number for edge in edges if not edge.revoked_s],
            "tickets": await self._usher.count_tickets(cdn),
            "sessions": len(self._usher.sessions(cdn, SessionFilter())),
        }


def _members(account: Account) -> dict[str, Any]:
    return {
        "cdn": account.cdn,
        "name": account.name,
        "active": account.active,
        "created_date": format_instant(account.created_s),
    }
