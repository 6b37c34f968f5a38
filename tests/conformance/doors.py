"""The doors that the suite runs on. A new one joins with a bench of its own and one line in `DOORS`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import httpx

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.errors import StoreError
from openusher.gate import Gate
from openusher.model.attempt import Attempt
from openusher.model.edge import EdgeKind
from openusher.model.search import AttemptFilter
from openusher.model.session import SessionFilter
from openusher.model.ticket import Ticket
from openusher.settings import Settings
from openusher.shipper import Shipper
from openusher.usher import Usher
from openusher.web.app import PublicApp
from tests.conformance.asking import NOON_MS, ticket
from tests.conformance.ledgers import Fault, SqliteBench
from tests.golden.mediamtx import question
from tests.golden.srs import HEADERS, hook


class Says(StrEnum):
    """What a server makes of an answer."""

    YES = "lets the viewer in"
    NO = "refuses the viewer"
    BUSY = "refuses the viewer, who may try again"


class Play(NamedTuple):
    """A viewer who plays a video. `client` is the media server's own name of the connection."""

    key: str = "k"
    password: str = "user|p"
    app: str = "live"
    video: str = "cam1"
    ip: str = "192.0.2.7"
    client: str = "41"


class Sent(NamedTuple):
    """A request as a server sends it. In `path`, `{token}` stands for the edge's token; with `bearer` that is in a
    header."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    bearer: bool = False


class DoorBench(Protocol):
    """How a kind of server asks."""

    kind: str
    # Whether it asks about a connection, by its own name for that, and tells the end; else about each file.
    has_connections: bool

    def start(self, play: Play) -> Sent: ...

    def follow(self, play: Play) -> Sent | None:
        """May it go on? None where the server never asks."""
        ...

    def end(self, play: Play) -> Sent | None:
        """It is over. None where the server never tells."""
        ...

    def says(self, answer: httpx.Response) -> Says: ...


class GenericDoor:
    """Anyone's own server, by `/v1/authorize`."""

    kind = EdgeKind.GENERIC.value
    has_connections = True

    def start(self, play: Play) -> Sent:
        texts = {"app": play.app, "video": play.video, "ip": play.ip, "client_id": play.client}
        return self._sent(key=play.key, **{"pass": play.password}, **texts)

    def follow(self, play: Play) -> Sent:
        return self._sent(action="follow", client_id=play.client, key=play.key, ip=play.ip, **{"pass": play.password})

    def end(self, play: Play) -> Sent:
        return self._sent(action="end", client_id=play.client)

    def says(self, answer: httpx.Response) -> Says:
        if answer.status_code == 200:
            return Says.YES if answer.json()["allow"] is True else Says.NO
        return Says.BUSY if answer.status_code == 503 and "retry-after" in answer.headers else Says.NO

    def _sent(self, **question: str) -> Sent:
        return Sent("POST", "/v1/authorize", {}, json.dumps(question).encode(), bearer=True)


class NginxDoor:
    """nginx's `auth_request`, by the headers of our snippet."""

    kind = EdgeKind.NGINX.value
    has_connections = False

    def start(self, play: Play) -> Sent:
        return self._sent(play, "index.m3u8")

    def follow(self, play: Play) -> Sent:
        return self._sent(play, "segment001.ts")

    def end(self, play: Play) -> None:
        return None

    def says(self, answer: httpx.Response) -> Says:
        if 200 <= answer.status_code < 300:
            return Says.YES
        return Says.NO if answer.status_code in (401, 403) else Says.BUSY

    def _sent(self, play: Play, file: str) -> Sent:
        path = f"/{quote(play.app)}/{quote(play.video)}/{file}"
        ticket = f"?key={quote(play.key, safe='')}&pass={quote(play.password, safe='')}" if play.key else ""
        headers = {
            "x-original-uri": path + ticket,
            "x-original-path": f"/{play.app}/{play.video}/{file}",
            "x-original-method": "GET",
            "x-real-ip": play.ip,
            "user-agent": "player",
        }
        return Sent("GET", "/v1/edges/nginx", headers, bearer=True)


class UrlDoor(NginxDoor):
    """Servers that say which URL a viewer asked for, and not which file they serve: in headers of these names."""

    def __init__(self, kind: EdgeKind, *, uri: str, method: str, address: str, path: str = "/v1/edges/{kind}") -> None:
        self.kind = kind.value
        self._uri, self._method, self._address = uri, method, address
        self._path = path.replace("{kind}", self.kind)

    def _sent(self, play: Play, file: str) -> Sent:
        of_nginx = super()._sent(play, file).headers
        headers = {
            self._uri: of_nginx["x-original-uri"],
            self._method: "GET",
            self._address: play.ip,
            "user-agent": "player",
        }
        return Sent("GET", self._path, headers, bearer="{token}" not in self._path)


