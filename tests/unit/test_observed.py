"""What is seen of each request when it is answered: on the short way, on the usual one, and of what is no request."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from openusher.model.edge import EdgeKind, checked_options
from openusher.node import open_node
from openusher.settings import LogKind, Settings
from openusher.usher import Usher
from openusher.web.admin import admin_app
from openusher.web.app import PublicApp
from openusher.web.observed import Commanded, Observed, Outcome, outcome_of
from openusher.web.server import http_config
from tests.conformance.asking import ticket
from tests.e2e.rawhttp import request
from tests.sevuclient import Account, signed_text
from tests.unit.test_connection import Wire

pytestmark = pytest.mark.anyio
CDN = 7


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watched:
    """A node's two applications, asked over connections without a network, and what is seen of it."""

    def __init__(self, usher: Usher, account: Account, tokens: dict[str, str], settings: Settings) -> None:
        self.account = account
        self.tokens = tokens
        self._seen: asyncio.Queue[Observed] = asyncio.Queue()
        app = PublicApp(usher, settings)
        self._public = http_config(app, settings, short_way=app.short_way, observe=self._seen.put_nowait)
        self._admin = http_config(admin_app(usher), settings, observe=self._seen.put_nowait)
        for config in (self._public, self._admin):
            config.load()

    async def see(self, *pieces: bytes, admin: bool = False) -> Observed:
        """The one thing that is seen when this comes on a new connection."""
        config: uvicorn.Config = self._admin if admin else self._public
        kind: Any = config.http_protocol_class
        connection = kind(config=config, server_state=ServerState(), app_state={})
        wire = Wire()
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
        observed = await asyncio.wait_for(self._seen.get(), 5)
        connection.connection_lost(None)
        assert self._seen.empty()
        assert wire.written.startswith(f"HTTP/1.1 {observed.status} ".encode())
        return observed

    async def authorize(self, *, cut: bool = False, token: str = "", **changed: str) -> Observed:
        question = {"key": "k", "pass": "p", "app": "live", "video": "cam1", "ip": "192.0.2.1", **changed}
        asked = request(
            "POST",
            "/v1/authorize",
            json.dumps(question).encode(),
            authorization=f"Bearer {token or self.account.edge_token}",
        )
        return await self.see(*((asked[:-1], asked[-1:]) if cut else (asked,)))

    async def command(
        self, name: str, *, cut: bool = False, text: str = "", path: str = "/stable/", **parameters: Any
    ) -> Observed:
        sent = text or signed_text(self.account, name, **parameters)
        form = urllib.parse.urlencode({"json": sent}).encode()
        asked = request("POST", path, form, content_type="application/x-www-form-urlencoded")
        return await self.see(*((asked[:-1], asked[-1:]) if cut else (asked,)))


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    settings = Settings(data=tmp_path / "data", log=LogKind.LEDGER, request_s_max=0.2)
    async with open_node(settings) as usher:
        made = await usher.create_account("site", cdn=CDN)
        account = Account(
            name="site",
            cdn=CDN,
            api_key=made.api_key,
            secret=made.secret.reveal(),
            edge_token=made.edge_token.reveal(),
        )
        tokens = {}
        for edge_kind in (EdgeKind.NGINX, EdgeKind.MEDIAMTX):
            options = checked_options(edge_kind, {})
            _, token = await usher.create_edge(CDN, kind=edge_kind, name=f"my {edge_kind}", options=options)
            tokens[edge_kind.value] = token.reveal()
        await usher.issue_ticket(ticket(CDN, "k", password="p"))
        yield Watched(usher, account, tokens, settings)


def told(observed: Observed) -> tuple[str, str, int, Outcome, str]:
    return observed.route, observed.method, observed.status, *outcome_of(observed)


@pytest.mark.parametrize("cut", [False, True], ids=["short way", "usual way"])
async def test_a_decision_is_seen_with_its_edge_and_its_attempt(watched: Watched, cut: bool) -> None:
    accepted = await watched.authorize(cut=cut)
    refused = await watched.authorize(cut=cut, **{"pass": "wrong"})

    assert told(accepted) == ("/v1/authorize", "POST", 200, Outcome.ACCEPTED, "")
    assert told(refused) == ("/v1/authorize", "POST", 200, Outcome.REFUSED, "Invalid Auth Token")
    assert [getattr(each.learnt, "attempt", 0) for each in (accepted, refused)] == [1, 2]
    for observed in (accepted, refused):
        assert observed.edge is not None
        assert observed.edge.cdn == CDN
        assert 0 < observed.seconds < 5


@pytest.mark.parametrize("cut", [False, True], ids=["short way", "usual way"])
async def test_what_was_not_decided_is_seen_with_why(watched: Watched, cut: bool) -> None:
    stranger = await watched.authorize(cut=cut, token="a token of nobody")
    mistaken = await watched.authorize(cut=cut, ip="nowhere")

    assert told(stranger) == ("/v1/authorize", "POST", 401, Outcome.NOT_AUTHORISED, "not_authorised")
    assert told(mistaken) == ("/v1/authorize", "POST", 400, Outcome.BAD_INPUT, "invalid_parameter")
    assert stranger.edge is None


