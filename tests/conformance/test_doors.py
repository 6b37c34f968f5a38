"""What all doors promise, however their server asks: who is let in, what is recorded, and what is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openusher.model.session import SessionFilter
from openusher.sevu.sessions import session_members
from tests.conformance.asking import NOON_MS
from tests.conformance.doors import DOORS, DoorBench, GenericDoor, NginxDoor, Node, Play, Says
from tests.conformance.ledgers import Fault

pytestmark = pytest.mark.anyio
PLAY = Play()
OTHER = Play(key="other", password="user|q", ip="192.0.2.99")


def of(*doors: DoorBench) -> pytest.MarkDecorator:
    """For a test of these doors only."""
    return pytest.mark.parametrize("door", doors, indirect=True, ids=[door.kind for door in doors])


CONNECTED = [door for door in DOORS if door.has_connections]
FOLLOWED = [door for door in DOORS if door.follow(PLAY) is not None]
TOLD = [door for door in DOORS if door.end(PLAY) is not None]


# --- who is let in ----------------------------------------------------------------------------------------------------


async def test_who_has_a_good_ticket_is_let_in_and_recorded_as_asked(node: Node) -> None:
    await node.issue(uses_limit=1)

    assert await node.starts(PLAY) is Says.YES
    (attempt,) = await node.attempts()
    assert (attempt.key, attempt.password, attempt.app, attempt.video, attempt.reason) == (*PLAY[:4], "")
    (watched,) = node.usher.sessions(node.cdn, SessionFilter(ip=None, key="k"))
    # Under whatever name the server would look for it.
    assert (PLAY.client in str(session_members(watched)["client"])) == node.door.has_connections
    assert (watched.session.video, watched.session.ip == attempt.ip, await node.uses()) == ("cam1", True, 1)


@pytest.mark.parametrize(
    ("rules", "play", "reason"),
    [
        ({}, {"key": "", "password": ""}, "Missing Auth Token"),
        ({}, {"key": "wrong"}, "Invalid Auth Token"),
        ({}, {"password": "wrong"}, "Invalid Auth Token"),
        ({"app": "vod"}, {}, "Invalid Application"),
        ({"video": "cam2"}, {}, "Invalid Video"),
        ({"ip": "198.51.100.1"}, {}, "Invalid IP Address"),
        ({"expires_s": NOON_MS // 1_000}, {}, "Expiration date surpassed"),
    ],
)
async def test_each_reason_refuses_and_is_recorded(
    node: Node, rules: dict[str, Any], play: dict[str, str], reason: str
) -> None:
    await node.issue(**rules)

    assert await node.starts(PLAY._replace(**play)) is Says.NO
    assert (await node.reasons(), await node.uses(), node.sessions()) == ([reason], 0, 0)


async def test_a_revoked_ticket_refuses_and_ends_who_watches(node: Node) -> None:
    await node.issue()
    await node.starts(PLAY)
    await node.usher.revoke_ticket(node.cdn, "k")

    if node.door.follow(PLAY) is not None:
        assert await node.goes_on(PLAY) is Says.NO
    assert await node.starts(PLAY._replace(ip="192.0.2.8", client="42")) is Says.NO
    assert (await node.reasons(), node.sessions()) == (["", "Ticket Revoked"], 0)


async def test_a_ticket_that_expires_ends_who_watches(node: Node) -> None:
    await node.issue(expires_s=NOON_MS // 1_000 + 60)
    await node.starts(PLAY)
    node.now_ms += 60_000

    if node.door.follow(PLAY) is not None:
        assert await node.goes_on(PLAY) is Says.NO
    assert await node.starts(PLAY._replace(ip="192.0.2.8", client="42")) is Says.NO
    assert await node.reasons() == ["", "Expiration date surpassed"]


async def test_uses_are_taken_by_viewers_and_not_by_what_they_ask(node: Node) -> None:
    await node.issue(uses_limit=2)
    for n in range(3):
        play = PLAY._replace(ip=f"192.0.2.{n}", client=str(n))
        assert await node.starts(play) is (Says.YES if n < 2 else Says.NO)
        if n < 2 and node.door.follow(play) is not None:
            assert await node.goes_on(play) is Says.YES

    assert (await node.reasons(), await node.uses()) == (["", "", "Maximum uses exceeded"], 2)


async def test_so_many_watch_at_once_as_the_ticket_allows(node: Node) -> None:
    await node.issue(max_sessions=1)
    await node.starts(PLAY)
    second = PLAY._replace(ip="192.0.2.8", client="42")

    assert await node.starts(second) is Says.NO
    if node.door.end(PLAY) is None:
        node.now_ms += 300_000
    else:
        await node.ends(PLAY)
    # Another connection, since the same question would be answered as before.
    assert await node.starts(second._replace(client="43")) is Says.YES
    assert await node.reasons() == ["", "Too many sessions", ""]


async def test_who_was_kicked_is_refused_where_he_was(node: Node) -> None:
    await node.issue()
    await node.starts(PLAY)
    assert await node.usher.kick(node.cdn, SessionFilter(key="k")) == 1

    if node.door.follow(PLAY) is not None:
        assert await node.goes_on(PLAY) is Says.NO
    assert await node.starts(PLAY._replace(client="42")) is Says.NO
    assert await node.starts(PLAY._replace(client="43", ip="192.0.2.8")) is Says.YES
    assert await node.reasons() == ["", "Kicked", ""]


# --- twice, late, never -----------------------------------------------------------------------------------------------


@of(*CONNECTED)
@pytest.mark.parametrize("play", [PLAY, PLAY._replace(password="wrong")], ids=["accepted", "refused"])
async def test_the_same_question_at_once_and_soon_again_is_one_attempt(node: Node, play: Play) -> None:
    await node.issue(uses_limit=1)
    answers = list(await asyncio.gather(*(node.starts(play) for _ in range(5))))
    node.now_ms += 60_000
    answers.append(await node.starts(play))

    assert set(answers) == ({Says.YES} if play is PLAY else {Says.NO})
    assert len(await node.attempts()) == 1


@of(*(door for door in DOORS if not door.has_connections))
async def test_parallel_first_requests_of_a_player_are_one_use(node: Node) -> None:
    await node.issue(uses_limit=1)
    answers = await asyncio.gather(*(node.starts(PLAY) for _ in range(5)))
    node.now_ms += 3_600_000

    assert {*answers, await node.starts(PLAY)} == {Says.YES}
    assert (await node.reasons(), await node.uses()) == ([""], 1)


@of(*CONNECTED)
async def test_after_a_minute_the_same_connection_is_another_play(node: Node) -> None:
    await node.issue(uses_limit=2)
    for _ in range(3):
        await node.starts(PLAY)
        node.now_ms += 60_001

    assert (await node.reasons(), await node.uses(), node.sessions()) == (["", "", "Maximum uses exceeded"], 2, 0)


@of(*FOLLOWED)
async def test_what_was_never_begun_does_not_go_on(node: Node) -> None:
    await node.issue()

    assert await node.goes_on(PLAY) is Says.NO
    assert (await node.attempts(), await node.uses()) == ([], 0)


@of(*TOLD)
async def test_an_end_that_comes_early_twice_or_late_harms_nobody(node: Node) -> None:
    await node.issue(uses_limit=2)
    await node.ends(PLAY)
    assert await node.starts(PLAY) is Says.YES
    for _ in range(2):
        await node.ends(PLAY)
        assert node.sessions() == 0
    assert await node.starts(PLAY) is Says.YES

    assert (await node.reasons(), await node.uses(), node.sessions()) == (["", ""], 2, 1)


@of(*TOLD)
async def test_an_end_that_overtakes_the_answer_to_its_start_ends_it(node: Node) -> None:
    await node.issue()
    starting = asyncio.ensure_future(node.starts(PLAY))
    ending = asyncio.ensure_future(node.ends(PLAY))
    assert await starting is Says.YES
    await ending
    for _ in range(1_000):
        if node.sessions() == 0:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the session is live")


@of(*CONNECTED)
async def test_an_old_name_that_a_stranger_gets_is_his_own_connection(node: Node) -> None:
    await node.issue(uses_limit=1)
    await node.issue(key="other", password="user|q", uses_limit=1)
    await node.starts(PLAY)

    # The server has begun to count anew, and has not told.
    assert await node.starts(OTHER) is Says.YES
    (watched,) = node.usher.sessions(node.cdn, SessionFilter())
    assert (watched.ticket.key, await node.uses(), await node.uses("other")) == ("other", 1, 1)
    if node.door.follow(PLAY) is not None:
        assert await node.goes_on(PLAY) is Says.NO
        assert await node.goes_on(OTHER) is Says.YES


@of(*FOLLOWED)
async def test_a_strangers_ticket_does_not_go_on_in_anothers_place(node: Node) -> None:
    await node.issue()
    await node.issue(key="other", password="user|q")
    await node.starts(PLAY)

    for stranger in (OTHER, PLAY._replace(password="wrong"), PLAY._replace(key="other")):
        assert await node.goes_on(stranger) is Says.NO
    assert (await node.goes_on(PLAY), await node.reasons()) == (Says.YES, [""])


async def test_a_session_is_live_after_a_restart_and_the_question_the_same(node: Node) -> None:
    await node.issue(uses_limit=1)
    await node.starts(PLAY)
    await node.restart()

    assert (await node.starts(PLAY), await node.uses(), node.sessions()) == (Says.YES, 1, 1)
    if node.door.follow(PLAY) is not None:
        assert await node.goes_on(PLAY) is Says.YES


@of(*CONNECTED)
async def test_a_connection_that_nobody_asks_about_again_keeps_its_place_past_a_restart(node: Node) -> None:
    await node.issue(max_sessions=1)
    await node.starts(PLAY)
    node.now_ms += 3_600_000
    await node.restart()
    node.now_ms += 3_600_000

    assert await node.starts(PLAY._replace(client="42")) is Says.NO
    node.now_ms += 86_400_000
    # Longer than a connection may last.
    await node.usher.watching.sweep()
    assert await node.starts(PLAY._replace(client="43")) is Says.YES
    assert await node.reasons() == ["", "Too many sessions", ""]


# --- when nobody can say ----------------------------------------------------------------------------------------------


async def test_a_ledger_that_cannot_be_written_is_busy_and_lets_nobody_in(node: Node) -> None:
    await node.issue()
    node.bench.fault = Fault.FULL
    assert await node.starts(PLAY) is Says.BUSY
    node.bench.fault = Fault.NONE
    await node.be_ready()

    assert (await node.attempts(), await node.starts(PLAY), await node.reasons()) == ([], Says.YES, [""])


async def test_after_a_commit_of_unknown_outcome_uses_and_attempts_agree(node: Node) -> None:
    await node.issue(uses_limit=9)
    node.bench.fault = Fault.SYNC
    assert await node.starts(PLAY) is Says.BUSY
    node.bench.fault = Fault.NONE
    await node.be_ready()

    assert await node.starts(PLAY) is Says.YES
    assert (len(await node.attempts()), node.sessions()) == (await node.uses(), 1)


async def test_a_node_that_stops_is_busy(node: Node) -> None:
    await node.issue()
    await node.gate.close()

    assert await node.starts(PLAY) is Says.BUSY


# --- who may ask ------------------------------------------------------------------------------------------------------


async def test_a_token_that_is_none_or_of_another_kind_lets_nobody_in(node: Node) -> None:
    await node.issue()
    others: list[DoorBench] = [NginxDoor() if isinstance(node.door, GenericDoor) else GenericDoor()]
    # The plain door takes the token of any edge.
    tokens = ["", "x", node.token + "x", *[await node.edge(node.cdn, each) for each in others[: not _is_plain(node)]]]
    for token in tokens:
        assert await node.asks(node.door.start(PLAY), token=token) is Says.NO

    assert await node.attempts() == []


def _is_plain(node: Node) -> bool:
    return isinstance(node.door, GenericDoor)


async def test_another_accounts_token_opens_nothing_here(node: Node) -> None:
    await node.issue()
    await node.starts(PLAY)
    other = await node.account("other")
    token = await node.edge(other, node.door)

    assert await node.asks(node.door.start(PLAY), token=token) is Says.NO
    for sent in (node.door.follow(PLAY), node.door.end(PLAY)):
        if sent is not None:
            await node.send(sent, token=token)
    if node.door.follow(PLAY) is not None:
        assert await node.asks(node.door.follow(PLAY), token=token) is Says.NO
    assert (await node.reasons(), node.sessions()) == ([""], 1)
    assert await node.reasons(other) == ["Invalid Auth Token"]


async def test_a_disabled_account_lets_nobody_in_and_records_nothing(node: Node) -> None:
    await node.issue()
    await node.starts(PLAY)
    await node.usher.set_account_active(node.cdn, active=False)

    assert await node.starts(PLAY._replace(client="42", ip="192.0.2.8")) is Says.NO
    if node.door.follow(PLAY) is not None:
        assert await node.goes_on(PLAY) is Says.NO
    assert len(await node.attempts()) == 1