class EnvoyDoor(NginxDoor):
    """Envoy's `ext_authz`: the viewer's URL is in its own, behind a prefix."""

    kind = EdgeKind.ENVOY.value

    def _sent(self, play: Play, file: str) -> Sent:
        target = super()._sent(play, file).headers["x-original-uri"]
        return Sent("GET", f"/v1/edges/envoy{target}", {"x-real-ip": play.ip, "user-agent": "player"}, bearer=True)


class SrsDoor:
    """SRS's `http_hooks`, which asks once and tells the end."""

    kind = EdgeKind.SRS.value
    has_connections = True

    def start(self, play: Play) -> Sent:
        return self._sent("on_play", play)

    def follow(self, play: Play) -> None:
        return None

    def end(self, play: Play) -> Sent:
        return self._sent("on_stop", play)

    def says(self, answer: httpx.Response) -> Says:
        # Of what is no answer of the door it reads the status alone.
        code = answer.json()["code"] if answer.headers.get("content-type") == "application/json" else -1
        if answer.status_code == 200 and code == 0:
            return Says.YES
        return Says.BUSY if (answer.status_code, code) == (503, 503) else Says.NO

    def _sent(self, action: str, play: Play) -> Sent:
        param = f"?key={quote(play.key, safe='')}&pass={quote(play.password, safe='')}" if play.key else ""
        names = {"app": play.app, "stream": play.video, "ip": play.ip, "client_id": play.client}
        body = hook(action, play.client, param=param, stream_url=f"/{play.app}/{play.video}", **names)
        return Sent("POST", "/e/{token}/srs", HEADERS, body)


class MediaMtxDoor:
    """MediaMTX's `authMethod: http` over RTMP, and its command for the end."""

    kind = EdgeKind.MEDIAMTX.value
    has_connections = True

    def start(self, play: Play) -> Sent:
        query = f"key={quote(play.key, safe='')}&pass={quote(play.password, safe='')}" if play.key else ""
        body = question(path=f"{play.app}/{play.video}", ip=play.ip, id=play.client, query=query)
        return Sent("POST", "/e/{token}/mediamtx", {"content-type": "application/json"}, body)

    def follow(self, play: Play) -> None:
        return None

    def end(self, play: Play) -> Sent:
        return Sent("POST", "/e/{token}/mediamtx/unread", {}, f"id={quote(play.client)}".encode())

    def says(self, answer: httpx.Response) -> Says:
        # A body would go into its log, for each viewer who is refused.
        assert answer.content == b"" or answer.status_code == 413
        if 200 <= answer.status_code < 300:
            return Says.YES
        return Says.BUSY if answer.status_code == 503 else Says.NO


