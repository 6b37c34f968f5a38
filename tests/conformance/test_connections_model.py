"""Connections beside a plain model of them: whatever servers, publishers, clocks and restarts do, both say the same."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from openusher.model.session import SessionFilter
from tests.conformance.asking import NOON_MS
from tests.conformance.doors import GenericDoor, Node, Sent, node_with
from tests.conftest import Promise
from tests.machines import run_machine
from tests.oracles.connection_model import Model, Question

T = TypeVar("T")
EXAMPLES, STEPS = 60, 40
# Of tickets: uses, sessions at once, whether the newest wins, seconds to live, video.
TICKETS: tuple[tuple[int, int, bool, int, str], ...] = (
    (0, 0, False, 10**8, "*"),
    (2, 0, False, 10**8, "*"),
    (0, 1, False, 10**8, "*"),
    (0, 2, False, 10**8, "*"),
    (0, 2, True, 10**8, "*"),
    (0, 0, False, 2_000, "cam1"),
)
KEYS = [f"k{n}" for n in range(len(TICKETS))]
MOMENTS_MS = (1, 1_000, 30_000, 59_999, 60_000, 60_001, 299_999, 300_000, 600_000, 21_600_001, 86_400_001)

clients = st.sampled_from(["c1", "c2", "c3"])
keys = st.sampled_from([*KEYS, "unknown"])
passwords = st.sampled_from(["p"] * 9 + ["wrong"])
videos = st.sampled_from(["cam1", "cam2"])
addresses = st.sampled_from([f"192.0.2.{n}" for n in range(1, 6)])


def question(client: str, key: str, password: str, video: str, ip: str) -> Question:
    return {"client": client, "key": key, "password": password, "video": video, "ip": ip}


class ConnectionsBesideModel(RuleBasedStateMachine):
    """One node and the server that asks it. Each rule does the same to both and compares."""

    answers = 0
    restarts = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.closing = AsyncExitStack()
        self.model = Model(now_ms=NOON_MS)
        self.node: Node = self.run(self.closing.enter_async_context(node_with(GenericDoor(), self.folder)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def issue(self) -> None:
        for key, (uses, most, newest_wins, seconds, video) in zip(KEYS, TICKETS, strict=True):
            expires_s = NOON_MS // 1_000 + seconds
            rules = {"uses_limit": uses, "max_sessions": most, "newest_wins": newest_wins, "expires_s": expires_s}
            self.run(self.node.issue(key=key, password="p", video=video, **rules))
            self.model.tickets[key] = {
                "password": "p",
                "video": video,
                "uses": uses,
                "taken": 0,
                "expires_ms": expires_s * 1_000,
                "active": True,
                "most": most,
                "newest_wins": newest_wins,
            }

    # What servers do

    @rule(client=clients, key=keys, password=passwords, video=videos, ip=addresses, times=st.integers(1, 3))
    def start(self, client: str, key: str, password: str, video: str, ip: str, times: int) -> None:
        """Asked again at once where it is asked several times."""
        asked = question(client, key, password, video, ip)
        for _ in range(times):
            expected = self.model.start(asked)
            self.compare(expected, client_id=client, key=key, **{"pass": password}, app="live", video=video, ip=ip)

    @rule(client=clients, key=keys, password=passwords, ip=addresses)
    def follow(self, client: str, key: str, password: str, ip: str) -> None:
        expected = self.model.follow(question(client, key, password, "", ip))
        self.compare(expected, action="follow", client_id=client, key=key, **{"pass": password}, ip=ip)

    @rule(pick=st.integers(0, 9), ip=addresses)
    def follow_one_that_lives(self, pick: int, ip: str) -> None:
        if self.model.sessions:
            asked = self.model.sessions[pick % len(self.model.sessions)]["question"]
            self.follow(asked["client"], asked["key"], asked["password"], ip)

    @rule(client=clients)
    def end(self, client: str) -> None:
        self.model.end(client)
        self.compare("", action="end", client_id=client)

    # What publishers and the node do

    @rule(key=st.sampled_from(KEYS))
    def kick(self, key: str) -> None:
        self.model.kick(key)
        self.run(self.node.usher.kick(self.node.cdn, SessionFilter(key=key)))

    @rule(key=st.sampled_from(KEYS), sure=st.integers(0, 4))
    def revoke(self, key: str, sure: int) -> None:
        if sure == 0:
            self.model.revoke(key)
            self.run(self.node.usher.revoke_ticket(self.node.cdn, key))

    @rule(ms=st.sampled_from(MOMENTS_MS))
    def wait(self, ms: int) -> None:
        self.model.now_ms += ms
        self.node.now_ms += ms

    @rule()
    def sweep(self) -> None:
        self.model.sweep()
        self.run(self.node.usher.watching.sweep())

    @rule()
    def restart(self) -> None:
        # So that the ledger knows what time it is: what has passed since would be the node's own silence.
        self.start("c9", "unknown", "p", "cam1", "192.0.2.1", 1)
        self.model.restart()
        self.run(self.node.restart())
        type(self).restarts += 1

    # What they must agree on

    def compare(self, expected: str, **asked: str) -> None:
        sent = Sent("POST", "/v1/authorize", {}, json.dumps(asked).encode(), bearer=True)
        answer = self.run(self.node.send(sent))

        assert answer.status_code == 200, answer.text
        assert (answer.json()["reason"], answer.json()["allow"]) == (expected, not expected)
        type(self).answers += 1

    @invariant()
    def uses_attempts_sessions_and_debts_are_the_models(self) -> None:
        node, model = self.node, self.model

        async def standing() -> tuple[list[int], list[int], list[str]]:
            taken = [await node.uses(key) for key in model.tickets]
            owed = await node.usher.owed_kicks(after=0, limit=1_000)
            return taken, [each.number for each in owed], await node.reasons()

        taken, owed, reasons = self.run(standing())
        assert taken == [ticket["taken"] for ticket in model.tickets.values()]
        assert owed == sorted(model.owed)
        assert reasons == model.attempts[-100:]
        watched = node.usher.sessions(node.cdn, SessionFilter())
        assert [each.session.number for each in watched] == model.live()

    def teardown(self) -> None:
        try:
            # What a rule has found is what is to be shown.
            if sys.exception() is None:
                assert self.run(self.node.usher.check()) == []
        finally:
            self.run(self.closing.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)


# A failure is shrunk to a short program, which takes its time.
@pytest.mark.timeout(900)
def test_whatever_servers_do_usher_says_what_the_model_says(promise: Promise, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rules do by hand what a node does every few seconds.
    for name in ("_SEEN_S", "_SWEEP_S"):
        monkeypatch.setattr(f"openusher.watching.{name}", 10**6)
    machine = ConnectionsBesideModel
    run_machine(machine, examples=EXAMPLES, steps=STEPS)
    promise(
        "Never one use too many",
        answers_to_media_servers_compared_with_the_model=machine.answers,
        restarts_under_their_connections=machine.restarts,
    )
