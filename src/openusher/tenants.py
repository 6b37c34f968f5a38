"""Who a node serves and who may ask it: accounts, their API keys, their edges."""

from __future__ import annotations

import asyncio
import secrets
import string
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from openusher.errors import CommitUnknown, InvalidParameter, NotAuthorised, StoreError
from openusher.ledger.base import Directory, Ledger, NewAccount
from openusher.logs import event_log
from openusher.model.account import Account, ApiKey, Edge, Secret, is_published, token_digest
from openusher.model.edge import EdgeKind

T = TypeVar("T")

_READ_AGAIN_TIMES = 5
_READ_AGAIN_S = 0.1
# How often it is written which API keys are in use.
_KEY_USES_S = 60.0
_KEY_ALPHABET = string.ascii_uppercase + string.digits

log = event_log()


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher needs once: shown when the account is made, and never again."""

    account: Account
    api_key: str
    secret: Secret
    edge_token: Secret


class Tenants(ABC):
    """The accounts of a node, all in memory; `_read_directory` is to be awaited at the start."""

    def __init__(self, ledger: Ledger, *, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._token_clock_ms = clock_ms
        self._changing_accounts = asyncio.Lock()
        self._key_used_s: dict[str, int] = {}
        self._know(Directory(accounts={}, api_keys={}, edges={}, old_tokens=[], cookie_keys=[]))

    @abstractmethod
    async def end_refused(self) -> int:
        """End the sessions that edges have opened which were revoked since, or whose accounts were disabled. Returns
        how many there were. Raises StoreError: the rest ends later."""

    # Who asks

    def api_key(self, name: str, *, cdn: int) -> ApiKey:
        """The key by which account `cdn` signs. Raises NotAuthorised: unknown, another account's, or disabled."""
        key = self._directory.api_keys.get(name)
        if key is None or key.cdn != cdn or not self._directory.accounts[cdn].active:
            raise NotAuthorised("no such API key in this account")
        return key

    def edge(self, token: str) -> Edge:
        """The edge of this token. Where its account is disabled it may ask nothing, but still tells the end of what it
        has begun: `is_served` says so. Raises NotAuthorised: unknown, or revoked."""
        edge = self._edge_by_digest.get(token_digest(token)) or self._edge_of_old(token)
        if edge is None:
            raise NotAuthorised("no such edge token")
        return edge

    def is_served(self, cdn: int) -> bool:
        """Whether this account is active."""
        return self._directory.accounts[cdn].active

    def may_ask(self, edge: Edge) -> bool:
        """Whether an edge that was let ask some time ago still may."""
        return not self._directory.edges[edge.number].revoked_s and self.is_served(edge.cdn)

    def _edge_of_old(self, token: str) -> Edge | None:
        """The edge of a token that was replaced and is still good."""
        digest, now_ms = token_digest(token), self._token_clock_ms()
        for old in self._directory.old_tokens:
            if old.digest == digest and now_ms < old.until_ms:
                return self._directory.edges[old.edge]
        return None

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
        api_key = api_key or _drawn_key()
        token = Secret(secrets.token_urlsafe(32))
        wanted = NewAccount(
            name=name,
            cdn=cdn,
            key=ApiKey(api_key=api_key, cdn=cdn, secret=secret),
            edge_name="default",
            edge_token_digest=token_digest(token.reveal()),
        )

        def known(directory: Directory, account: Account) -> Directory:
            # The edge has its number from the ledger, and is known with the next reading.
            key = replace(wanted.key, cdn=account.cdn)
            return replace(
                directory,
                accounts={**directory.accounts, account.cdn: account},
                api_keys={**directory.api_keys, api_key: key},
            )

        account = await self._change(lambda: self._ledger.create_account(wanted), known)
        return Credentials(account=account, api_key=api_key, secret=secret, edge_token=token)

    async def set_account_active(self, cdn: int, *, active: bool) -> int:
        """Disable or enable an account, at once; a disabled one's sessions end. Returns how many did. Raises
        NotAuthorised for an unknown cdn."""

        def known(directory: Directory, _: None) -> Directory:
            account = replace(directory.accounts[cdn], active=active)
            return replace(directory, accounts={**directory.accounts, cdn: account})

        await self._change(lambda: self._ledger.set_account_active(cdn, active=active), known)
        return 0 if active else await self.end_refused()

    def accounts(self) -> list[Account]:
        return sorted(self._directory.accounts.values(), key=lambda account: account.cdn)

    async def add_api_key(self, cdn: int) -> ApiKey:
        """Another key for an account, so that a site can change keys without a gap. Raises NotAuthorised."""
        if cdn not in self._directory.accounts:
            raise NotAuthorised(f"there is no account with cdn {cdn}")
        key = ApiKey(api_key=_drawn_key(), cdn=cdn, secret=Secret(secrets.token_hex(32)))
        await self._change(
            lambda: self._ledger.add_api_key(key),
            lambda directory, _: replace(directory, api_keys={**directory.api_keys, key.api_key: key}),
        )
        return key

    def api_keys(self, cdn: int) -> list[ApiKey]:
        """An account's keys, the oldest first, with when each signed last."""
        known = (key for key in self._directory.api_keys.values() if key.cdn == cdn)
        used = (replace(key, used_s=max(key.used_s, self._key_used_s.get(key.api_key, 0))) for key in known)
        return sorted(used, key=lambda key: (key.created_s, key.api_key))

    async def revoke_api_key(self, name: str, *, even_last: bool) -> ApiKey:
        """Refuse a key for ever, at once. Raises NotAuthorised for an unknown one, InvalidParameter for an account's
        last one unless `even_last`."""

        async def revoke() -> ApiKey:
            key = self._directory.api_keys.get(name)
            if key is None:
                raise NotAuthorised("there is no such API key; usher key list shows them")
            if len(self.api_keys(key.cdn)) == 1 and not even_last:
                raise InvalidParameter(
                    "api_key", f"is the last one of account {key.cdn}, whose sites could sign nothing"
                )
            await self._ledger.revoke_api_key(name)
            return key

        def known(directory: Directory, revoked: ApiKey) -> Directory:
            left = {each: key for each, key in directory.api_keys.items() if each != name}
            return replace(directory, api_keys=left)

        return await self._change(revoke, known)

    def key_has_signed(self, key: ApiKey) -> None:
        """Note that it is in use; see `write_key_uses`."""
        self._key_used_s[key.api_key] = self._token_clock_ms() // 1_000

    async def write_key_uses_on(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_KEY_USES_S)
            try:
                await self.write_key_uses()
            except StoreError as error:
                log.warning("key_uses.not_written", error=error)

    async def write_key_uses(self) -> None:
        """Keep what was noted since the last time. Raises StoreError: it is noted yet."""
        known = self._directory.api_keys
        used_s = {name: at_s for name, at_s in self._key_used_s.items() if name in known and at_s > known[name].used_s}
        if used_s:
            await self._change(lambda: self._ledger.see_api_keys(used_s), lambda directory, _: directory)

    # Edges

    def edges(self) -> list[Edge]:
        """Those that ask, and those that were revoked."""
        return sorted(self._directory.edges.values(), key=lambda edge: edge.number)

    def old_token_until_ms(self, edge: Edge) -> int:
        """Until when a token is good that was replaced; 0 where there is none."""
        of_edge = (old.until_ms for old in self._directory.old_tokens if old.edge == edge.number)
        until_ms = max(of_edge, default=0)
        return until_ms if until_ms > self._token_clock_ms() else 0

    async def create_edge(self, cdn: int, *, kind: EdgeKind, name: str, options: dict[str, str]) -> tuple[Edge, Secret]:
        """An edge and its token, which is kept nowhere. Raises AlreadyExists, NotAuthorised."""
        token = Secret(secrets.token_urlsafe(32))
        digest = token_digest(token.reveal())
        wanted = Edge(number=0, cdn=cdn, name=name, token_digest=digest, kind=kind, options=options)
        edge = await self._change(
            lambda: self._ledger.create_edge(wanted),
            lambda directory, made: replace(directory, edges={**directory.edges, made.number: made}),
        )
        return edge, token

    async def change_edge(self, edge: Edge, *, name: str, options: dict[str, str]) -> Edge:
        """Name an edge anew and set it so, at once. Raises AlreadyExists for a name that the account has given,
        InvalidParameter for an edge that is revoked."""
        return await self._change_edge(edge, lambda known: replace(_asking(known), name=name, options=options))

    async def rotate_edge(self, edge: Edge, *, grace_s: int) -> tuple[Edge, Secret]:
        """Give an edge a new token, which is kept nowhere; those before it are good for `grace_s` from now at most.
        Raises InvalidParameter for an edge that is revoked."""
        token = Secret(secrets.token_urlsafe(32))
        digest = token_digest(token.reveal())
        old_until_ms = self._token_clock_ms() + grace_s * 1_000
        changed = await self._change_edge(
            edge, lambda known: replace(_asking(known), token_digest=digest), old_until_ms=old_until_ms
        )
        return changed, token

    async def revoke_edge(self, edge: Edge) -> int:
        """Refuse an edge's tokens for ever, at once, and end its sessions, which it could tell no end of any more.
        Returns how many there were; one revoked before is no fault."""
        now_s = self._token_clock_ms() // 1_000
        if not edge.revoked_s:
            await self._change_edge(edge, lambda known: replace(known, revoked_s=known.revoked_s or now_s))
        return await self.end_refused()

    async def _change_edge(self, edge: Edge, changed: Callable[[Edge], Edge], *, old_until_ms: int = 0) -> Edge:
        async def change() -> Edge:
            # As it stands by now: what was changed since it was looked up must not come back.
            wanted = changed(self._directory.edges[edge.number])
            await self._ledger.change_edge(wanted, old_until_ms=old_until_ms)
            return wanted

        def known(directory: Directory, wanted: Edge) -> Directory:
            # An old token that is not known here is refused, and known with the next reading.
            kept = [old for old in directory.old_tokens if old.edge != wanted.number]
            return replace(directory, edges={**directory.edges, wanted.number: wanted}, old_tokens=kept)

        return await self._change(change, known)

    # What is known of them

    async def _change(self, commit: Callable[[], Awaitable[T]], known: Callable[[Directory, T], Directory]) -> T:
        """Commit a change and know it. What was committed holds, also where the ledger cannot be read then: `known`
        says what the directory has become by it.

        Under a lock: a reading begun before another's commit must not be the last one kept.
        """
        async with self._changing_accounts:
            try:
                result = await commit()
            except CommitUnknown:
                await self._read_directory()
                raise
            if not await self._read_directory():
                self._know(known(self._directory, result))
            return result

    async def _read_directory(self) -> bool:
        """Whether it could be read. To be called under the lock."""
        for _ in range(_READ_AGAIN_TIMES):
            try:
                self._know(await self._ledger.directory())
            except StoreError as error:
                log.warning("directory.not_read", error=error)
                await asyncio.sleep(_READ_AGAIN_S)
            else:
                return True
        return False

    def _know(self, directory: Directory) -> None:
        self._directory = directory
        self._edge_by_digest = {edge.token_digest: edge for edge in directory.edges.values() if not edge.revoked_s}


def _asking(edge: Edge) -> Edge:
    if edge.revoked_s:
        raise InvalidParameter("edge", f"edge {edge.number} is revoked, for ever; make another")
    return edge


def _drawn_key() -> str:
    return "".join(secrets.choice(_KEY_ALPHABET) for _ in range(32))
