"""The door of nginx's RTMP module in this process: plays of one connection, several servers, encoders, drops."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from openusher.attemptlog.ledgeronly import LedgerOnlyLog
from openusher.errors import InvalidParameter
from openusher.gate import Gate
from openusher.ledger.base import Ledger
from openusher.model.account import Edge
from openusher.model.edge import EdgeKind, checked_options
from openusher.model.search import AttemptFilter
from openusher.model.session import SessionFilter
from openusher.settings import Settings
from openusher.shipper import Shipper
from openusher.usher import Usher
from openusher.web.app import PublicApp
from openusher.web.edges.control import Controller
from openusher.web.edges.snippets import snippet_of
from tests.conformance.asking import NOON_MS, ticket
from tests.conformance.ledgers import SqliteBench
from tests.golden.nginx_rtmp import SENT, Sent

pytestmark = pytest.mark.anyio
ALLOWED, REFUSED, BUSY = 200, 403, 503
ENDS_OR_NOTHING = {"connect", "disconnect", "play_done", "publish_done", "done", "record_done"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Door:
    """An account's edge with a ticket `k` for all, and one `other` for cam2 only."""

    def __init__(self, usher: Usher, cdn: int, token: str) -> None:
        self.usher = usher
        self.cdn = cdn
        self.path = f"/e/{token}/nginx-rtmp"
        # httpx's types and ours are two spellings of ASGI's.
        self.app: Any = PublicApp(usher, Settings())

    async def says(
        self,
        call: str,
        name: str = "cam1",
        *,
        number: int = 1,
        peer: str = "127.0.0.1",
        addr: str = "192.0.2.7",
        args: str = "key=k&pass=p",
        method: str = "POST",
    ) -> int:
        """The status of the answer to a call of the module's."""
        then = {"play": "&start=0&duration=0&reset=0", "publish": "&type=live"}.get(call, "")
        before = "&time=30&timestamp=1" if call.startswith("update") else ""
        named = "&app=live" if call == "disconnect" else f"{before}&name={name}{then}"
        first = f"app=live&flashver=player&swfurl=&tcurl=&pageurl=&addr={addr}&clientid={number}&call={call}"
        return (await self.post(f"{first}{named}&{args}".encode(), peer=peer, method=method)).status_code

    async def post(self, body: bytes, *, peer: str = "127.0.0.1", method: str = "POST") -> httpx.Response:
        """The answer to a body as it is."""
        transport = httpx.ASGITransport(app=self.app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://usher") as client:
            return await client.request(method, self.path, content=body)

    async def reasons(self) -> list[str]:
        """Of all attempts, oldest first."""
        found = await self.usher.searching.newest(self.cdn, AttemptFilter(), seek=0, limit=100)
        return [attempt.reason for attempt in reversed(found)]

    def playing(self) -> list[str]:
        """The videos of the live sessions."""
        return sorted(each.session.video for each in self.usher.sessions(self.cdn, SessionFilter()))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    bench = SqliteBench(tmp_path)
    yield await bench.open()
    bench.close()


@pytest.fixture
async def gate(ledger: Ledger) -> Gate:
    return Gate(ledger, queue_wait_s_max=60, wall_ms=lambda: NOON_MS)


@pytest.fixture
async def usher(ledger: Ledger, gate: Gate) -> AsyncIterator[Usher]:
    log = LedgerOnlyLog()
    shipper = Shipper(ledger, log, rows_min=10**5, age_s_max=10**9, wall_ms=lambda: NOON_MS)
    opened = Usher(ledger, log, gate, shipper, wall_ms=lambda: NOON_MS)
    await opened.start()
    yield opened
    await opened.close()


async def door_of(usher: Usher, **options: str) -> Door:
    cdn = (await usher.create_account("site")).account.cdn
    given = checked_options(EdgeKind.NGINX_RTMP, {name: [value] for name, value in options.items()})
    _, token = await usher.create_edge(cdn, kind=EdgeKind.NGINX_RTMP, name="edge", options=given)
    await usher.issue_ticket(ticket(cdn, key="k", password="p", uses_limit=0))
    await usher.issue_ticket(ticket(cdn, key="other", password="p", uses_limit=0, video="cam2"))
    return Door(usher, cdn, token.reveal())


@pytest.fixture
async def door(usher: Usher) -> Door:
    return await door_of(usher)


OTHER = "key=other&pass=p"


# --- several plays of one connection ----------------------------------------------------------------------------------


async def test_each_play_is_a_question_and_an_end_is_of_its_own_stream(door: Door) -> None:
    assert await door.says("play") == ALLOWED
    await door.says("play_done")
    assert await door.says("play", "cam2", args=OTHER) == ALLOWED
    # Late, and of what is over.
    await door.says("done")

    assert (await door.reasons(), door.playing()) == (["", ""], ["cam2"])
    await door.says("play_done", "cam2")
    assert await door.says("play", "cam1", args=OTHER) == REFUSED
    assert (await door.reasons(), door.playing()) == (["", "", "Invalid Video"], [])


async def test_a_play_right_behind_an_end_is_a_new_one_and_stays(door: Door) -> None:
    """Else it would join a session that is about to end, and go on without any."""
    await door.says("play")
    for n in range(20):
        ended, again = await asyncio.gather(door.says("play_done"), door.says("play"))
        assert (ended, again, door.playing()) == (ALLOWED, ALLOWED, ["cam1"])
        assert await door.says("update_play") == ALLOWED
        assert len(await door.reasons()) == n + 2


async def test_a_play_behind_the_end_of_one_that_is_being_decided_stays(door: Door) -> None:
    first, ended, again = await asyncio.gather(door.says("play"), door.says("play_done"), door.says("play"))

    assert (first, ended, again, await door.reasons()) == (ALLOWED, ALLOWED, ALLOWED, ["", ""])
    deadline = time.monotonic() + 5
    while door.playing() != ["cam1"]:
        # The first's end is being written.
        assert time.monotonic() < deadline, door.playing()
        await asyncio.sleep(0.01)
    assert await door.says("update_play") == ALLOWED


async def test_the_next_stream_may_come_a_moment_before_the_end_of_the_first(door: Door) -> None:
    await door.says("play")
    second = asyncio.ensure_future(door.says("play", "cam2", args=OTHER))
    await asyncio.sleep(0.1)
    assert not second.done()
    await door.says("play_done")

    assert (await second, door.playing(), await door.reasons()) == (ALLOWED, ["cam2"], ["", ""])


async def test_a_second_stream_beside_the_first_is_refused_with_a_good_ticket(door: Door) -> None:
    """The module would go on sending the first, and nobody could end that by its ticket."""
    await door.says("play")

    assert await door.says("play", "cam2", args=OTHER) == REFUSED
    assert (await door.reasons(), door.playing()) == (["", ""], [])


async def test_two_streams_at_once_are_both_refused_but_one(door: Door) -> None:
    answers = await asyncio.gather(door.says("play"), door.says("play", "cam2", args=OTHER))

    assert REFUSED in answers
    assert door.playing() == []


async def test_a_number_that_a_restarted_server_gives_again_is_a_strangers(door: Door) -> None:
    await door.says("play")

    assert await door.says("play", "cam2", addr="192.0.2.8", args=OTHER) == ALLOWED
    assert (door.playing(), await door.says("update_play")) == (["cam2"], REFUSED)


async def test_servers_that_count_alike_do_not_end_each_others_plays(door: Door) -> None:
    assert await door.says("play") == ALLOWED
    assert await door.says("play", "cam2", peer="192.0.2.80", args=OTHER) == ALLOWED
    assert door.playing() == ["cam1", "cam2"]
    await door.says("disconnect", peer="192.0.2.80")

    assert door.playing() == ["cam1"]


# --- who is no viewer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {"addr": "rtmp://192.0.2.9/live"},
        {"addr": "unix:/var/run/nginx/1"},
        {"addr": ""},
        {"name": ""},
        {"name": "%00"},
        {"args": "key=%"},
        {"method": "GET"},
        {"method": "PUT"},
    ],
)
async def test_what_cannot_be_a_viewers_play_is_refused_and_no_attempt(door: Door, told: dict[str, Any]) -> None:
    assert await door.says("play", **told) == REFUSED
    assert (await door.reasons(), door.playing()) == ([], [])