class NginxRtmpDoor:
    """nginx's RTMP module, by its own calls."""

    kind = EdgeKind.NGINX_RTMP.value
    has_connections = True

    def start(self, play: Play) -> Sent:
        return self._sent(play, "play", "start=4294965296&duration=0&reset=0")

    def follow(self, play: Play) -> Sent:
        return self._sent(play, "update_play", before="time=30&timestamp=1&")

    def end(self, play: Play) -> Sent:
        return self._sent(play, "play_done")

    def says(self, answer: httpx.Response) -> Says:
        # The module itself knows two answers only; Usher's own say which no it is.
        if 200 <= answer.status_code < 300:
            return Says.YES
        return Says.NO if 400 <= answer.status_code < 500 else Says.BUSY

    def _sent(self, play: Play, call: str, then: str = "", *, before: str = "") -> Sent:
        texts = (play.app, "player", "", "rtmp://media.example.com/live", "", play.ip, play.client, call)
        names = ("app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "call")
        fields = [f"{name}={quote(text, safe='')}" for name, text in zip(names, texts, strict=True)]
        fields.append(f"{before}name={quote(play.video, safe='')}")
        if then:
            fields.append(then)
        if play.key:
            fields.append(f"key={quote(play.key, safe='')}&pass={quote(play.password, safe='')}")
        return Sent("POST", "/e/{token}/nginx-rtmp", {}, "&".join(fields).encode())


_FORWARDED = {"uri": "x-forwarded-uri", "method": "x-forwarded-method", "address": "x-forwarded-for"}
DOORS: list[DoorBench] = [
    GenericDoor(),
    NginxDoor(),
    EnvoyDoor(),
    UrlDoor(EdgeKind.CADDY, **_FORWARDED),
    UrlDoor(EdgeKind.HAPROXY, uri="x-original-uri", method="x-original-method", address="x-forwarded-for"),
    UrlDoor(EdgeKind.TRAEFIK, **_FORWARDED, path="/e/{token}/{kind}"),
    NginxRtmpDoor(),
    SrsDoor(),
    MediaMtxDoor(),
]


class Node:
    """A node in this process, on a ledger whose disk fails when it is told to, with an account's edge of one kind. Its
    clock stands still until a test moves `now_ms`."""

    usher: Usher
    gate: Gate

    def __init__(self, bench: SqliteBench, door: DoorBench) -> None:
        self.bench = bench
        self.door = door
        self.now_ms = NOON_MS
        self.cdn = 0
        self.token = ""

    async def open(self) -> None:
        def wall_ms() -> int:
            return self.now_ms

        ledger = await self.bench.open()
        self.gate = Gate(ledger, queue_wait_s_max=60, wall_ms=wall_ms)
        shipper = Shipper(ledger, LedgerOnlyLog(), rows_min=10**5, age_s_max=10**9, wall_ms=wall_ms)
        self.usher = Usher(ledger, LedgerOnlyLog(), self.gate, shipper, wall_ms=wall_ms)
        # httpx's types and ours are two spellings of ASGI's.
        app: Any = PublicApp(self.usher, Settings())
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://usher")
        await self.usher.start()
        if not self.cdn:
            self.cdn = await self.account("site")
            self.token = await self.edge(self.cdn, self.door)

    async def restart(self) -> None:
        await self.usher.close()
        await self.open()

    async def account(self, name: str) -> int:
        return (await self.usher.create_account(name)).account.cdn

    async def edge(self, cdn: int, door: DoorBench) -> str:
        """A new edge's token."""
        kind = EdgeKind(door.kind)
        name = f"{kind}-{len(self.usher.edges())}"
        _, token = await self.usher.create_edge(cdn, kind=kind, name=name, options={})
        return token.reveal()

    async def issue(self, **rules: Any) -> Ticket:
        return await self.usher.issue_ticket(ticket(self.cdn, **{"password": "user|p", "uses_limit": 0, **rules}))

    async def send(self, sent: Sent, *, token: str | None = None) -> httpx.Response:
        token = self.token if token is None else token
        headers = {**sent.headers, **({"authorization": f"Bearer {token}"} if sent.bearer else {})}
        # As the letters of a header travel; the library takes others for a mistake.
        raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        path = sent.path.replace("{token}", token)
        return await self._client.request(sent.method, path, content=sent.body, headers=raw)

    async def asks(self, sent: Sent | None, *, token: str | None = None) -> Says:
        """What the server makes of our answer to this."""
        assert sent is not None
        return self.door.says(await self.send(sent, token=token))

    async def starts(self, play: Play) -> Says:
        return await self.asks(self.door.start(play))

    async def goes_on(self, play: Play) -> Says:
        return await self.asks(self.door.follow(play))

    async def ends(self, play: Play) -> Says:
        return await self.asks(self.door.end(play))

    async def attempts(self, cdn: int = 0) -> list[Attempt]:
        """All that were recorded, newest first."""
        return await self.usher.searching.newest(cdn or self.cdn, AttemptFilter(), seek=0, limit=100)

    async def reasons(self, cdn: int = 0) -> list[str]:
        """What each was answered, oldest first."""
        return [attempt.reason for attempt in reversed(await self.attempts(cdn))]

    async def uses(self, key: str = "k") -> int:
        return (await self.usher.ticket(self.cdn, key)).uses_taken

    def sessions(self) -> int:
        return len(self.usher.sessions(self.cdn, SessionFilter()))

    async def be_ready(self) -> None:
        """After a fault: once the ledger can be written again."""
        while True:
            try:
                await self.usher.check_ready()
                return
            except StoreError:
                continue


@asynccontextmanager
async def node_with(door: DoorBench, folder: Path) -> AsyncIterator[Node]:
    """A node with an account `site` and an edge of this kind."""
    node = Node(SqliteBench(folder), door)
    await node.open()
    try:
        yield node
    finally:
        node.bench.fault = Fault.NONE
        await node.usher.close()
        node.bench.close()
