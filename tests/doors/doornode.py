"""A node in this process, on a real ledger and a clock that stands until it is told, asked through its public app."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import httpx

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.gate import Gate
from openusher.ledger.base import Ledger
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.account import Edge
from openusher.model.attempt import Attempt
from openusher.model.edge import EdgeKind, checked_options
from openusher.model.search import AttemptFilter
from openusher.model.session import SessionFilter
from openusher.settings import Settings
from openusher.shipper import Shipper
from openusher.usher import Usher
from openusher.web.app import PublicApp
from tests.conformance.asking import NOON_MS, ticket

CDN = 1


class Answer(NamedTuple):
    """What a server is told; header names in lower case."""

    status: int
    body: bytes
    headers: dict[str, str]


class DoorNode:
    """`start` before any, `stop` after all; it may be stopped, or crash, and be started again."""

    usher: Usher
    edge: Edge
    app: PublicApp

    def __init__(self, folder: Path, kind: EdgeKind, **options: str) -> None:
        self._file = folder / "ledger.db"
        self._kind = kind
        self._options = checked_options(kind, {name: [value] for name, value in options.items()})
        self.now_ms = NOON_MS
        self.token = ""
        self._ledger: Ledger

    async def start(self) -> None:
        """The first time, with an account and its edge."""
        self._ledger = await SqliteLedger.open(self._file, indexed=True)
        gate = Gate(self._ledger, queue_wait_s_max=60, wall_ms=lambda: self.now_ms)
        log = LedgerOnlyLog()
        shipper = Shipper(self._ledger, log, rows_min=1, age_s_max=10**9, wall_ms=lambda: self.now_ms)
        self.usher = Usher(self._ledger, log, gate, shipper, wall_ms=lambda: self.now_ms)
        await self.usher.start()
        if not self.token:
            await self.usher.create_account("site", cdn=CDN)
            self.edge, token = await self.usher.create_edge(CDN, kind=self._kind, name="edge", options=self._options)
            self.token = token.reveal()
        self.app = PublicApp(self.usher, Settings())
        app: Any = self.app
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://door")

    async def stop(self) -> None:
        await self.usher.close()

    async def crash(self) -> None:
        """What it has in memory only is never written."""
        await self._ledger.close()

    async def post(self, body: bytes, *, below: str = "", token: str | None = None, **headers: str) -> Answer:
        """A request as the edge's server makes it, to the URL of the snippet."""
        url = f"/e/{self.token if token is None else token}/{self._kind}{below}"
        got = await self._client.post(url, content=body, headers=headers)
        return Answer(got.status_code, got.content, dict(got.headers))

    async def ask_plainly(self, body: bytes, *, token: str | None = None) -> Answer:
        """A question to the plain door."""
        bearer = {"authorization": f"Bearer {self.token if token is None else token}"}
        got = await self._client.post("/v1/authorize", content=body, headers=bearer)
        return Answer(got.status_code, got.content, dict(got.headers))

    async def issue(self, key: str, *, password: str = "", **rules: Any) -> None:
        """A ticket that opens everything unless told otherwise; its pass is the key's own."""
        await self.usher.issue_ticket(ticket(CDN, key, password=password or f"pass-of-{key}", **rules))

    async def uses(self, key: str) -> int:
        return (await self.usher.ticket(CDN, key)).uses_taken

    async def attempts(self) -> list[Attempt]:
        """The newest first."""
        return await self.usher.searching.newest(CDN, AttemptFilter(), seek=0, limit=1000)

    async def counts(self) -> tuple[int, int]:
        """How many attempts were accepted, and how many refused."""
        reasons = [attempt.reason for attempt in await self.attempts()]
        return reasons.count(""), len(reasons) - reasons.count("")

    async def kick(self, key: str) -> int:
        return await self.usher.kick(CDN, SessionFilter(key=key))

    def clients(self) -> list[str]:
        """What the server calls the connections of the live sessions."""
        return sorted(live.session.client for live in self.usher.watching.book.all())
