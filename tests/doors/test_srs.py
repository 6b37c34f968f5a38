"""The door of SRS: what it makes of each hook, by the bytes that SRS sends, and how SRS is answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openusher.model.address import format_address
from openusher.model.edge import EdgeKind
from openusher.web.edges.srs import SrsDoor
from tests.doors.doornode import CDN, Answer, DoorNode
from tests.golden import srs
from tests.golden.srs import FORMS, HEADERS, hook

pytestmark = pytest.mark.anyio


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DoorNode]:
    opened = DoorNode(tmp_path, EdgeKind.SRS, publish_password="secret")
    await opened.start()
    await opened.issue("K")
    yield opened
    await opened.stop()


async def said(node: DoorNode, body: bytes) -> int:
    """The code that SRS reads; the status must say the same."""
    return code_of(await node.post(body, **HEADERS))


def code_of(answer: Answer) -> int:
    code: int = json.loads(answer.body)["code"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.status == (code or 200)
    return code


# --- what SRS sends --------------------------------------------------------------------------------------------------


def test_the_captured_bytes_are_whole() -> None:
    assert {body: len(body) for body in srs.LENGTHS} == srs.LENGTHS


async def test_a_view_as_captured_is_one_attempt_from_connect_to_close(node: DoorNode) -> None:
    await node.issue("K2", password="P")
    bodies = [body.replace(b"key=K&", b"key=K2&") for body in (srs.CONNECT, srs.PLAY)]

    assert [await said(node, body) for body in bodies] == [0, 0]
    (attempt,) = await node.attempts()
    assert (attempt.app, attempt.appinst, attempt.video, attempt.key) == ("live", "", "cam1", "K2")
    assert (format_address(attempt.ip), attempt.edge) == ("127.0.0.1", node.edge.number)
    assert node.clients() == ["63baf804"]
    assert [await said(node, body) for body in (srs.STOP, srs.CLOSE)] == [0, 0]
    assert node.clients() == []
    assert (await node.counts(), await node.uses("K2")) == ((1, 0), 1)


async def test_the_other_protocols_as_captured_are_attempts_on_the_same_video(node: DoorNode) -> None:
    await node.issue("K2", password="P")
    for body in (srs.PLAY_FLV, srs.PLAY_HLS):
        assert await said(node, body.replace(b"key=K&", b"key=K2&")) == 0

    assert [(attempt.app, attempt.video) for attempt in await node.attempts()] == [("live", "cam1")] * 2
    assert node.clients() == ["04m42x7y", "hls:353nuc06"]
    assert await said(node, srs.STOP_HLS) == 0
    assert node.clients() == ["04m42x7y"]


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_a_players_url_is_read(node: DoorNode, form: str) -> None:
    assert await said(node, hook("on_play", "c1", **FORMS[form])) == 0

    (attempt,) = await node.attempts()
    assert (attempt.app, attempt.video, attempt.key, attempt.reason) == ("live", "cam1", "K", "")


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"vhost": "b.example"}, ("b.example/live", "cam1")),
        ({"vhost": "b.example", "stream_url": "b.example/live/cam1"}, ("b.example/live", "cam1")),
        ({"app": "b.example/live", "stream_url": "/b.example/live/cam1"}, ("b.example", "live/cam1")),
        ({"app": "a/b", "stream_url": "/a/b/cam1"}, ("a", "b/cam1")),
        ({"stream": "show.2024", "stream_url": "/live/show"}, ("live", "show")),
        ({"stream": "show.2024", "stream_url": "/live/show.2024"}, ("live", "show.2024")),
        ({"stream": "show.2024", "stream_url": ...}, ("live", "show")),
        # Not what the hook says elsewhere: as if there were none.
        ({"stream": "cam2", "stream_url": "/other/cam1"}, ("live", "cam2")),
    ],
)
async def test_a_stream_is_named_as_srs_takes_it(
    node: DoorNode, members: dict[str, Any], named: tuple[str, str]
) -> None:
    await said(node, hook("on_play", "c1", **members))

    (attempt,) = await node.attempts()
    assert (attempt.app, attempt.video) == named


async def test_the_same_stream_of_two_vhosts_is_two_videos(node: DoorNode) -> None:
    await node.issue("L", app="live")
    await node.issue("B", app="b.example/live")
    ours, theirs = {"vhost": "__defaultVhost__"}, {"vhost": "b.example"}
    param = {name: {"param": f"?key={name}&pass=pass-of-{name}"} for name in ("L", "B")}

    assert await said(node, hook("on_play", "c1", **param["L"], **ours)) == 0
    assert await said(node, hook("on_play", "c2", **param["L"], **theirs)) == 403
    assert await said(node, hook("on_play", "c3", **param["B"], **ours)) == 403
    assert await said(node, hook("on_play", "c4", **param["B"], **theirs)) == 0


async def test_the_page_that_a_player_is_on_is_recorded(node: DoorNode) -> None:
    await said(node, hook("on_play", "c1", pageUrl="https://site.example/watch"))

    (attempt,) = await node.attempts()
    assert attempt.pageurl == "https://site.example/watch"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ("?key=K&pass=wrong", "Invalid Auth Token"),
        ("?pass=pass-of-K", "Missing Auth Token"),
        ("", "Missing Auth Token"),
        ("?", "Missing Auth Token"),
        ("??key=K&pass=pass-of-K", "Missing Auth Token"),
        ("?key=&key=K&pass=pass-of-K", "Missing Auth Token"),
    ],
)
async def test_a_view_without_a_ticket_is_a_refused_attempt(node: DoorNode, param: str, reason: str) -> None:
    answer = await node.post(hook("on_play", "c1", param=param))

    assert (answer.status, json.loads(answer.body)) == (403, {"code": 403, "msg": reason})
    assert [attempt.reason for attempt in await node.attempts()] == [reason]
    assert node.clients() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"action":7}',
        b"\xff",
        b"[" * 5000,
        b'{"action":"on_play","client_id":["c"]}',
        hook("on_play", "c1", ip="not an address"),
        hook("on_play", "c1", ip=""),
        hook("on_play", "c1", param="?key=%ff"),
        hook("on_play", "c1", param="?" + "a&" * 100 + "a"),
        hook("on_play", "c1", app="a\0b", stream_url=...),
        hook("on_forward", "c1"),
        hook("on_hls", "c1"),
        hook("", "c1"),
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_what_cannot_be_read_lets_nobody_in_and_is_no_attempt(node: DoorNode, body: bytes) -> None:
    assert await said(node, body) == 403
    assert await node.counts() == (0, 0)


async def test_a_token_that_is_none_lets_nobody_in(node: DoorNode) -> None:
    for token in ("none", "", "%2e%2e"):
        answer = await node.post(srs.CONNECT, token=token)
        assert answer.status in (403, 404), token
        if answer.status == 403:
            assert json.loads(answer.body) == {"code": 403, "msg": "Invalid edge token"}
    await node.usher.set_account_active(CDN, active=False)

    assert await said(node, hook("on_play", "c1")) == 403
    assert await said(node, srs.CONNECT) == 403


async def test_a_node_that_cannot_decide_is_busy(node: DoorNode) -> None:
    node.usher.takes_starts = False
    answer = await node.post(hook("on_play", "c1"))

    assert code_of(answer) == 503
    assert answer.headers["retry-after"] == "30"
    assert await node.counts() == (0, 0)


# --- publishing ------------------------------------------------------------------------------------------------------


async def test_publishing_takes_the_edges_password_and_is_no_attempt(node: DoorNode) -> None:
    assert await said(node, srs.PUBLISH) == 0
    for param in ("?pass=wrong", "?pass=", "", "?key=K&pass=pass-of-K", "?pass=wrong&pass=secret", "?password=secret"):
        assert await said(node, hook("on_publish", "c1", param=param)) == 403, param
    assert await said(node, hook("on_publish", "c1", param="pass=secret")) == 0
    assert await said(node, hook("on_unpublish", "c1")) == 0
    assert await node.counts() == (0, 0)
    assert node.clients() == []


async def test_nobody_publishes_where_no_password_is_set(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.SRS)
    await node.start()
    for param in ("?pass=", "", "?pass=secret"):
        assert await said(node, hook("on_publish", "c1", param=param)) == 403
    await node.stop()


# --- connections -----------------------------------------------------------------------------------------------------


async def test_the_same_hook_within_a_minute_is_one_attempt_and_one_use(node: DoorNode) -> None:
    good, bad = hook("on_play", "c1"), hook("on_play", "c2", param="?key=K&pass=wrong")
    for after_ms in (0, 0, 60_000):
        node.now_ms += after_ms
        assert (await said(node, good), await said(node, bad)) == (0, 403)
    assert (await node.counts(), await node.uses("K")) == ((1, 1), 1)
    node.now_ms += 1
    assert (await said(node, good), await said(node, bad)) == (0, 403)
    assert (await node.counts(), await node.uses("K")) == ((2, 2), 2)
    assert node.clients() == ["c1"]


async def test_an_id_that_the_viewer_can_choose_is_no_id(node: DoorNode) -> None:
    chosen = {"stream": "cam1.m3u8", "param": "?hls_ctx=mine&key=K&pass=pass-of-K"}
    for _ in range(3):
        assert await said(node, hook("on_play", "mine", **chosen)) == 0

    assert (await node.counts(), await node.uses("K")) == ((3, 0), 3)
    assert node.clients() == ["hls:mine"]


async def test_an_hls_viewer_who_takes_anothers_id_ends_nothing_but_hls(node: DoorNode) -> None:
    assert await said(node, hook("on_play", "c1")) == 0
    for body in (hook("on_play", "c1", stream="cam1.m3u8"), hook("on_stop", "c1", stream="cam1.m3u8")):
        assert await said(node, body) == 0

    assert node.clients() == ["c1"]


@pytest.mark.parametrize("name", ["", "../../rtc", "a b", "x" * 65, "~c", "hls:c", "é", "c\n"])
async def test_an_id_that_no_server_gives_is_an_attempt_that_is_never_told_to_the_api(
    node: DoorNode, name: str
) -> None:
    for _ in range(2):
        assert await said(node, hook("on_play", name)) == 0
    (client,) = node.clients()

    assert SrsDoor(node.usher).drop(client) is None
    assert (await node.counts(), await node.uses("K")) == ((2, 0), 2)
    assert await said(node, hook("on_stop", name)) == 0
    # A stray end without an id is nobody's.
    assert len(node.clients()) == (0 if name else 1)


async def test_a_stop_ends_what_it_names_and_may_come_at_any_time(node: DoorNode) -> None:
    for body in (hook("on_stop", "c1"), hook("on_stop", ""), hook("on_stop", "", stream="cam1.m3u8")):
        assert await said(node, body) == 0
    assert await said(node, hook("on_play", "c1")) == 0
    other = {"stream": "cam2", "stream_url": "/live/cam2"}
    for body in (hook("on_stop", "c2"), hook("on_stop", ""), hook("on_stop", "c1", **other)):
        assert await said(node, body) == 0
    assert node.clients() == ["c1"]
    for _ in range(2):
        assert await said(node, hook("on_stop", "c1")) == 0
    assert node.clients() == []
    # It has ended: to play again is another view.
    assert await said(node, hook("on_play", "c1")) == 0
    assert await node.uses("K") == 2


async def test_a_connection_outlives_a_crash_and_is_not_paid_twice(node: DoorNode) -> None:
    await node.issue("one", uses_limit=1, max_sessions=1)
    play = {"param": "?key=one&pass=pass-of-one"}
    assert await said(node, hook("on_play", "c1", **play)) == 0
    await node.crash()
    await node.start()

    assert node.clients() == ["c1"]
    assert await said(node, hook("on_play", "c1", **play)) == 0
    assert await said(node, hook("on_play", "c2", **play)) == 403
    assert await node.uses("one") == 1
    assert await said(node, hook("on_stop", "c1")) == 0
    assert node.clients() == []


# --- the control API -------------------------------------------------------------------------------------------------


async def test_a_client_is_dropped_by_its_id_and_srs_says_whether_it_was(node: DoorNode) -> None:
    door = SrsDoor(node.usher)
    for client in ("63baf804", "hls:63baf804", "104"):
        call = door.drop(client)
        assert call is not None
        assert (call.method, call.path) == ("DELETE", f"/api/v1/clients/{client.removeprefix('hls:')}")

    gone = [(200, b'{"code":0,"server":"vid-9ocn047"}'), (200, b'{"code":2049}')]
    not_gone = [
        (200, b'{"code":400}'),
        (200, b'{"code":1061}'),
        (200, b""),
        (200, b"0"),
        (200, b"<html>"),
        (200, b'{"code":"0"}'),
        (401, b'{"code":0}'),
        (302, b'{"code":0}'),
        (404, b""),
        (500, b'{"code":0}'),
    ]
    assert [door.has_dropped([answer]) for answer in gone] == [True] * len(gone)
    assert [door.has_dropped([answer]) for answer in not_gone] == [False] * len(not_gone)
