"""The door of MediaMTX: what it makes of each question, by protocol, and how MediaMTX is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openusher.model.address import format_address
from openusher.model.edge import EdgeKind
from openusher.web.edges.mediamtx import MediaMtxDoor
from tests.doors.doornode import CDN, DoorNode
from tests.golden.mediamtx import CONN, FORMS, HEADERS, PLAY_HLS_OLD, PLAY_RTMP, SESSION, question

pytestmark = pytest.mark.anyio
TICKET = "key=K&pass=pass-of-K"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DoorNode]:
    opened = DoorNode(tmp_path, EdgeKind.MEDIAMTX, publish_password="secret")
    await opened.start()
    await opened.issue("K")
    await opened.issue("one", uses_limit=1, max_sessions=1)
    yield opened
    await opened.stop()


async def ask(node: DoorNode, **members: Any) -> int:
    return await said(node, question(**members))


async def said(node: DoorNode, body: bytes, **way: str) -> int:
    """The status; a body would go to MediaMTX's log."""
    answer = await node.post(body, **way, **HEADERS)
    assert answer.body == b""
    return answer.status


async def unread(node: DoorNode, name: str, *, more: str = "") -> int:
    """As curl tells, by the snippet's command."""
    answer = await node.post(f"id={name}{more}".encode(), below="/unread")
    return answer.status


# --- how a ticket comes ----------------------------------------------------------------------------------------------


def test_a_question_is_written_as_go_writes_it() -> None:
    asked = {"query": TICKET, "password": "pass-of-K", "token": "pass-of-K", "userAgent": "FMLE/3.0"}

    assert question(**asked) == PLAY_RTMP


@pytest.mark.parametrize("form", FORMS)
async def test_every_way_to_give_a_ticket_is_read(node: DoorNode, form: str) -> None:
    assert await ask(node, **FORMS[form]) == 200

    (attempt,) = await node.attempts()
    assert (attempt.app, attempt.video, attempt.key, attempt.reason) == ("live", "cam1", "K", "")
    assert format_address(attempt.ip) == "192.0.2.7"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"query": "key=K&pass=wrong"}, "Invalid Auth Token"),
        ({"query": "key=K&pass=wrong", "user": "K", "password": "pass-of-K"}, "Invalid Auth Token"),
        ({"query": "key=other", "user": "K", "password": "pass-of-K"}, "Invalid Auth Token"),
        ({"user": "K"}, "Missing Auth Token"),
        ({"password": "pass-of-K", "token": "pass-of-K"}, "Missing Auth Token"),
        ({"query": "pass=pass-of-K"}, "Missing Auth Token"),
        ({"token": "K"}, "Missing Auth Token"),
        ({}, "Missing Auth Token"),
        ({"protocol": "srt"}, "Missing Auth Token"),
    ],
)
async def test_a_view_without_a_ticket_is_a_refused_attempt(
    node: DoorNode, members: dict[str, Any], reason: str
) -> None:
    assert await ask(node, **members) == 401
    assert [attempt.reason for attempt in await node.attempts()] == [reason]
    assert node.clients() == []


@pytest.mark.parametrize(
    "asked",
    [
        {"protocol": "rtsp"},
        {"protocol": "hls"},
        {"protocol": "hls", "id": None},
        {"protocol": "webrtc", "id": None, "query": "other=1"},
        {"action": "playback", "protocol": "", "id": None},
    ],
)
async def test_without_any_credentials_the_viewer_is_asked_for_some_and_nothing_is_counted(
    node: DoorNode, asked: dict[str, Any]
) -> None:
    for _ in range(2):
        assert await ask(node, **asked) == 401
    assert await node.counts() == (0, 0)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("live/cam1", ("live", "cam1")),
        ("cam1", ("live", "cam1")),
        ("vod/a/b", ("vod", "a/b")),
        ("Ж/ж", ("Ж", "ж")),
    ],
)
async def test_a_path_is_app_and_video(node: DoorNode, path: str, named: tuple[str, str]) -> None:
    await ask(node, path=path, query=TICKET)

    (attempt,) = await node.attempts()
    assert (attempt.app, attempt.video) == named


async def test_the_app_of_a_path_in_one_part_is_the_edges(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.MEDIAMTX, app="cams")
    await node.start()
    await ask(node, path="cam1", query=TICKET)

    assert [(attempt.app, attempt.video) for attempt in await node.attempts()] == [("cams", "cam1")]
    await node.stop()


# --- who may do what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["api", "metrics", "pprof", "other", ""])
async def test_what_is_neither_playing_nor_publishing_is_refused(node: DoorNode, action: str) -> None:
    assert await ask(node, action=action, path="", protocol="", id=None, query=TICKET, password="secret") == 401
    assert await node.counts() == (0, 0)


