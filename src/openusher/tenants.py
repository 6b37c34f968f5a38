"""Who a node serves and who may ask it: accounts, their API keys, their edges."""

from __future__ import annotations

import asyncio
import logging
import secrets
import string

import msgspec

from openusher.errors import InvalidParameter, NotAuthorised, StoreError
from openusher.ledger.base import Directory, Ledger, NewAccount
from openusher.model.account import Account, ApiKey, Edge, Secret, is_published, token_digest
from openusher.model.edge import EdgeKind

_READ_AGAIN_TIMES = 5
_READ_AGAIN_S = 0.1
_KEY_ALPHABET = string.ascii_uppercase + string.digits

log = logging.getLogger(__name__)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher needs once: shown when the account is made, and never again."""

    account: Account
    api_key: str
    secret: Secret
    edge_token: Secret


class Tenants:
    """The accounts of a node, all in memory; `_directory` is to be read from the ledger at the start."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._directory = Directory(accounts={}, api_keys={}, edge_by_digest={}, cookie_keys=[])
        self._changing_accounts = asyncio.Lock()

    # Who asks

    def api_key(self, name: str, *, cdn: int) -> ApiKey:
        """The key by which account `cdn` signs. Raises NotAuthorised: unknown, another account's, or disabled."""
        key = self._directory.api_keys.get(name)
        if key is None or key.cdn != cdn or not self._directory.accounts[cdn].active:
            raise NotAuthorised("no such API key in this account")
        return key

    def edge(self, token: str) -> Edge:
        """The edge that this token lets ask. Raises NotAuthorised: unknown, or its account is disabled."""
        edge = self._directory.edge_by_digest.get(token_digest(token))
        if edge is None or not self._directory.accounts[edge.cdn].active:
            raise NotAuthorised("no such edge token")
        return edge

    # Accounts

    async def create_account(
        self, name: str, *, cdn: int = 0, api_key: str = "", secret: Secret | None = None
    ) -> Credentials:
        """Make an account with one API key and one edge; what is not given is drawn at random.

        Raises AlreadyExists for a name, cdn or API key that is taken.
        """
        if secret is not None and is_published(secret) and not await self._ledger.is_demo():
            raise InvalidParameter("secret", "is the one printed in ScaleEngine's documentation; take your own")
        secret = secret or Secret(secrets.token_hex(32))
        api_key = api_key or "".join(secrets.choice(_KEY_ALPHABET) for _ in range(32))
        token = Secret(secrets.token_urlsafe(32))
        wanted = NewAccount(
            name=name,
            cdn=cdn,
            key=ApiKey(api_key=api_key, cdn=cdn, secret=secret),
            edge_name="default",
            edge_token_digest=token_digest(token.reveal()),
        )
        async with self._changing_accounts:
            account = await self._ledger.create_account(wanted)
            await self._read_directory(account, ApiKey(api_key=api_key, cdn=account.cdn, secret=secret))
        return Credentials(account=account, api_key=api_key, secret=secret, edge_token=token)

    async def set_account_active(self, cdn: int, *, active: bool) -> None:
        """Disable or enable an account, at once. Raises NotAuthorised for an unknown cdn."""
        async with self._changing_accounts:
            await self._ledger.set_account_active(cdn, active=active)
            account = self._directory.accounts.get(cdn)
            await self._read_directory(msgspec.structs.replace(account, active=active) if account else None)

    def accounts(self) -> list[Account]:
        return sorted(self._directory.accounts.values(), key=lambda account: account.cdn)

    async def add_api_key(self, cdn: int) -> ApiKey:
        """A second key for an account, so that a site can change keys without a gap. Raises NotAuthorised."""
        if cdn not in self._directory.accounts:
            raise NotAuthorised(f"there is no account with cdn {cdn}")
        name = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(32))
        key = ApiKey(api_key=name, cdn=cdn, secret=Secret(secrets.token_hex(32)))
        async with self._changing_accounts:
            await self._ledger.add_api_key(key)
            await self._read_directory(None, key)
        return key

    def edges(self) -> list[Edge]:
        return sorted(self._directory.edge_by_digest.values(), key=lambda edge: edge.number)

    async def create_edge(self, cdn: int, *, kind: EdgeKind, name: str, options: dict[str, str]) -> tuple[Edge, Secret]:
        """An edge and its token, which is kept nowhere. Raises AlreadyExists, NotAuthorised."""
        token = Secret(secrets.token_urlsafe(32))
        digest = token_digest(token.reveal())
        wanted = Edge(number=0, cdn=cdn, name=name, token_digest=digest, kind=kind, options=options)
        async with self._changing_accounts:
            edge = await self._ledger.create_edge(wanted)
            await self._read_directory(None)
        return edge, token

    async def _read_directory(self, account: Account | None, key: ApiKey | None = None) -> None:
        """After a commit, under its lock: a reading begun before another's commit must not be the last one kept.

        What was committed holds, so it is known here even where the ledger cannot be read: then as `account` and
        `key`. A new edge has its number from the ledger, and is known with the next reading.
        """
        for _ in range(_READ_AGAIN_TIMES):
            try:
                self._directory = await self._ledger.directory()
                return
            except StoreError as error:
                log.warning("directory.unread: %s", error)
                await asyncio.sleep(_READ_AGAIN_S)
        known = self._directory
        self._directory = Directory(
            accounts={**known.accounts, account.cdn: account} if account else known.accounts,
            api_keys={**known.api_keys, key.api_key: key} if key else known.api_keys,
            edge_by_digest=known.edge_by_digest,
            cookie_keys=known.cookie_keys,
        )
