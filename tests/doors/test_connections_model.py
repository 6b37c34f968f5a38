"""Stand-ins of SRS and MediaMTX ask in their servers' orders: twice, late, never, by names that viewers chose. Whatever
they do, clocks, kicks and crashes too, a plain model counts the same."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from openusher.model.edge import EdgeKind
from tests.conformance.asking import NOON_MS
from tests.conftest import Promise
from tests.doors.doornode import CDN, DoorNode
from tests.golden import mediamtx, srs
from tests.machines import run_machine
from tests.oracles.hook_model import Model, Question, Ticket

T = TypeVar("T")
EXAMPLES, STEPS = 25, 40
TICKETS = {"many": Ticket(), "three": Ticket(uses=3), "one": Ticket(sessions=1), "both": Ticket(uses=2, sessions=1)}
# Server's names of connections. One that the other kind's session has too must not be taken for that.
NAMES = [mediamtx.CONN, mediamtx.SESSION, "c3", "c4"]

questions = st.builds(
    Question,
    ticket=st.sampled_from(sorted(TICKETS)),
    is_right=st.sampled_from([True, True, True, False]),
    video=st.sampled_from(["cam1", "cam2"]),
    ip=st.sampled_from(["192.0.2.7", "2001:db8::7"]),
)
names = st.sampled_from(NAMES)


class BesideModel(RuleBasedStateMachine):
    """One node of one kind. Each rule does the same to both and compares."""

    kind: EdgeKind
    answers = 0
    crashes = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.node = DoorNode(self.folder, self.kind)
        self.model = Model({name: Ticket(each.uses, each.sessions) for name, each in TICKETS.items()}, now_ms=NOON_MS)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        async def begin() -> None:
            await self.node.start()
            for name, rules in TICKETS.items():
                await self.node.issue(name, uses_limit=rules.uses, max_sessions=rules.sessions)

        self.run(begin())

    def ask(self, *bodies: bytes, below: str = "") -> list[bool]:
        """At once, so that several may be of one batch."""

        async def ask() -> list[bool]:
            answers = await asyncio.gather(*(self.node.post(body, below=below) for body in bodies))
            assert {answer.status for answer in answers} <= {200, 401, 403}
            return [answer.status == 200 for answer in answers]

        type(self).answers += len(bodies)
        return self.run(ask())

    @rule(seconds=st.sampled_from([0, 0, 1, 9, 10, 11, 49, 60, 61, 300]), more_ms=st.sampled_from([0, 1]))
    def wait(self, seconds: int, more_ms: int) -> None:
        self.model.now_ms += seconds * 1_000 + more_ms
        self.node.now_ms = self.model.now_ms

    @rule(ticket=st.sampled_from(sorted(TICKETS)))
    def kick(self, ticket: str) -> None:
        self.run(self.node.kick(ticket))
        self.model.kick(ticket)

    @rule(ticket=st.sampled_from(["many", "both"]))
    def revoke(self, ticket: str) -> None:
        self.run(self.node.usher.revoke_ticket(CDN, ticket))
        self.model.revoke(ticket)

    @rule(crashes=st.booleans())
    def restart(self, crashes: bool) -> None:
        async def restart() -> None:
            await (self.node.crash() if crashes else self.node.stop())
            await self.node.start()

        self.run(restart())
        type(self).crashes += 1

    @invariant()
    def sessions_uses_and_attempts_are_the_models(self) -> None:
        async def standing() -> tuple[tuple[int, int], dict[str, int]]:
            return await self.node.counts(), {name: await self.node.uses(name) for name in TICKETS}

        model = self.model
        lives = sorted(f"~{session.client}" if session.is_half else session.client for session in model.sessions)

        assert self.node.clients() == lives
        assert self.run(standing()) == (
            (model.accepted, model.refused),
            {name: ticket.taken for name, ticket in model.tickets.items()},
        )

    def teardown(self) -> None:
        self.run(self.node.stop())
        self.runner.close()
        shutil.rmtree(self.folder)


class SrsBesideModel(BesideModel):
    """SRS asks once; nothing but the ids of HLS sessions is a viewer's to choose."""

    kind = EdgeKind.SRS

    @rule(name=names, question=questions, times=st.sampled_from([1, 1, 2, 3]))
    def play(self, name: str, question: Question, times: int) -> None:
        told = self.ask(*[_srs("on_play", name, question)] * times)

        assert told == [self.model.start(name, question) for _ in range(times)]

    @rule(name=names, question=questions)
    def play_hls(self, name: str, question: Question) -> None:
        (told,) = self.ask(_srs("on_play", name, question, ".m3u8"))

        assert told == self.model.start(f"hls:{name}", question, repeats=False)

    @rule(name=names, question=questions)
    def connect_and_close(self, name: str, question: Question) -> None:
        assert self.ask(*(_srs(action, name, question) for action in ("on_connect", "on_close"))) == [True, True]

    @rule(name=st.one_of(names, st.just("")), question=questions, of=st.sampled_from(["", ".m3u8"]))
    def stop(self, name: str, question: Question, of: str) -> None:
        assert self.ask(_srs("on_stop", name, question, of)) == [True]
        self.model.stop(f"hls:{name}" if of else name, question.video)

    @rule(name=names, question=questions)
    def publish(self, name: str, question: Question) -> None:
        assert self.ask(_srs("on_publish", name, question)) == [False]


