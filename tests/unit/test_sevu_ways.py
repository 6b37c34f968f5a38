"""A command that came whole goes a shorter way than one that came in pieces, and is answered alike to the letter."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from openusher.node import open_node
from openusher.settings import LogKind, Settings
from openusher.web.app import PublicApp
from openusher.web.server import http_config
from tests.e2e.rawhttp import request
from tests.golden.bad_requests import bad_requests
from tests.golden.signed_requests import MULTIPART, URLENCODED, multipart, posted
from tests.sevuclient import Account, signed_text
from tests.unit.test_connection import Wire

pytestmark = pytest.mark.anyio
CDN = 7
FOLDERS = ("/", "/stable", "/stable/", "/dev", "/dev/", "/cp/api/0.8", "/cp/api/0.8/")
ANSWER_S_MAX = 10.0
_SPENT = re.compile(rb"date: [^\r]*|content-length: \d+|[0-9.]+ seconds|s:\d+:")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Replied(Wire):
    """A connection of which one answer is awaited."""

    def __init__(self, connection: asyncio.Protocol) -> None:
        super().__init__()
        self._connection = connection
        self._has_answered = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._has_answered.set()

    async def answer(self) -> bytes:
        async with asyncio.timeout(ANSWER_S_MAX):
            await self._has_answered.wait()
        # Else its timers go on.
        self._connection.connection_lost(None)
        return self.written


class Asked:
    """A node's public application, asked over connections without a network."""

    def __init__(self, app: PublicApp, account: Account) -> None:
        self.account = account
        self.state = ServerState()
        self._config: uvicorn.Config = http_config(app, Settings(), short_way=app.short_way)
        self._config.load()

    async def begin(self, *pieces: bytes) -> Replied:
        """A connection that these have come on, one after the other."""
        kind: Any = self._config.http_protocol_class
        connection = kind(config=self._config, server_state=self.state, app_state={})
        wire = Replied(connection)
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
        return wire

    async def answer(self, *pieces: bytes) -> bytes:
        """What comes when these come one after the other."""
        return await (await self.begin(*pieces)).answer()

    async def both(self, body: bytes, content_type: str, *, path: str = "/stable/") -> tuple[bytes, bytes]:
        """The answer to what came whole, and to the same in two pieces, without what time makes of them."""
        named = {"content_type": content_type} if content_type else {}
        asked = request("POST", path, body, **named)
        cut = len(asked) - max(1, len(body) // 2)
        whole, in_pieces = await self.answer(asked), await self.answer(asked[:cut], asked[cut:])
        return _SPENT.sub(b"", whole), _SPENT.sub(b"", in_pieces)

    def text(self, command: str, **parameters: Any) -> bytes:
        return signed_text(self.account, command, **parameters).encode()


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    settings = Settings(data=tmp_path / "data", log=LogKind.LEDGER)
    async with open_node(settings) as usher:
        made = await usher.create_account("site", cdn=CDN)
        secrets = {"secret": made.secret.reveal(), "edge_token": made.edge_token.reveal()}
        account = Account(name="site", cdn=CDN, api_key=made.api_key, **secrets)
        yield Asked(PublicApp(usher, settings), account)


async def test_every_bad_request_is_answered_alike(asked: Asked) -> None:
    account = asked.account
    rows = bad_requests(api_key=account.api_key, secret=account.secret, cdn=CDN, now=int(time.time()))
    differ = []
    for row in rows:
        whole, in_pieces = await asked.both(row.body, row.content_type)
        if whole != in_pieces:
            differ.append((row.name, whole, in_pieces))

    assert differ == []
    # Else nothing was compared.
    assert len(rows) > 100


@pytest.mark.parametrize("field", ["json", "php"])
@pytest.mark.parametrize("command", ["sevu.errorcount", "sevu.errorlog", "sevu.sessions", "sevu.kick", "sevu.status"])
async def test_commands_are_answered_alike_in_every_form(asked: Asked, command: str, field: str) -> None:
    text = asked.text(command, key="k", mistyped=1)
    for content_type, body in ((URLENCODED, posted(text, field)), (MULTIPART, multipart((field, text))), ("", b"")):
        whole, in_pieces = await asked.both(body, content_type)

        assert whole == in_pieces
        assert whole.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", FOLDERS)
async def test_commands_are_answered_alike_in_every_folder(asked: Asked, path: str) -> None:
    whole, in_pieces = await asked.both(posted(asked.text("sevu.errorcount")), URLENCODED, path=path)

    assert whole == in_pieces
    assert b'"error_count":0' in whole


async def test_a_ticket_is_issued_once_by_either_way(asked: Asked) -> None:
    rules = {"app": "*", "video": "live/a", "ip": "0.0.0.0/0", "uses": 3, "pass": "user1|x"}
    first = request("POST", "/stable/", urllib.parse.urlencode({"json": asked.text("sevu.request", **rules)}).encode())
    issued, again = await asked.answer(first), await asked.answer(first[:-9], first[-9:])

    replies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in (issued, again)]
    assert [reply["code"] for reply in replies] == [2011, 2013]


@pytest.mark.parametrize("cut", [0, 9], ids=["short way", "usual way"])
async def test_a_command_that_the_ending_server_gives_up_is_answered_so(asked: Asked, cut: int) -> None:
    question = request("POST", "/stable/", posted(asked.text("sevu.errorcount", key="k")))
    # After each piece all is done that can be done at once: from then on it waits for the ledger.
    asking = await asked.begin(*((question[:-cut], question[-cut:]) if cut else (question,)))
    (under_way,) = asked.state.tasks
    under_way.cancel()

    assert b'"code":2053' in await asking.answer()
    await asyncio.sleep(0)
    assert not asked.state.tasks
