"""Kicks that are owed to media servers, in this process: whatever ends a session, and whatever the server then does."""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path

import pytest

from openusher.model.edge import EdgeKind
from openusher.web.edges.control import Controller
from tests.doors.controlapi import Said, control_api
from tests.doors.controlled import DONE, GONE, RETRY_S, Controlled, always, called, controlled, dropped, until
from tests.doors.doornode import CDN, DoorNode
from tests.golden import mediamtx
from tests.golden.srs import hook
from tests.servers.ports import free_port

pytestmark = pytest.mark.anyio


# --- what is owed ----------------------------------------------------------------------------------------------------


async def test_a_revoked_ticket_has_each_of_its_connections_dropped(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        for client, key in (("c1", "K"), ("c2", "K"), ("c3", "L")):
            assert await site.play(client, key) == 200
        await site.node.usher.revoke_ticket(CDN, "K")
        await called(site.api, 2)
        await site.paid()

        assert sorted(site.api.asked) == dropped("c1", "c2")
        assert site.node.clients() == ["c3"]


async def test_a_kicked_viewer_is_dropped(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        await site.play("c1")
        assert await site.node.kick("K") == 1
        await site.paid()

        assert site.api.asked == dropped("c1")
        assert await site.play("c2") == 403


async def test_one_whose_ticket_expires_is_dropped(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        await site.node.issue("soon", expires_s=site.node.now_ms // 1000 + 10)
        assert await site.play("c1", "soon") == 200
        site.node.now_ms += 9_999
        await site.node.usher.watching.sweep()
        assert (await site.owed(), site.node.clients()) == (0, ["c1"])
        site.node.now_ms += 1
        await site.node.usher.watching.sweep()
        await site.paid()

        assert (site.api.asked, site.node.clients()) == (dropped("c1"), [])


async def test_one_that_lasts_longer_than_any_may_is_dropped(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        await site.play("c1")
        site.node.now_ms += 86_400_001
        await site.node.usher.watching.sweep()
        await site.paid()

        assert site.api.asked == dropped("c1")


async def test_one_whom_a_newer_viewer_replaces_is_dropped(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        assert await site.play("c1", "new") == 200
        assert await site.play("c2", "new", ip="192.0.2.99") == 200
        await site.paid()

        assert (site.api.asked, site.node.clients()) == (dropped("c1"), ["c2"])


async def test_nothing_is_owed_for_one_that_has_ended_itself(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        await site.play("c1")
        await site.node.post(hook("on_stop", "c1"))
        await site.play("c2", ip="192.0.2.99")
        await site.node.usher.revoke_ticket(CDN, "K")
        await site.paid()

        assert site.api.asked == dropped("c2")


async def test_without_a_control_url_nothing_is_asked_and_nothing_stays_owed(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.SRS)
    await node.start()
    await node.issue("K")
    controller = Controller(node.usher, node.app.controls, retry_s=RETRY_S)
    controller.start()
    await node.post(hook("on_play", "c1"))
    await node.kick("K")

    async def nothing() -> bool:
        return await node.usher.owed_kicks(after=0, limit=9) == []

    await until(nothing, "still owed")
    await controller.close()
    await node.stop()


async def test_an_id_that_a_viewer_has_made_up_reaches_no_url(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        for made_up in ("../../../rtc/v1/play", "a?b", "a%2fb", "a b"):
            assert await site.play(made_up) == 200
        await site.play("c1")
        await site.node.usher.revoke_ticket(CDN, "K")
        await site.paid()

        assert site.api.asked == dropped("c1")
        for call in site.api.calls:
            assert "pass-of" not in f"{call.path}{call.headers}"
            assert "192.0.2.7" not in f"{call.path}{call.headers}"


async def test_mediamtx_is_asked_by_each_list_that_may_have_the_connection(tmp_path: Path) -> None:
    asked_first: list[str] = []

    def behaviour(method: str, path: str) -> Said:
        # It is in the second list, and that fails once.
        if "rtmpsconns" in path and not asked_first:
            asked_first.append(path)
            return Said(500)
        return Said(200 if "rtmpsconns" in path else 404, b"")

    async with controlled(tmp_path, behaviour, kind=EdgeKind.MEDIAMTX) as site:
        question = mediamtx.question(query="key=K&pass=pass-of-K")
        assert (await site.node.post(question)).status == 200
        await site.node.kick("K")
        await site.paid()

        lists = ["rtmpconns", "rtmpsconns"] * 2
        assert site.api.asked == [("POST", f"/v3/{each}/kick/{mediamtx.CONN}") for each in lists]


# --- what no kick was owed for ---------------------------------------------------------------------------------------


async def test_a_connection_that_plays_on_after_its_session_has_ended_is_dropped(tmp_path: Path) -> None:
    """As MediaMTX tells it of one that paused over RTSP, which it never asks about again."""
    async with controlled(tmp_path, always(Said(200, b"")), kind=EdgeKind.MEDIAMTX) as site:
        form = f"id={mediamtx.CONN}".encode()
        asked = mediamtx.question(query="key=K&pass=pass-of-K", protocol="srt")
        tell = site.node.post
        for body, below, expected in (
            (form, "/read", 0),
            (asked, "", 0),
            (form, "/read", 0),
            (form, "/unread", 0),
            (form, "/unread", 0),
            (form, "/read", 1),
            (form, "/read", 2),
            (asked, "", 2),
            (form, "/read", 2),
        ):
            assert (await tell(body, below=below)).status == 200
            await until(lambda number=expected: len(site.api.calls) >= number, "not dropped")
            await until(lambda: not site.node.usher.watching.strays, "not forgotten")
            assert len(site.api.calls) == expected
        assert set(site.api.asked) == {("POST", f"/v3/srtconns/kick/{mediamtx.CONN}")}


async def test_a_stray_is_asked_for_again_until_it_is_dropped(tmp_path: Path) -> None:
    said = itertools.chain([Said(500, b"")] * 3, itertools.repeat(Said(404, b'{"error":"not found"}')))
    async with controlled(tmp_path, lambda method, path: next(said), kind=EdgeKind.MEDIAMTX) as site:
        await site.node.post(mediamtx.question(query="key=K&pass=pass-of-K", protocol="srt"))
        for below in ("/unread", "/read"):
            await site.node.post(f"id={mediamtx.CONN}".encode(), below=below)
        await called(site.api, 4)
        await until(lambda: not site.node.usher.watching.strays, "not forgotten")

        assert len(site.api.calls) == 4


# --- what the server does --------------------------------------------------------------------------------------------


async def test_a_server_that_knows_the_client_no_more_is_asked_once(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(GONE)) as site:
        await site.play("c1")
        await site.node.kick("K")
        await site.paid()

        assert site.api.asked == dropped("c1")


@pytest.mark.parametrize(
    "bad",
    [
        Said(401, b'{"code":0}', (("WWW-Authenticate", 'Basic realm="x"'),)),
        Said(500),
        Said(404, b"nothing"),
        Said(200, b""),
        Said(200, b"<html>"),
        Said(200, b'{"code":1061}'),
        Said(200, b'{"code":0}' + b" " * 64 * 1024),
    ],
    ids=lambda said: f"{said.status} {said.body[:12]!r}",
)
async def test_a_server_that_has_not_done_it_is_asked_again(tmp_path: Path, bad: Said) -> None:
    said = itertools.chain([bad] * 2, itertools.repeat(DONE))
    async with controlled(tmp_path, lambda method, path: next(said)) as site:
        await site.play("c1")
        await site.node.kick("K")
        await called(site.api, 2)
        assert await site.owed() == 1
        await site.paid()

        assert site.api.asked == dropped("c1") * 3
        first, second, third = (call.at_s for call in site.api.calls)
        assert second - first >= RETRY_S
        assert third - second >= 2 * RETRY_S


async def test_no_redirect_is_followed(tmp_path: Path) -> None:
    with control_api(always(DONE)) as elsewhere:
        to = Said(307, b"", (("Location", f"{elsewhere.url}/api/v1/clients/c9"),))
        said = itertools.chain([to] * 2, itertools.repeat(DONE))
        async with controlled(tmp_path, lambda method, path: next(said)) as site:
            await site.play("c1")
            await site.node.kick("K")
            await site.paid()

            assert site.api.asked == dropped("c1") * 3
        assert elsewhere.asked == []


async def test_an_answer_without_end_is_read_no_further_than_its_bound(tmp_path: Path) -> None:
    said = itertools.chain([Said(flood=True)], itertools.repeat(DONE))
    async with controlled(tmp_path, lambda method, path: next(said)) as site:
        await site.play("c1")
        await site.node.kick("K")
        await site.paid()

        flooded, _ = site.api.calls
        # What lies in the sockets' buffers was sent too.
        assert flooded.sent_bytes[0] < 16 * 1024 * 1024
        assert flooded.kept_s[0] < 1.5


async def test_an_answer_that_was_packed_is_not_unpacked(tmp_path: Path) -> None:
    async with controlled(tmp_path, always(DONE)) as site:
        await site.play("c1")
        await site.node.kick("K")
        await site.paid()

        assert site.api.calls[0].headers["accept-encoding"] == "identity"


async def test_a_server_that_hangs_is_waited_for_two_seconds_and_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    hanging: list[str] = []

    def behaviour(method: str, path: str) -> Said | None:
        if len(hanging) < 20:
            hanging.append(path)
            return None
        return DONE

    async with controlled(tmp_path, behaviour) as slow:
        node = slow.node
        with control_api(always(DONE)) as quick:
            other, token = await node.usher.create_edge(
                CDN, kind=EdgeKind.SRS, name="other", options={"control": quick.url}
            )
            for number in range(60):
                assert await slow.play(f"c{number}", ip=f"192.0.2.{number}") == 200
            body = hook("on_play", "q1", param="?key=L&pass=pass-of-L")
            assert (await node.post(body, token=token.reveal())).status == 200
            await node.kick("K")
            await called(slow.api, 1)
            kicked_s = time.monotonic()
            await node.kick("L")
            # A decision meanwhile is as quick as any.
            assert await slow.play("later", "new") == 200
            assert time.monotonic() - kicked_s < 0.5
            await called(quick, 1)
            assert time.monotonic() - kicked_s < 3.5
            assert quick.asked == dropped("q1")
            await until(lambda: len(hanging) == 20, "hung less")
            await slow.paid()

            assert {path for _, path in slow.api.asked} == {f"/api/v1/clients/c{number}" for number in range(60)}
            kept_s = [call.kept_s[0] for call in slow.api.calls if not call.sent_bytes]
            assert len(kept_s) == 20
            assert 1.5 < min(kept_s) <= max(kept_s) < 3.0
        assert other.kind == EdgeKind.SRS


async def test_a_server_that_hangs_is_waited_for_once_however_many_it_owes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kicks are read in pages, and one of another server may stand in the last."""
    monkeypatch.setattr("openusher.web.edges.control._PAGE_ROWS", 20)
    async with controlled(tmp_path, always(None)) as slow:
        node = slow.node
        with control_api(always(DONE)) as quick:
            _, token = await node.usher.create_edge(
                CDN, kind=EdgeKind.SRS, name="other", options={"control": quick.url}
            )
            for number in range(100):
                assert await slow.play(f"c{number}", ip=f"192.0.2.{number}") == 200
            body = hook("on_play", "q1", param="?key=K&pass=pass-of-K")
            assert (await node.post(body, token=token.reveal())).status == 200
            kicked_s = time.monotonic()
            await node.usher.revoke_ticket(CDN, "K")
            await called(quick, 1)

        assert time.monotonic() - kicked_s < 4.5
        assert await slow.owed() == 100


async def test_a_server_that_is_down_is_asked_when_it_is_up_again(tmp_path: Path) -> None:
    port = free_port()
    node = DoorNode(tmp_path, EdgeKind.SRS, control=f"http://127.0.0.1:{port}/")
    await node.start()
    await node.issue("K")
    controller = Controller(node.usher, node.app.controls, retry_s=RETRY_S)
    controller.start()
    await node.post(hook("on_play", "c1"))
    await node.kick("K")
    await until(lambda: any(owed.calls for owed in controller._owed.values()), "was not asked")
    with control_api(always(DONE), port) as api:
        site = Controlled(node, api, controller)
        await site.paid()

        assert api.asked == dropped("c1")
    await controller.close()
    await node.stop()


async def test_a_server_that_never_does_it_is_given_up_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The linter of imports, which another test runs, switches off the loggers that it finds.
    monkeypatch.setattr(logging.getLogger("openusher"), "disabled", False)
    async with controlled(tmp_path, always(Said(500)), give_up_s=2 * RETRY_S) as site:
        await site.play("c1")
        await site.node.kick("K")
        await site.paid()
        asked = len(site.api.calls)

        assert 2 <= asked <= 4
        said = [record.msg for record in caplog.records if record.name == "openusher"]
        number = site.node.edge.number
        assert said == [
            {"event": event, "edge": number, "connections": 1, "said": "status 500"}
            for event in ("control.not_dropped", "control.gave_up")
        ]


async def test_a_password_of_the_api_is_sent_and_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with control_api(always(DONE)) as api:
        node = DoorNode(tmp_path, EdgeKind.SRS, control=api.url.replace("//", "//admin:secret@"))
        await node.start()
        await node.issue("K")
        controller = Controller(node.usher, node.app.controls)
        controller.start()
        await node.post(hook("on_play", "c1"))
        await node.kick("K")
        await Controlled(node, api, controller).paid()

        assert api.calls[0].headers["authorization"] == "Basic YWRtaW46c2VjcmV0"
        assert [record.getMessage() for record in caplog.records if "secret" in record.getMessage()] == []
        await controller.close()
        await node.stop()


async def test_what_is_owed_outlives_a_crash(tmp_path: Path) -> None:
    with control_api(always(Said(500))) as api:
        node = DoorNode(tmp_path, EdgeKind.SRS, control=api.url)
        await node.start()
        await node.issue("K")
        for client in ("c1", "c2"):
            await node.post(hook("on_play", client))
        await node.usher.revoke_ticket(CDN, "K")
        await node.crash()
        await node.start()
        api.behaviour = always(DONE)
        controller = Controller(node.usher, node.app.controls, retry_s=RETRY_S)
        controller.start()
        await Controlled(node, api, controller).paid()

        assert sorted(api.asked) == dropped("c1", "c2")
        await controller.close()
        await node.stop()