class MediaMtxBesideModel(BesideModel):
    """MediaMTX asks about RTSP by halves, about HLS and WebRTC before there is anything, and tells ends by the id."""

    kind = EdgeKind.MEDIAMTX

    @rule(name=names, question=questions, protocol=st.sampled_from(["rtmp", "srt"]), times=st.sampled_from([1, 1, 3]))
    def connect(self, name: str, question: Question, protocol: str, times: int) -> None:
        told = self.ask(*[_mediamtx(protocol, name, question)] * times)

        assert told == [self.model.start(f"{protocol}:{name}", question) for _ in range(times)]

    @rule(name=names, question=questions, protocol=st.sampled_from(["hls", "webrtc"]), page=st.booleans())
    def play(self, name: str, question: Question, protocol: str, page: bool) -> None:
        if page:
            assert self.ask(_mediamtx(protocol, None, question)) == [self.model.look(question)]
        told = self.ask(_mediamtx(protocol, name, question))

        assert told == [self.model.start(f"{protocol}:{name}", question)]

    @rule(
        pair=st.permutations(NAMES),
        question=questions,
        describes=st.integers(0, 2),
        setups=st.integers(0, 2),
        pause_ms=st.sampled_from([0, 10_000, 10_001]),
    )
    def play_rtsp(self, pair: list[str], question: Question, describes: int, setups: int, pause_ms: int) -> None:
        for name, times in ((pair[0], describes), (pair[1], setups)):
            for _ in range(times):
                assert self.ask(_mediamtx("rtsp", name, None)) == [False]
                told = self.ask(_mediamtx("rtsp", name, question))
                assert told == [self.model.start(f"rtsp:{name}", question, halves=True)]
                if not told[0]:
                    return
            self.model.now_ms += pause_ms
            self.node.now_ms = self.model.now_ms

    @rule(name=names, of=st.sampled_from(["/read", "/unread"]))
    def tell(self, name: str, of: str) -> None:
        assert self.ask(f"id={name}".encode(), below=of) == [True]
        if of == "/unread":
            for protocol in ("rtsp", "rtmp", "srt", "webrtc", "hls"):
                self.model.stop(f"{protocol}:{name}")

    @rule(name=names, question=questions, action=st.sampled_from(["publish", "api", "metrics"]))
    def do_else(self, name: str, question: Question, action: str) -> None:
        assert self.ask(_mediamtx("rtmp", name, question, action=action)) == [False]


def _password(question: Question) -> str:
    return f"pass-of-{question.ticket}" if question.is_right else "wrong"


def _srs(action: str, name: str, question: Question, extension: str = "") -> bytes:
    return srs.hook(
        action,
        name,
        ip=question.ip,
        stream=question.video + extension,
        stream_url=f"/live/{question.video}",
        param=f"?key={question.ticket}&pass={_password(question)}",
    )


def _mediamtx(protocol: str, name: str | None, question: Question | None, **members: Any) -> bytes:
    if question is None:
        return mediamtx.question(protocol=protocol, id=name)
    return mediamtx.question(
        protocol=protocol,
        id=name,
        ip=question.ip,
        path=f"live/{question.video}",
        query=f"key={question.ticket}&pass={_password(question)}",
        **members,
    )


def test_a_body_of_the_stand_ins_is_what_the_servers_send() -> None:
    assert set(json.loads(_srs("on_play", "c1", Question("many", True, "cam1", "192.0.2.7")))) == set(
        json.loads(srs.PLAY)
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", [SrsBesideModel, MediaMtxBesideModel], ids=["srs", "mediamtx"])
def test_whatever_the_server_asks_and_tells_the_model_counts_the_same(
    promise: Promise, machine: type[BesideModel]
) -> None:
    run_machine(machine, examples=EXAMPLES, steps=STEPS)
    promise(
        "Never one use too many",
        answers_to_media_servers_compared_with_the_model=machine.answers,
        restarts_and_crashes_under_their_connections=machine.crashes,
    )