async def test_encoders_publish_with_the_edges_password_and_are_no_attempt(usher: Usher) -> None:
    door = await door_of(usher, publish_password="right")
    for call in ("publish", "update_publish"):
        for args, answer in (
            ("pass=right", ALLOWED),
            ("pass=wrong&pass=right", REFUSED),
            ("pass=", REFUSED),
            ("x=1", REFUSED),
            ("key=k&pass=p", REFUSED),
        ):
            assert await door.says(call, args=args) == answer, (call, args)
    await door.says("publish_done")

    assert (await door.reasons(), door.playing()) == ([], [])


async def test_nobody_publishes_where_no_password_is_set(door: Door) -> None:
    for args in ("pass=", "x=1", "key=k&pass=p"):
        assert await door.says("publish", args=args) == REFUSED


@pytest.mark.parametrize("sent", [each for each in SENT if each.says[0] in ENDS_OR_NOTHING], ids=lambda sent: sent.name)
async def test_what_asks_for_nothing_is_answered_and_no_attempt(door: Door, sent: Sent) -> None:
    assert (await door.post(sent.body)).status_code == ALLOWED
    assert (await door.reasons(), door.playing()) == ([], [])


async def test_an_update_is_allowed_by_its_own_session_only(door: Door) -> None:
    assert await door.says("update_play") == REFUSED
    await door.says("play")
    assert await door.says("update_play") == ALLOWED
    for told in (
        {"name": "cam2"},
        {"number": 2},
        {"args": OTHER},
        {"args": "key=k&pass=q"},
        {"peer": "::1"},
        {"addr": "192.0.2.8"},
    ):
        changed: dict[str, Any] = told
        assert await door.says("update_play", **changed) == REFUSED, told
    await door.usher.revoke_ticket(door.cdn, "k")

    assert await door.says("update_play") == REFUSED
    assert await door.reasons() == [""]


