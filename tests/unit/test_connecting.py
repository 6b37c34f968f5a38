"""Connections as media servers tell of them: asked twice, by halves, late, or by a name that the viewer chose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openusher.connecting import Named
from openusher.model.attempt import AttemptRequest, Reason
from openusher.model.edge import EdgeKind
from openusher.sessionbook import Refusal
from openusher.watching import Verdict
from tests.conformance.asking import request
from tests.doors.doornode import CDN, DoorNode

pytestmark = pytest.mark.anyio
IDLE_MS, RESUME_MS = 300_000, 21_600_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DoorNode]:
    opened = DoorNode(tmp_path, EdgeKind.GENERIC)
    await opened.start()
    await opened.issue("k", uses_limit=9)
    await opened.issue("one", max_sessions=1)
    yield opened
    await opened.stop()


def question(node: DoorNode, **asked: Any) -> AttemptRequest:
    asked = {"key": "k", **asked}
    return request(CDN, **{"password": f"pass-of-{asked['key']}", "edge": node.edge.number, **asked})


async def start(node: DoorNode, client: str, *, in_halves: bool = False, repeats: bool = True, **asked: Any) -> Verdict:
    (verdict,) = await start_all(node, [client], in_halves=in_halves, repeats=repeats, **asked)
    return verdict


async def start_all(
    node: DoorNode, clients: list[str], *, in_halves: bool = False, repeats: bool = True, **asked: Any
) -> list[Verdict]:
    """At once, so that they are of one batch."""
    answered: list[asyncio.Future[Verdict | Exception]] = []
    for client in clients:
        future: asyncio.Future[Verdict | Exception] = asyncio.get_running_loop().create_future()
        answered.append(future)
        node.usher.connecting.start(
            node.edge, question(node, **asked), client, future.set_result, in_halves=in_halves, repeats=repeats
        )
    verdicts = await asyncio.gather(*answered)
    assert all(isinstance(verdict, Verdict) for verdict in verdicts), verdicts
    return [verdict for verdict in verdicts if isinstance(verdict, Verdict)]


async def test_two_questions_by_a_name_that_the_viewer_chose_are_two_uses_in_the_same_millisecond(
    node: DoorNode,
) -> None:
    await start_all(node, ["c1", "c1"], repeats=False)

    assert (await node.counts(), await node.uses("k")) == ((2, 0), 2)


async def test_two_questions_by_the_servers_own_name_are_one_use_in_the_same_millisecond(node: DoorNode) -> None:
    await start_all(node, ["c1", "c1"])

    assert (await node.counts(), await node.uses("k"), node.clients()) == ((1, 0), 1, ["c1"])


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"], ["a", "a", "b"]])
async def test_both_halves_are_one_use_however_often_each_comes(node: DoorNode, names: list[str]) -> None:
    for name in names:
        node.now_ms += 10
        assert (await start(node, name, in_halves=True)).allowed

    assert (await node.counts(), await node.uses("k"), node.clients()) == ((1, 0), 1, ["b"])


async def test_a_half_that_is_asked_about_at_once_with_the_other_is_one_use(node: DoorNode) -> None:
    await start(node, "a", in_halves=True)
    await start_all(node, ["b", "b"], in_halves=True)

    assert (await node.uses("k"), node.clients()) == (1, ["b"])


async def test_a_second_half_that_comes_too_late_is_another_view(node: DoorNode) -> None:
    await start(node, "a", in_halves=True)
    node.now_ms += 10_001
    await start(node, "b", in_halves=True)

    assert (await node.uses("k"), node.clients()) == (2, ["~a", "~b"])


async def test_a_half_that_nobody_asks_about_again_frees_its_place(node: DoorNode) -> None:
    """Its connection may never have begun, and then nobody tells its end."""
    assert (await start(node, "a", in_halves=True, key="one")).allowed
    assert (await start(node, "b", key="one", video="cam2")).reason == "Too many sessions"
    node.now_ms += IDLE_MS
    assert (await start(node, "b", key="one", video="cam2")).allowed
    node.now_ms += RESUME_MS
    await node.usher.watching.sweep()

    assert node.clients() == ["b"]


async def test_one_whose_halves_both_came_keeps_its_place(node: DoorNode) -> None:
    for name in ("a", "b"):
        assert (await start(node, name, in_halves=True, key="one")).allowed
    node.now_ms += RESUME_MS
    await node.usher.watching.sweep()

    assert (await start(node, "c", key="one", video="cam2")).reason == "Too many sessions"
    assert node.clients() == ["b"]


# --- where no connection is named -------------------------------------------------------------------------------------


async def ask(node: DoorNode, how: str, **asked: Any) -> Verdict:
    answered: asyncio.Future[Verdict | Exception] = asyncio.get_running_loop().create_future()
    getattr(node.usher.connecting, how)(node.edge, question(node, **asked), answered.set_result)
    verdict = await answered
    assert isinstance(verdict, Verdict), verdict
    return verdict


async def test_a_look_takes_no_use_and_a_refused_one_is_one_attempt_a_minute(node: DoorNode) -> None:
    for after_ms in (0, 60_000, 1):
        node.now_ms += after_ms
        assert (await ask(node, "look")).allowed
        assert (await ask(node, "look", video="", password="wrong")).reason == "Invalid Auth Token"

    assert (await node.counts(), await node.uses("k"), node.clients()) == ((0, 2), 0, [])


async def test_a_refusal_is_recorded_as_one_even_where_the_ticket_has_come_meanwhile(node: DoorNode) -> None:
    answered: asyncio.Future[Verdict | Exception] = asyncio.get_running_loop().create_future()
    node.usher.watching.record_refusal(question(node), Reason.INVALID_TOKEN, answered.set_result)
    verdict = await answered

    assert isinstance(verdict, Verdict)
    assert verdict.reason == "Invalid Auth Token"
    assert (await node.counts(), await node.uses("k")) == ((0, 1), 0)


async def test_the_files_of_a_video_are_one_view_until_its_viewer_was_silent_for_long(node: DoorNode) -> None:
    for after_ms in (0, 10, IDLE_MS, RESUME_MS):
        node.now_ms += after_ms
        assert (await ask(node, "watch")).allowed
    assert (await node.counts(), await node.uses("k")) == ((1, 0), 1)
    for other in ({"video": "cam2"}, {"ip": "192.0.2.99"}, {"user_agent": "other"}):
        assert (await ask(node, "watch", **other)).allowed
    assert await node.uses("k") == 4
    node.now_ms += RESUME_MS + 1
    assert (await ask(node, "watch")).allowed
    assert await node.uses("k") == 5


async def test_what_goes_on_is_counted_as_a_follow_up_and_a_start_is_not(node: DoorNode) -> None:
    named = Named(client="c1")
    assert (await start(node, "c1")).allowed
    for _ in range(3):
        assert node.usher.connecting.follow(node.edge, named).allowed
    assert not node.usher.connecting.follow(node.edge, Named(client="c2")).allowed
    for key in ("one", "one", "one"):
        # The first of these is a start too.
        assert (await ask(node, "watch", key=key)).allowed
    node.now_ms += IDLE_MS
    assert (await ask(node, "watch", key="one", ip="192.0.2.99")).allowed
    assert (await ask(node, "watch", key="one")).reason == "Too many sessions"

    counted = {refusal: number for refusal, number in node.usher.watching.book.follow_ups.items() if number}
    assert counted == {Refusal.NONE: 5, Refusal.NO_SESSION: 1, Refusal.NO_PLACE: 1}
    tally = node.usher.tally
    assert (tally.decisions, tally.repeats) == ({(node.edge.number, Reason.NONE): 3}, 0)


async def test_files_that_are_refused_are_one_attempt_a_minute(node: DoorNode) -> None:
    for _ in range(3):
        assert (await ask(node, "watch", password="wrong")).reason == "Invalid Auth Token"

    assert await node.counts() == (0, 1)


async def test_a_viewer_of_files_whose_place_was_taken_pays_no_second_time(node: DoorNode) -> None:
    assert (await ask(node, "watch", key="one")).allowed
    node.now_ms += IDLE_MS
    assert (await ask(node, "watch", key="one", ip="192.0.2.99")).allowed
    assert (await ask(node, "watch", key="one")).reason == "Too many sessions"
    node.now_ms += IDLE_MS
    assert (await ask(node, "watch", key="one")).allowed

    assert (await node.counts(), await node.uses("one")) == ((2, 0), 2)


async def test_files_do_not_go_on_with_a_connection_of_the_same_viewer(node: DoorNode) -> None:
    assert (await start(node, "c1")).allowed
    assert (await ask(node, "watch")).allowed

    assert await node.uses("k") == 2


async def test_a_revoked_ticket_ends_files_too(node: DoorNode) -> None:
    assert (await ask(node, "watch")).allowed
    await node.usher.revoke_ticket(CDN, "k")

    for _ in range(2):
        assert (await ask(node, "watch")).reason == "Ticket Revoked"
    assert await node.counts() == (1, 1)


async def test_a_second_half_ends_what_its_name_was_before(node: DoorNode) -> None:
    for name, video in (("a", "cam1"), ("b", "cam1"), ("c", "cam2"), ("b", "cam2")):
        assert (await start(node, name, in_halves=True, video=video)).allowed

    assert node.clients() == ["b"]
    assert [session.video for session in (live.session for live in node.usher.watching.book.all())] == ["cam2"]