async def test_publishing_takes_the_edges_password_and_is_no_attempt(node: DoorNode) -> None:
    for given in (
        {"query": "pass=secret"},
        {"password": "secret"},
        {"user": "x", "password": "secret", "query": "a=b"},
    ):
        for more in ({"protocol": "rtsp"}, {"protocol": "webrtc", "id": None}):
            assert await ask(node, action="publish", **given, **more) == 200
    for given in ({}, {"password": "wrong"}, {"query": TICKET}, {"user": "secret"}, {"token": "secret"}):
        assert await ask(node, action="publish", **given) == 401, given

    assert (await node.counts(), node.clients()) == ((0, 0), [])


async def test_nobody_publishes_where_no_password_is_set(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.MEDIAMTX)
    await node.start()
    for password in ("", "secret"):
        assert await ask(node, action="publish", password=password) == 401
    await node.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"\xff",
        b"[" * 5000,
        question(ip="<nil>", query=TICKET),
        question(query="key=%ff"),
        question(query="&".join("a" * 100)),
        question(id=None, query=TICKET),
        question(id="../../config", query=TICKET),
        question(id="", query=TICKET),
        question(protocol="", query=TICKET),
        question(protocol="other", query=TICKET),
        question(id=7, query=TICKET),
    ],
    ids=lambda body: repr(body[:80]),
)
async def test_what_cannot_be_read_lets_nobody_in_and_is_no_attempt(node: DoorNode, body: bytes) -> None:
    assert await said(node, body) == 401
    assert await node.counts() == (0, 0)


async def test_a_token_that_is_none_lets_nobody_in(node: DoorNode) -> None:
    assert await said(node, PLAY_RTMP, token="none") == 401
    assert await said(node, PLAY_RTMP, below="/other") == 401
    await node.usher.set_account_active(CDN, active=False)

    assert await said(node, PLAY_RTMP) == 401
    assert await node.counts() == (0, 0)


async def test_a_node_that_cannot_decide_is_busy(node: DoorNode) -> None:
    node.usher.takes_starts = False
    answer = await node.post(PLAY_RTMP)

    assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, b"", "30")
    assert await node.counts() == (0, 0)


# --- one view, however often it is asked about -----------------------------------------------------------------------


async def test_a_view_over_rtsp_is_asked_for_four_times_and_counted_once(node: DoorNode) -> None:
    asked = {"protocol": "rtsp"}
    basic = {"user": "one", "password": "pass-of-one", "token": "pass-of-one"}
    # DESCRIBE without and with credentials, and likewise SETUP.
    statuses = [await ask(node, **asked, id=name, **given) for name in (CONN, SESSION) for given in ({}, basic)]

    assert statuses == [401, 200, 401, 200]
    assert (await node.counts(), await node.uses("one")) == ((1, 0), 1)
    assert node.clients() == [f"rtsp:{SESSION}"]
    assert await unread(node, SESSION) == 200
    assert node.clients() == []


async def test_both_questions_of_rtsp_are_of_one_viewer_whichever_names_the_player(node: DoorNode) -> None:
    for name, player in ((CONN, ""), (SESSION, "VLC/3.0.20")):
        assert await ask(node, protocol="rtsp", id=name, query=TICKET, userAgent=player) == 200

    assert await node.uses("K") == 1


async def test_a_view_over_hls_is_its_session_and_the_page_takes_no_use(node: DoorNode) -> None:
    play = {"protocol": "hls", "query": "key=one&pass=pass-of-one"}
    for _ in range(2):
        assert await ask(node, **play, id=None) == 200
    assert (await node.counts(), node.clients()) == ((0, 0), [])
    for _ in range(2):
        assert await ask(node, **play, id=SESSION) == 200
    assert (await node.counts(), await node.uses("one")) == ((1, 0), 1)
    assert node.clients() == [f"hls:{SESSION}"]
    # Another session is another view, of which there is no more.
    assert await ask(node, **play, id=CONN) == 401
    # And so the page says.
    assert await ask(node, **play, id=None) == 401
    assert await node.counts() == (1, 2)


async def test_a_view_over_webrtc_is_its_post(node: DoorNode) -> None:
    play = {"protocol": "webrtc", "query": "key=one&pass=pass-of-one"}
    for name in (None, None, SESSION):
        assert await ask(node, **play, id=name) == 200

    assert (await node.counts(), await node.uses("one"), node.clients()) == ((1, 0), 1, [f"webrtc:{SESSION}"])


async def test_a_page_that_is_refused_is_one_attempt_a_minute(node: DoorNode) -> None:
    wrong = {"protocol": "webrtc", "query": "key=K&pass=wrong", "id": None}
    for after_ms in (0, 0, 60_000):
        node.now_ms += after_ms
        assert await ask(node, **wrong) == 401
    assert await node.counts() == (0, 1)
    node.now_ms += 1
    assert await ask(node, **wrong) == 401
    assert await node.counts() == (0, 2)