async def test_follow_ups_are_told_from_starts(watched: Watched) -> None:
    async def ask(file: str, **headers: str) -> Observed:
        described = {
            "x_original_uri": f"/vod/film/{file}?key=k&pass=p",
            "x_original_path": f"/vod/film/{file}",
            "x_original_method": "GET",
            "x_real_ip": "192.0.2.1",
            "user_agent": "player",
            "authorization": f"Bearer {watched.tokens['nginx']}",
        }
        return await watched.see(request("GET", "/v1/edges/nginx", b"", **{**described, **headers}))

    start, segment = await ask("index.m3u8"), await ask("1.ts")
    stranger = await ask("1.ts", x_real_ip="192.0.2.99")

    assert told(start) == ("/v1/edges/{kind}", "GET", 200, Outcome.ACCEPTED, "")
    assert told(segment) == ("/v1/edges/{kind}", "GET", 200, Outcome.FOLLOWED, "")
    assert told(stranger) == ("/v1/edges/{kind}", "GET", 403, Outcome.NOT_FOLLOWED, "No Session")
    assert [each.kind for each in (start, segment, stranger)] == ["nginx"] * 3
    assert [each.edge and each.edge.name for each in (start, segment, stranger)] == ["my nginx"] * 3


async def test_a_token_in_a_path_is_not_seen(watched: Watched) -> None:
    token = watched.tokens["mediamtx"]
    asked = json.dumps({"action": "publish", "path": "live/cam1", "password": "guess"}).encode()
    wrong_password = await watched.see(request("POST", f"/e/{token}/mediamtx", asked))
    wrong_kind = await watched.see(request("POST", f"/e/{token}/srs", asked))
    no_kind = await watched.see(request("POST", f"/e/{token}/nothing", asked))

    publish = (Outcome.NOT_PUBLISHED, "Wrong publish password")
    assert told(wrong_password) == ("/e/{token}/{kind}", "POST", 401, *publish)
    assert told(wrong_kind) == ("/e/{token}/{kind}", "POST", 403, Outcome.NOT_AUTHORISED, "not_authorised")
    assert told(no_kind) == ("(none)", "POST", 404, Outcome.BAD_INPUT, "")
    assert [each.kind for each in (wrong_password, wrong_kind, no_kind)] == ["mediamtx", "srs", ""]
    assert token not in "".join(map(repr, (wrong_password, wrong_kind, no_kind)))


@pytest.mark.parametrize("cut", [False, True], ids=["short way", "usual way"])
async def test_commands_are_seen_by_name_and_code(watched: Watched, cut: bool) -> None:
    text = signed_text(watched.account, "sevu.status", key="k")
    counted = await watched.command("sevu.errorcount", cut=cut, path="/cp/api/0.8")
    unsigned = await watched.command("", cut=cut, text=text.replace('"signature":"', '"signature":"x'))
    unknown = await watched.command("sevu.nothing", cut=cut, path="/")
    late = await watched.command("sevu.errorcount", cut=cut, timestamp=1)

    assert told(counted) == ("/cp/api/0.8", "POST", 200, Outcome.DONE, "")
    assert told(unsigned) == ("/stable", "POST", 200, Outcome.NOT_AUTHORISED, "wrong signature")
    assert told(unknown) == ("/", "POST", 200, Outcome.BAD_INPUT, "unknown command")
    assert told(late) == ("/stable", "POST", 200, Outcome.NOT_AUTHORISED, "timestamp outside range")
    commanded = [each.learnt for each in (counted, unsigned, unknown, late)]
    assert [(each.command, each.code, each.cdn) for each in commanded if isinstance(each, Commanded)] == [
        ("sevu.errorcount", 2051, CDN),
        ("sevu.status", 3, CDN),
        ("", 0, 0),
        ("sevu.errorcount", 2, CDN),
    ]


async def test_what_the_connection_refuses_by_itself_is_seen(watched: Watched) -> None:
    slow = await watched.see(b"POST /v1/authorize HTTP/1.1\r\nx:")
    large = await watched.see(request("GET", "/", x="y" * 40_000))
    in_pieces = await watched.see(b"GET / HTTP/1.1\r\nx: ", b"y" * 40_000)
    no_http = await watched.see(b"\x16\x03\x01 hello\r\n\r\n")

    none = ("(none)", "(none)")
    assert told(slow) == (*none, 408, Outcome.BAD_INPUT, "")
    assert slow.seconds >= 0.2
    assert told(large) == told(in_pieces) == (*none, 431, Outcome.BAD_INPUT, "")
    assert told(no_http) == (*none, 400, Outcome.BAD_INPUT, "")


async def test_other_paths_are_seen_by_their_templates(watched: Watched) -> None:
    health = await watched.see(request("GET", "/healthz"))
    unknown = await watched.see(request("GET", "/secret/place"))
    admin = await watched.see(request("POST", f"/accounts/{CDN}/disable"), admin=True)
    absent = await watched.see(request("POST", "/accounts/99/edges", b'{"kind":"nginx"}'), admin=True)
    mistaken = await watched.see(request("POST", "/accounts", b"["), admin=True)

    assert told(health) == ("/healthz", "GET", 200, Outcome.DONE, "")
    assert told(unknown) == ("(none)", "GET", 404, Outcome.BAD_INPUT, "")
    assert told(admin) == ("/accounts/{cdn:int}/disable", "POST", 200, Outcome.DONE, "")
    assert told(absent) == ("/accounts/{cdn:int}/edges", "POST", 404, Outcome.NOT_AUTHORISED, "not_authorised")
    assert told(mistaken) == ("/accounts", "POST", 400, Outcome.BAD_INPUT, "invalid_parameter")