async def test_a_node_that_cannot_decide_is_busy_and_its_viewers_go_on(door: Door, gate: Gate) -> None:
    await door.says("play")
    await gate.close()

    assert await door.says("play", number=2) == BUSY
    assert await door.says("update_play") == ALLOWED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("update_s", "241"),
        ("update_s", "-1"),
        ("update_s", ""),
        ("app", "a;b"),
        ("control", "127.0.0.1:8080"),
        ("x", "1"),
    ],
)
def test_what_no_configuration_takes_is_no_option(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter):
        checked_options(EdgeKind.NGINX_RTMP, {name: [value]})


@pytest.mark.parametrize(
    ("control", "usher", "listen", "location", "callers"),
    [
        ("http://127.0.0.1:8080/control", "127.0.0.1:8088", "127.0.0.1:8080", "/control", ["127.0.0.1", "::1"]),
        ("http://media.example.com", "192.0.2.3:8088", "media.example.com:80", "/", ["127.0.0.1", "::1", "192.0.2.3"]),
        ("http://u:p@[::1]:81/c/", "usher.example.com:80", "[::1]:81", "/c/", ["127.0.0.1", "::1"]),
        ("http://[2001:db8::1]/c", "[2001:db8::2]:80", "[2001:db8::1]:80", "/c", ["127.0.0.1", "::1", "2001:db8::2"]),
    ],
)
def test_the_control_api_is_where_this_node_calls_it(
    control: str, usher: str, listen: str, location: str, callers: list[str]
) -> None:
    options = {"control": [control], "usher": [usher], "app": ["live", "event"]}
    checked = checked_options(EdgeKind.NGINX_RTMP, options)
    edge = Edge(number=1, cdn=1, name="e", token_digest="", kind="nginx-rtmp", options=checked)
    snippet = snippet_of(edge)

    assert f"        listen {listen};\n        location {location} {{\n" in snippet
    assert callers == re.findall(r"allow (.*);", snippet)
    assert re.findall(r"application (\S+) {", snippet) == ["live", "event"]
    assert f"on_play http://{usher}/e/THE-TOKEN-OF-THIS-EDGE/nginx-rtmp;" in snippet


# --- drops ------------------------------------------------------------------------------------------------------------


class ControlApi:
    """A control API that gives one answer after the other, and the last again."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.asked: list[str] = []
        api, left = self, list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(self.path)
                status, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/control"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


async def asked_of(usher: Usher, *answers: tuple[int, bytes], until: int) -> tuple[list[str], int]:
    """What a control API that answers so is asked for a revoked viewer, and how much is owed once it has been asked
    `until` times."""
    api = ControlApi(*answers)
    door = await door_of(usher, control=api.url)
    controller = Controller(usher, door.app.controls, retry_s=0.02)
    controller.start()
    try:
        await door.says("play", number=42)
        await usher.revoke_ticket(door.cdn, "k")
        deadline = time.monotonic() + 10
        while len(api.asked) < until:
            assert time.monotonic() < deadline, api.asked
            await asyncio.sleep(0.02)
        # Time for one call too many.
        await asyncio.sleep(0.2)
        return api.asked, len(await usher.owed_kicks(after=0, limit=10))
    finally:
        await controller.close()
        api.server.shutdown()
        api.server.server_close()


DROP = "/control/drop/client?clientid=42"


async def test_a_viewer_is_dropped_by_its_number_alone(usher: Usher) -> None:
    assert await asked_of(usher, (200, b"1"), until=1) == ([DROP], 0)


async def test_a_drop_is_asked_for_until_the_worker_that_has_the_viewer_takes_it(usher: Usher) -> None:
    assert await asked_of(usher, (200, b"0"), (200, b"0"), (200, b"1"), until=3) == ([DROP] * 3, 0)


async def test_a_viewer_whom_no_worker_has_is_gone_after_some_calls(usher: Usher) -> None:
    assert await asked_of(usher, (200, b"0"), until=6) == ([DROP] * 6, 0)


async def test_a_wrong_control_url_leaves_the_drop_owed(usher: Usher) -> None:
    asked, owed = await asked_of(usher, (404, b"0"), until=1)

    assert (set(asked), owed) == ({DROP}, 1)