async def test_hls_of_old_servers_asks_for_each_file_of_one_view(node: DoorNode) -> None:
    await node.issue("old", uses_limit=1)
    for _ in range(5):
        node.now_ms += 2_000
        assert await said(node, PLAY_HLS_OLD.replace(b"key=K", b"key=old").replace(b"of-K", b"of-old")) == 200
    assert (await node.counts(), await node.uses("old"), node.clients()) == ((1, 0), 1, [""])
    await node.usher.revoke_ticket(CDN, "old")
    for _ in range(3):
        assert await said(node, PLAY_HLS_OLD.replace(b"key=K", b"key=old").replace(b"of-K", b"of-old")) == 401
    assert await node.counts() == (1, 1)


async def test_a_recording_is_one_view_however_many_files_it_has(node: DoorNode) -> None:
    for _ in range(5):
        node.now_ms += 1_000
        assert await ask(node, action="playback", protocol="", id=None, query="key=one&pass=pass-of-one") == 200

    assert (await node.counts(), await node.uses("one")) == ((1, 0), 1)


@pytest.mark.parametrize("protocol", ["rtmp", "srt", "moq"])
async def test_a_view_over_one_connection_is_asked_for_once_or_again(node: DoorNode, protocol: str) -> None:
    for _ in range(2):
        assert await ask(node, protocol=protocol, query="key=one&pass=pass-of-one") == 200

    assert (await node.counts(), node.clients()) == ((1, 0), [f"{protocol}:{CONN}"])
    assert await unread(node, CONN) == 200
    assert node.clients() == []


async def test_an_end_may_come_twice_or_late_and_ends_what_it_names(node: DoorNode) -> None:
    assert await unread(node, CONN) == 200
    assert await ask(node, query=TICKET) == 200
    assert await unread(node, SESSION) == 200
    # A query of a viewer's, by a command that is not the snippet's: the first id counts.
    assert await unread(node, SESSION, more=f"&type=rtmpConn&query=x&id={CONN}") == 200
    for wrong in ("", "..%2F..", "a b", "x" * 65):
        assert await unread(node, wrong) == 401
    assert node.clients() == [f"rtmp:{CONN}"]
    for _ in range(2):
        assert await unread(node, CONN, more="&type=rtmpConn") == 200
    assert node.clients() == []


async def test_a_connection_outlives_a_crash_and_is_not_paid_twice(node: DoorNode) -> None:
    play = {"protocol": "srt", "query": "key=one&pass=pass-of-one"}
    assert await ask(node, **play) == 200
    await node.crash()
    await node.start()

    assert await ask(node, **play) == 200
    assert await ask(node, **play, id=SESSION) == 401
    assert (await node.uses("one"), node.clients()) == (1, [f"srt:{CONN}"])


# --- the control API -------------------------------------------------------------------------------------------------


async def test_a_connection_is_dropped_from_every_list_that_may_have_it(node: DoorNode) -> None:
    door = MediaMtxDoor(node.usher)
    calls = {protocol: door.drop(f"{protocol}:{CONN}") for protocol in ("rtsp", "rtmp", "srt", "webrtc", "hls", "moq")}

    paths = {protocol: [call.path, *call.also] for protocol, call in calls.items() if call is not None}
    assert {call.method for call in calls.values() if call is not None} == {"POST"}
    assert paths == {
        "rtsp": [f"/v3/rtspsessions/kick/{CONN}", f"/v3/rtspssessions/kick/{CONN}"],
        "rtmp": [f"/v3/rtmpconns/kick/{CONN}", f"/v3/rtmpsconns/kick/{CONN}"],
        "srt": [f"/v3/srtconns/kick/{CONN}"],
        "webrtc": [f"/v3/webrtcsessions/kick/{CONN}"],
        "hls": [f"/v3/hlssessions/kick/{CONN}"],
        "moq": [f"/v3/moqsessions/kick/{CONN}"],
    }
    for client in ("", CONN, f"other:{CONN}", "rtmp:", "rtmp:../x", "rtmp:a/b"):
        assert door.drop(client) is None


async def test_only_the_api_itself_says_that_a_connection_is_gone(node: DoorNode) -> None:
    """Of a protocol over TLS that is not served there is no list, and of a wrong control URL nothing at all."""
    door = MediaMtxDoor(node.usher)
    done, unknown, no_list = (200, b""), (404, b'{"status":"error","error":"not found"}'), (404, b"404 page not found")
    for gone in ([done], [unknown], [done, no_list], [no_list, done], [unknown, unknown], [unknown, no_list]):
        assert door.has_dropped(gone), gone
    for not_gone in ([no_list], [no_list, no_list], *([done, (status, b"")] for status in (302, 400, 401, 403, 500))):
        assert not door.has_dropped(not_gone), not_gone
