"""Sessions beside a plain model of them: whatever viewers, publishers, clocks and crashes do, both say the same."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from openusher.model.session import SessionFilter
from openusher.watching import Asked
from tests.conformance import viewers
from tests.conformance.asking import NOON_MS, ticket
from tests.conformance.viewers import ADDRESSES, CDNS, EDGES_EACH, FILES, PASSES, Drawn, Viewers, newest
from tests.conformance.watchednode import WatchedNode
from tests.conftest import Promise
from tests.machines import run_machine
from tests.oracles.session_model import Answer, Held, Limits, Model, Question

T = TypeVar("T")
LIMITS: Limits = {"idle": 300_000, "resume": 3_600_000, "hop": 15_000, "hold": 60_000, "addresses": 2}
# Of those that are active.
TICKETS_MIN, TICKETS_MAX = 5, 9
EXAMPLES, STEPS = 60, 40
# What is beyond ends everything.
MOMENTS_AHEAD_MS = 2 * LIMITS["resume"]


class SessionsBesideModel(RuleBasedStateMachine):
    """One node with two accounts. Each rule does the same to both and compares."""

    answers = 0
    restarts = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.model = Model(LIMITS, wall_ms=NOON_MS)
        self.node = WatchedNode(self.folder / "ledger.db", LIMITS, wall_ms=lambda: self.model.wall_ms)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.run(self.node.start())
        self.viewers = Viewers(self.model, {cdn: self.run(self.node.new_edges(cdn, EDGES_EACH)) for cdn in CDNS})
        for cdn, ip, expires_in_s, max_sessions, newest_wins in (
            (1, "0.0.0.0/0", 3_000, 0, False),
            (1, "auto|auto", 10**8, 0, False),
            (1, "0.0.0.0/0", 10**8, 2, False),
            (2, "0.0.0.0/0", 1_000, 0, False),
            (2, "0.0.0.0/0", 10**8, 2, True),
            (2, "0.0.0.0/0", 10**8, 1, True),
        ):
            self.issue(cdn, PASSES[0], "*", ip, 0, expires_in_s, max_sessions, newest_wins)

    # What publishers do

    @precondition(lambda self: self.active_tickets() < TICKETS_MAX)
    @rule(
        cdn=st.sampled_from([1, 1, 2]),
        password=st.sampled_from(PASSES),
        video=st.sampled_from(["*", "*", "*", "a*|c"]),
        ip=st.sampled_from(["0.0.0.0/0", "0.0.0.0/0", "192.0.2.0/24", "auto", "auto|auto"]),
        uses=st.sampled_from([0, 0, 1, 2, 3]),
        expires_in_s=st.sampled_from([60, 1_000, 10_000, 10**8]),
        max_sessions=st.sampled_from([0, 1, 1, 2]),
        newest_wins=st.booleans(),
    )
    def issue(
        self, cdn: int, password: str, video: str, ip: str, uses: int, expires_in_s: int, max_sessions: int,
        newest_wins: bool,
    ) -> None:  # fmt: skip
        key = f"k{len(self.model.tickets.get(cdn, {}))}"
        expires_s = self.model.wall_ms // 1_000 + expires_in_s
        wanted = ticket(
            cdn, key, password=password, video=video, ip=ip, uses_limit=uses, expires_s=expires_s,
            max_sessions=max_sessions, newest_wins=newest_wins,
        )  # fmt: skip
        self.run(self.node.usher.issue_ticket(wanted))
        self.model.issue(
            cdn,
            key,
            {"pass": password, "app": "*", "video": video, "ip": ip, "uses": uses, "used": 0, "active": True,
             "expires_s": expires_s},
            sessions=max_sessions,
            newest_wins=newest_wins,
        )  # fmt: skip

    def active_tickets(self) -> int:
        return sum(ticket["active"] for tickets in self.model.tickets.values() for ticket in tickets.values())

    @precondition(lambda self: self.active_tickets() > TICKETS_MIN)
    @rule(cdn=st.sampled_from(CDNS), which=st.integers(0, 3))
    def revoke(self, cdn: int, which: int) -> None:
        key = newest(list(self.model.tickets[cdn]), which)
        self.run(self.revoked(cdn, key))
        self.model.revoke(cdn, key)

    async def revoked(self, cdn: int, key: str) -> None:
        await self.node.usher.revoke_ticket(cdn, key)

    @precondition(lambda self: self.model.live())
    @rule(which=st.integers(0, 3), by=st.sampled_from(viewers.TRAITS), come_back=st.booleans())
    def kick(self, which: int, by: str, come_back: bool) -> None:
        cdn, search, numbers = self.viewers.alike(which, by)
        held = self.model.held_by_kick(numbers)

        assert self.run(self.node.usher.kick(cdn, search)) == len(numbers)
        self.model.kick(numbers, held)
        for number in numbers[:2] if come_back else []:
            for ip in ADDRESSES:
                self.compare_plain(*self.viewers.comes_back(number, ip))
                self.compare(*self.viewers.comes_back(number, ip))

    # What viewers do

    @rule(
        several=st.lists(viewers.by_any_method, min_size=1, max_size=6),
        step_ms=st.sampled_from([0, 0, 1_000, 6_000, 16_000]),
    )
    def ask_in_turn(self, several: list[Drawn], step_ms: int) -> None:
        for drawn in several:
            self.ask(drawn)
            self.let_the_clock_step(step_ms)

    def ask(self, drawn: Drawn) -> None:
        self.compare(*self.viewers.asks(drawn))

    def compare(self, question: Question, asked: Asked) -> None:
        expected = self.model.ask(question)
        answer = self.run(self.answer(question, asked))

        assert answer == expected

    async def answer(self, question: Question, asked: Asked) -> Answer:
        verdict = await self.node.verdict(asked)
        type(self).answers += 1
        live = verdict.live if verdict.allowed else None
        if live is not None and verdict.is_start:
            cookie = self.node.usher.watching.book.cookie_of(live)
            self.viewers.opened[live.session.number] = question, cookie
        return verdict.reason, live.session.number if live else None, verdict.is_start

    @precondition(lambda self: self.model.live())
    @rule(
        drawn=viewers.goes_on,
        step_ms=st.sampled_from([6_000, 31_000, 140_000, 299_999, 300_000]),
        times=st.integers(2, 6),
    )
    def watch_on(self, drawn: Drawn, step_ms: int, times: int) -> None:
        for _ in range(times):
            self.let_the_clock_step(step_ms)
            self.ask(drawn)

    @precondition(lambda self: self.model.live())
    @rule(
        drawn=viewers.goes_on,
        places=st.lists(st.integers(0, len(ADDRESSES) - 1), min_size=2, max_size=5),
        step_ms=st.sampled_from([0, 4_000, 299_999]),
    )
    def wander(self, drawn: Drawn, places: list[int], step_ms: int) -> None:
        """With a cookie from one address to another, and home without it."""
        for ip in places:
            self.ask(drawn._replace(how="by cookie", file=None, ip=ip))
            self.let_the_clock_step(step_ms)
        self.ask(drawn._replace(how="by ticket", file=None, ip=None))

    @rule(
        drawn=viewers.starts,
        videos=st.lists(st.integers(0, len(FILES) - 1), min_size=2, max_size=4),
        step_ms=st.sampled_from([6_000, 14_999, 15_000, 31_000]),
        another=viewers.starts,
    )
    def zap(self, drawn: Drawn, videos: list[int], step_ms: int, another: Drawn) -> None:
        """From one video to the next, and then another viewer comes with the same ticket."""
        for video in videos:
            self.ask(drawn._replace(file=video))
            self.let_the_clock_step(step_ms)
        self.ask(another._replace(cdn=drawn.cdn, which=drawn.which, how=drawn.how))
        self.ask(drawn._replace(file=videos[0]))

    @rule(drawn=st.one_of(viewers.starts, viewers.goes_on))
    def authorize(self, drawn: Drawn) -> None:
        """By the plain door, which knows of no sessions; and then as the viewer of one."""
        self.compare_plain(*self.viewers.asks(drawn))
        self.ask(drawn._replace(how="by cookie"))

    def compare_plain(self, question: Question, asked: Asked) -> None:
        expected = self.model.authorize(question)

        assert self.run(self.node.authorize(asked)) == expected

    @rule(
        asks=st.lists(viewers.asks, min_size=1, max_size=5),
        with_one_ticket=st.booleans(),
        twins=st.integers(0, 2),
        at_last=st.sampled_from(["", "", "", "authorize", "kick", "revoke"]),
    )
    def ask_together(self, asks: list[Drawn], with_one_ticket: bool, twins: int, at_last: str) -> None:
        """Each before another is answered: those that the ledger must see share a batch, in this order. A kick or a
        revocation is carried out after it."""
        if with_one_ticket:
            asks = [drawn._replace(cdn=asks[0].cdn, which=asks[0].which) for drawn in asks]
        work: list[Coroutine[Any, Any, object]] = []
        # What the model says of each: now, as they are asked, or when the batch is carried out.
        expected: list[Callable[[], object]] = []
        for question, asked in [self.viewers.asks(drawn) for drawn in asks + asks[:1] * twins]:
            work.append(self.answer(question, asked))
            at_once = self.model.answer_at_once(question)
            start = partial(self.model.start, question, self.model.seen_ms())
            expected.append(start if at_once is None else partial(tuple, at_once))
        cdn, key = question["cdn"], question["key"]
        if at_last == "authorize":
            work.append(self.node.authorize(asked))
            expected.append(partial(self.model.authorize, question))
        elif at_last == "revoke" and self.active_tickets() > TICKETS_MIN and key in self.model.tickets[cdn]:
            work.append(self.revoked(cdn, key))
            expected.append(partial(self.model.revoke, cdn, key))
        elif at_last == "kick" and self.model.live():
            cdn, search, numbers = self.viewers.alike(0, "key")
            work.append(self.node.usher.kick(cdn, search))
            expected.append(partial(self.kicked, numbers, self.model.held_by_kick(numbers)))
        answers = self.run(self.gathered(work))
        wanted = [say() for say in expected]

        assert answers == wanted

    def kicked(self, numbers: list[int], held: list[Held]) -> int:
        """Those that were found, and then whoever has come with their ticket meanwhile."""
        first, _ = self.viewers.opened[numbers[0]]
        kicked = self.model.kick(numbers, held)
        late = [each for each in self.model.live() if (each["cdn"], each["key"]) == (first["cdn"], first["key"])]
        numbers = [each["number"] for each in late]
        return kicked + self.model.kick(numbers, self.model.held_by_kick(numbers))

    async def gathered(self, work: list[Coroutine[Any, Any, object]]) -> list[object]:
        return await asyncio.gather(*work)

    # What time does

    @rule(
        step_ms=st.sampled_from([1, 1_000, 4_000, 14_000, 16_000, 40_000, 200_000, 3_000_000, -1, -20_000, -3_700_000])
    )
    def let_the_clock_step(self, step_ms: int) -> None:
        self.model.wall_ms += step_ms

    @precondition(lambda self: self.model.moments_ms())
    @rule(which=st.integers(0, 9), off_ms=st.sampled_from([-1, 0, 0, 1]), several=st.lists(viewers.asks, max_size=3))
    def ask_at_a_moment(self, which: int, off_ms: int, several: list[Drawn]) -> None:
        """One at which something changes by itself, or just before or after."""
        near = [at_ms for at_ms in self.model.moments_ms() if at_ms <= self.model.now_ms + MOMENTS_AHEAD_MS]
        if near:
            self.model.wall_ms = near[min(which, len(near) - 1)] + off_ms
        for drawn in several:
            self.ask(drawn)

    @precondition(lambda self: self.model.sessions)
    @rule()
    def write_what_was_seen(self) -> None:
        self.run(self.node.write_seen())
        self.model.keep()
        self.take_over_the_clock()

    @precondition(lambda self: len(self.model.live()) < len(self.model.sessions))
    @rule()
    def sweep(self) -> None:
        self.run(self.node.usher.watching.sweep())
        self.model.sweep()

    @precondition(lambda self: self.model.live())
    @rule(crashes=st.booleans(), away_ms=st.sampled_from([0, 1, 20_000, 400_000, 4_000_000, -20_000, -3_700_000]))
    def restart(self, crashes: bool, away_ms: int) -> None:
        if crashes:
            self.run(self.node.crash())
        else:
            self.run(self.node.stop())
            self.model.keep(late_ms=0)
        self.take_over_the_clock()
        self.model.wall_ms += away_ms
        self.run(self.node.start())
        found = {number: (live.seen_ms, live.watched_ms) for number, live in self.node.lives().items()}

        assert self.model.began(found)
        self.write_what_was_seen()
        type(self).restarts += 1

    def take_over_the_clock(self) -> None:
        assert self.model.clock_was(self.node.clock_ms)

    # What they must agree on

    @invariant()
    def sessions_uses_and_attempts_are_the_models(self) -> None:
        for cdn in CDNS:
            watched = self.node.usher.sessions(cdn, SessionFilter())
            seen = [(each.session.number, each.seen_ms, each.watched_ms, each.is_asleep) for each in watched]
            lives = [session for session in reversed(self.model.live()) if session["cdn"] == cdn]

            assert seen == [
                (session["number"], session["seen_ms"], session["watched_ms"], self.model.is_asleep(session))
                for session in lives
            ]
        kept = {(cdn, key): kept for cdn in CDNS for key, kept in self.model.tickets[cdn].items()}
        found = self.run(self.node.standing(CDNS, kept))

        assert found.tickets == {name: (each["used"], each["ip"], each["active"]) for name, each in kept.items()}
        assert found.attempts == self.model.attempts
        assert found.ended.keys() == self.model.ended.keys()
        for number, (by, watched_ms) in found.ended.items():
            ended_by, least_ms, most_ms = self.model.ended[number]
            assert by == ended_by
            assert least_ms <= watched_ms <= most_ms

    def teardown(self) -> None:
        try:
            # What a rule has found is what is to be shown.
            if sys.exception() is None:
                self.model.wall_ms = self.model.now_ms
                assert self.run(self.node.usher.check()) == []
        finally:
            self.run(self.node.stop())
            self.runner.close()
            shutil.rmtree(self.folder)


# A failure is shrunk to a short program, which takes its time.
@pytest.mark.timeout(900)
def test_whatever_viewers_do_usher_says_what_the_model_says(promise: Promise, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rules do by hand, and when the model does, what a node does every few seconds.
    for name in ("_SEEN_S", "_SWEEP_S"):
        monkeypatch.setattr(f"openusher.watching.{name}", 10**6)
    machine = SessionsBesideModel
    run_machine(machine, examples=EXAMPLES, steps=STEPS)
    promise(
        "Never one use too many",
        answers_to_viewers_compared_with_the_model=machine.answers,
        restarts_and_crashes_under_their_sessions=machine.restarts,
    )
