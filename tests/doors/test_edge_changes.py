"""Edges that are changed, given new tokens and revoked, and accounts that are disabled, while viewers watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from openusher.errors import NotAuthorised
from openusher.ledger.sqlite import SqliteLedger
from openusher.model.edge import EdgeKind, changed_options
from openusher.web.edges.control import Controller
from tests.doors.controlapi import control_api
from tests.doors.controlled import DONE, RETRY_S, Controlled, always, controlled, dropped, until
from tests.doors.doornode import CDN, DoorNode
from tests.golden import mediamtx, nginx_rtmp, srs
from tests.golden.srs import hook

pytestmark = pytest.mark.anyio
_DAY_MS = 86_400_000


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Controlled]:
    async with controlled(tmp_path, always(DONE)) as opened:
        yield opened


async def plays(node: DoorNode, token: str, client: str) -> int:
    answer = await node.post(hook("on_play", client, param="?key=K&pass=pass-of-K"), token=token)
    return answer.status


def rtmp_play(name: str) -> bytes:
    """A connection's play, as nginx's RTMP module tells it."""
    asked = f"app=live&flashver=p&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&clientid=1&call=play&name={name}"
    return f"{asked}&start=0&duration=0&reset=0&key=K&pass=pass-of-K".encode()


async def ends(node: DoorNode) -> list[tuple[str, str]]:
    """Client and what ended it, the first first."""
    ended = await node.usher.ended_sessions(CDN, from_ms=0, limit=9)
    return sorted((each.session.client, each.session.ended_by) for each in ended)


# --- revoked --------------------------------------------------------------------------------------------------------


async def test_a_revoked_edge_is_an_unknown_one_and_its_viewers_are_dropped(site: Controlled) -> None:
    node = site.node
    for client in ("c1", "c2"):
        assert await site.play(client) == 200
    unknown = await node.post(hook("on_play", "c3"), token="x" * 43)

    assert await node.usher.revoke_edge(node.edge) == 2
    assert await node.post(hook("on_play", "c3")) == unknown
    assert await node.post(hook("on_stop", "c1")) == unknown
    await site.paid()
    assert sorted(site.api.asked) == dropped("c1", "c2")
    assert (node.clients(), await ends(node)) == ([], [("c1", "edge_revoked"), ("c2", "edge_revoked")])


async def test_the_plain_door_refuses_a_revoked_edge_as_an_unknown_one(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.GENERIC)
    await node.start()
    await node.issue("K")
    asked = {"key": "K", "pass": "pass-of-K", "app": "a", "video": "v", "ip": "192.0.2.1"}
    statuses, bodies = [], []
    for token in (node.token, "x" * 43):
        for question in (asked, {**asked, "client_id": "c", "action": "end"}):
            if token == node.token:
                await node.usher.revoke_edge(node.usher.edges()[-1])
            answer = await node.ask_plainly(json.dumps(question).encode(), token=token)
            statuses.append(answer.status)
            bodies.append(answer.body)
    await node.stop()

    assert (statuses, len(set(bodies))) == ([401] * 4, 1)


async def test_a_viewer_who_was_being_let_in_is_dropped_too(site: Controlled) -> None:
    """His start was asked for before the revocation, and is committed beside it."""
    node = site.node
    starting = [hook("on_play", f"c{n}", param="?key=K&pass=pass-of-K") for n in range(5)]
    answers, ended = await asyncio.gather(asyncio.gather(*map(node.post, starting)), node.usher.revoke_edge(node.edge))
    let_in = [answer.status for answer in answers].count(200)
    await site.paid()

    assert (let_in, node.clients()) == (ended, [])
    assert len(site.api.asked) == let_in > 0


async def test_another_edge_goes_on_when_one_is_revoked(site: Controlled) -> None:
    node = site.node
    other, secret = await node.usher.create_edge(CDN, kind=EdgeKind.SRS, name="other", options={})
    await site.play("c1")
    assert await plays(node, secret.reveal(), "c2") == 200
    await node.usher.revoke_edge(node.edge)

    assert node.clients() == ["c2"]
    assert await plays(node, secret.reveal(), "c3") == 200
    assert [edge.number for edge in node.usher.edges() if not edge.revoked_s] == [1, other.number]


async def test_what_a_node_did_not_come_to_end_ends_when_it_starts_again(tmp_path: Path) -> None:
    """Killed between the commit that revokes and those that end, or revoked while it was down."""
    with control_api(always(DONE)) as api:
        node = DoorNode(tmp_path, EdgeKind.SRS, control=api.url)
        await node.start()
        await node.issue("K")
        assert (await node.post(hook("on_play", "c1"))).status == 200
        await node.crash()
        ledger = await SqliteLedger.open(tmp_path / "ledger.db")
        await ledger.change_edge(replace(node.edge, revoked_s=1), old_until_ms=0)
        await ledger.close()
        await node.start()
        controller = Controller(node.usher, node.app.controls, retry_s=RETRY_S)
        controller.start()
        await until(lambda: api.asked == dropped("c1"), "not dropped")

        assert (node.clients(), await ends(node)) == ([], [("c1", "edge_revoked")])
        assert (await node.post(hook("on_play", "c1"))).status == 403
        await controller.close()
        await node.stop()


@pytest.mark.parametrize("how", ["revoked", "disabled"])
async def test_a_play_that_waits_for_the_one_before_it_is_refused_when_its_edge_may_ask_no_more(
    tmp_path: Path, how: str
) -> None:
    """The module tells the end of the stream before a little late; here what ends it is that the edge is refused."""
    node = DoorNode(tmp_path, EdgeKind.NGINX_RTMP)
    await node.start()
    await node.issue("K")
    first, second = (rtmp_play(name) for name in ("cam1", "cam2"))
    assert (await node.post(first)).status == 200
    waiting = asyncio.create_task(node.post(second))
    await asyncio.sleep(0.05)
    await (node.usher.revoke_edge(node.edge) if how == "revoked" else node.usher.set_account_active(CDN, active=False))
    seen = (await waiting).status, node.clients(), await node.uses("K")
    await node.stop()

    assert seen == (403, [], 1)


async def test_of_changes_at_the_same_time_none_is_undone_by_another(tmp_path: Path) -> None:
    """Each was asked for before another was known."""
    node = DoorNode(tmp_path, EdgeKind.SRS)
    await node.start()
    await node.issue("K")
    usher, edge = node.usher, node.edge
    _, (_, new), _ = await asyncio.gather(
        usher.set_account_active(CDN, active=True),
        usher.rotate_edge(edge, grace_s=0),
        usher.change_edge(edge, name="named", options=edge.options),
    )
    token = new.reveal()
    assert [await plays(node, each, "c1") for each in (node.token, token)] == [403, 200]
    changes = (
        usher.revoke_edge(edge),
        usher.rotate_edge(edge, grace_s=60),
        usher.change_edge(edge, name="n", options={}),
    )
    _, *refused = await asyncio.gather(*changes, return_exceptions=True)
    seen = usher.edges()[-1]
    await node.stop()

    assert (seen.name, bool(seen.revoked_s)) == ("named", True)
    assert [str(error) for error in refused] == [f"edge: edge {edge.number} is revoked, for ever; make another"] * 2


# --- a new token ----------------------------------------------------------------------------------------------------


async def test_both_tokens_ask_until_the_grace_is_over_also_after_a_restart(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.SRS)
    await node.start()
    await node.issue("K")
    assert await plays(node, node.token, "c1") == 200
    new = (await node.usher.rotate_edge(node.edge, grace_s=86_400))[1].reveal()
    assert [await plays(node, token, f"c{n}") for n, token in enumerate((node.token, new), 2)] == [200, 200]
    await node.stop()
    await node.start()
    node.now_ms += _DAY_MS - 1
    # By the old one it also tells what it has begun before.
    assert (await node.post(hook("on_stop", "c1"))).status == 200
    assert [await plays(node, token, f"d{n}") for n, token in enumerate((node.token, new))] == [200, 200]
    node.now_ms += 1

    assert [await plays(node, token, f"e{n}") for n, token in enumerate((node.token, new))] == [403, 200]
    assert node.clients() == ["c2", "c3", "d0", "d1", "e1"]
    await node.stop()


async def test_without_grace_the_old_token_is_refused_at_once_and_nobody_is_dropped(site: Controlled) -> None:
    node = site.node
    await site.play("c1")
    new = (await node.usher.rotate_edge(node.edge, grace_s=0))[1].reveal()

    assert [await plays(node, token, "c2") for token in (node.token, new)] == [403, 200]
    assert node.clients() == ["c1", "c2"]
    assert (await node.post(hook("on_stop", "c1"), token=new)).status == 200
    assert node.clients() == ["c2"]


# --- set otherwise --------------------------------------------------------------------------------------------------


async def test_a_control_url_that_is_set_later_is_called_from_then_on(tmp_path: Path) -> None:
    with control_api(always(DONE)) as api:
        node = DoorNode(tmp_path, EdgeKind.SRS)
        await node.start()
        await node.issue("K")
        controller = Controller(node.usher, node.app.controls, retry_s=RETRY_S)
        controller.start()
        await node.post(hook("on_play", "c1"))
        edge = await node.usher.change_edge(
            node.edge, name="set", options=changed_options(node.edge, {"control": [api.url]})
        )
        await node.kick("K")
        await until(lambda: api.asked == dropped("c1"), "not dropped")

        assert node.usher.edges()[-1] == edge
        await controller.close()
        await node.stop()


async def test_encoders_publish_with_the_password_that_is_set(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.SRS, publish_password="first")
    await node.start()

    async def publish() -> list[int]:
        tried = [hook("on_publish", "e1", param=f"?pass={password}") for password in ("first", "second")]
        return [(await node.post(body)).status for body in tried]

    seen = [await publish()]
    for given in ({"api": ["127.0.0.1:2985"]}, {"publish_password": ["second"]}, {"publish_password": [""]}):
        edge = node.usher.edges()[-1]
        await node.usher.change_edge(edge, name=edge.name, options=changed_options(edge, given))
        seen.append(await publish())
    await node.stop()

    # What is not given stays as it is; given empty it is taken back.
    assert seen == [[200, 403], [200, 403], [403, 200], [403, 403]]


# --- a disabled account ---------------------------------------------------------------------------------------------


async def test_disabling_an_account_drops_its_viewers_and_enabling_lets_them_in_again(site: Controlled) -> None:
    node = site.node
    for client in ("c1", "c2"):
        await site.play(client)
    other = await node.usher.create_account("other")
    assert await node.usher.set_account_active(CDN, active=False) == 2
    await site.paid()
    assert sorted(site.api.asked) == dropped("c1", "c2")
    assert await ends(node) == [("c1", "disabled"), ("c2", "disabled")]
    assert await site.play("c3") == 403
    assert node.usher.is_served(other.account.cdn)
    await node.usher.set_account_active(CDN, active=True)

    assert await site.play("c3") == 200


@pytest.mark.parametrize("kind", [EdgeKind.SRS, EdgeKind.MEDIAMTX, EdgeKind.NGINX_RTMP])
async def test_an_end_is_taken_of_a_disabled_account_and_nothing_else(tmp_path: Path, kind: EdgeKind) -> None:
    uuid, sent = "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01", {each.name: each.body for each in nginx_rtmp.SENT}
    end, below, start = {
        EdgeKind.SRS: (srs.hook("on_stop", "c1"), "", srs.hook("on_play", "c1")),
        EdgeKind.MEDIAMTX: (f"id={uuid}".encode(), "/unread", mediamtx.question(query="key=K&pass=pass-of-K")),
        EdgeKind.NGINX_RTMP: (sent["end of a play"], "", sent["play"]),
    }[kind]
    node = DoorNode(tmp_path, kind)
    await node.start()
    await node.usher.set_account_active(CDN, active=False)
    refused = (await node.post(start, token="x" * 43)).status
    statuses = [(await node.post(body, below=at)).status for body, at in ((end, below), (start, ""), (b"?", ""))]
    unknown = (await node.post(end, below=below, token="x" * 43)).status
    attempts = await node.attempts()
    await node.stop()

    assert (statuses[:2], unknown, attempts) == ([200, refused], refused, [])
    assert statuses[2] >= 400


async def test_the_plain_door_takes_an_end_of_a_disabled_account_and_nothing_else(tmp_path: Path) -> None:
    node = DoorNode(tmp_path, EdgeKind.GENERIC)
    await node.start()
    await node.usher.set_account_active(CDN, active=False)
    statuses = []
    for action in ("end", "follow", "start", "other"):
        asked = {"app": "a", "video": "v", "client_id": "c", "action": action, "ip": "192.0.2.1"}
        statuses.append((await node.ask_plainly(json.dumps(asked).encode())).status)
    with pytest.raises(NotAuthorised):
        node.usher.edge("x" * 43)
    await node.stop()

    assert statuses == [200, 401, 401, 401]
