"""Connections that have gone without a word: whose sessions end, and whose go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from openusher.model.edge import EdgeKind
from openusher.web.edges.reconcile import Reconciler
from tests.doors.controlapi import Behaviour, ControlApi, Said, control_api
from tests.doors.controlled import GONE, always, until
from tests.doors.doornode import DoorNode
from tests.golden import mediamtx
from tests.golden.srs import hook
from tests.servers.ports import free_port

pytestmark = pytest.mark.anyio

HERE = Said(body=b'{"code":0,"client":{}}')
UUID = "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01"
NOT_FOUND = Said(status=404, body=b'{"status":"error","error":"connection not found"}')
NO_SUCH_LIST = Said(status=404, body=b"404 page not found")


class Site:
    """A node, its server's API, and what looks there."""

    def __init__(self, node: DoorNode, api: ControlApi) -> None:
        self.node = node
        self.api = api
        self.reconciler = Reconciler(node.usher, node.app.shows, look_s=0.05)

    async def play(self, client: str) -> None:
        answer = await self.node.post(hook("on_play", client, param="?key=K&pass=pass-of-K"))
        assert answer.status == 200

    async def look(self) -> list[str]:
        """Whose sessions are live once it has looked."""
        await self.reconciler.look()
        return self.node.clients()


@asynccontextmanager
async def site(folder: Path, behaviour: Behaviour, *, kind: EdgeKind = EdgeKind.SRS) -> AsyncIterator[Site]:
    with control_api(behaviour) as api:
        node = DoorNode(folder, kind, control=api.url)
        await node.start()
        await node.issue("K")
        opened = Site(node, api)
        opened.reconciler.start()
        try:
            yield opened
        finally:
            await opened.reconciler.close()
            await node.stop()


async def test_a_connection_that_its_server_does_not_know_has_ended(tmp_path: Path) -> None:
    def knows_c2(method: str, path: str) -> Said:
        return HERE if path.endswith("/c2") else GONE

    async with site(tmp_path, knows_c2) as opened:
        await opened.play("c1")
        await opened.play("c2")
        # One that has just begun may not be in the list yet.
        assert await opened.look() == ["c1", "c2"]
        assert opened.api.asked == []
        opened.node.now_ms += 30_000

        # By itself, in one of five rounds.
        await until(lambda: opened.node.clients() == ["c2"], "the session goes on")
        assert {method for method, _ in opened.api.asked} == {"GET"}
        assert {path for _, path in opened.api.asked} <= {"/api/v1/clients/c1", "/api/v1/clients/c2"}
        assert opened.reconciler.ended == 1
        # It was watched until it was missed, and nothing is owed to a server that knows it no more.
        (ended,) = await opened.node.usher.ended_sessions(1, from_ms=0, limit=9)
        assert (ended.session.ended_by, ended.watched_ms) == ("stopped", 30_000)
        assert await opened.node.usher.owed_kicks(after=0, limit=9) == []


@pytest.mark.parametrize(
    "said",
    [
        HERE,
        None,
        Said(status=401, body=b'{"code":401}'),
        Said(status=404, body=b"nothing here"),
        Said(status=500, body=b"{}"),
        Said(status=302, headers=(("location", "/elsewhere"),), body=b""),
        Said(flood=True),
    ],
)
async def test_an_answer_that_says_nothing_of_it_ends_nothing(tmp_path: Path, said: Said | None) -> None:
    async with site(tmp_path, always(said)) as opened:
        await opened.reconciler.close()
        opened.reconciler = Reconciler(opened.node.usher, opened.node.app.shows, look_s=10**6)
        opened.reconciler.start()
        await opened.play("c1")
        opened.node.now_ms += 60_000

        assert await opened.look() == ["c1"]
        assert len(opened.api.asked) == 1


async def test_one_that_cannot_be_asked_about_goes_on(tmp_path: Path) -> None:
    async with site(tmp_path, always(GONE)) as opened:
        await opened.play("../c1")
        opened.node.now_ms += 60_000

        assert len(await opened.look()) == 1
        assert opened.api.asked == []


async def test_a_server_that_is_not_there_ends_nothing(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.SRS, control=f"http://127.0.0.1:{free_port()}")
    await node.start()
    await node.issue("K")
    opened = Site(node, ControlApi.__new__(ControlApi))
    opened.reconciler.start()
    for client in ("c1", "c2"):
        await opened.play(client)
    node.now_ms += 60_000

    assert await opened.look() == ["c1", "c2"]
    await opened.reconciler.close()
    await node.stop()


@pytest.mark.parametrize(
    ("plain", "over_tls", "goes_on"),
    [
        (NOT_FOUND, NOT_FOUND, False),
        # Without TLS there is no such list.
        (NOT_FOUND, NO_SUCH_LIST, False),
        (Said(body=b"{}"), NO_SUCH_LIST, True),
        (NOT_FOUND, Said(body=b"{}"), True),
        # No API at all: a wrong URL.
        (NO_SUCH_LIST, NO_SUCH_LIST, True),
    ],
)
async def test_each_list_of_mediamtx_is_asked(tmp_path: Path, plain: Said, over_tls: Said, *, goes_on: bool) -> None:
    def answer(method: str, path: str) -> Said:
        return over_tls if "rtmps" in path else plain

    async with site(tmp_path, answer, kind=EdgeKind.MEDIAMTX) as opened:
        asked = mediamtx.question(action="read", protocol="rtmp", id=UUID, query="key=K&pass=pass-of-K")
        assert (await opened.node.post(asked)).status == 200
        opened.node.now_ms += 60_000

        assert bool(await opened.look()) == goes_on
        wanted = {f"/v3/{each}/get/{UUID}" for each in ("rtmpconns", "rtmpsconns")}
        assert {path for _, path in opened.api.asked} == wanted
