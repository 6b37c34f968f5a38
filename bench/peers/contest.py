"""The contest: who is measured when. In every round each contestant has its turn, so that a busy moment of the machine
meets all of them alike."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.counting import QUESTIONS, Parameters, Question
from bench.load import Report
from bench.machine import look_at_machine
from bench.peers.contestants import Counter
from bench.peers.field import Field, Say, agree, running_field, versions
from bench.peers.results import FLOOR, SECURE_LINK, USHER, CountTime, Decided, PeerResults, spread
from bench.traffic import TICKETS_MAX

CONNECTIONS = (1, 16, 64, 256, 1_024)
SHARES = (0.5, 0.75, 0.9, 0.95)
# Enough that a request hardly ever waits for one of them.
_OPEN_CONNECTIONS = 256
# Of each kind of count: asked in a round, and before, to see that all answer the same.
_ASKED, _COMPARED = 300, 3
# A count takes milliseconds, and there are many kinds of it.
_COUNT_S_MAX = 0.3


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure."""

    attempts: int
    rounds: int
    seconds: float

    @property
    def tickets(self) -> int:
        return min(TICKETS_MAX, self.attempts)


def hold_contest(plan: Plan, folder: Path, *, say: Say) -> PeerResults:
    """Raises WrongCount, LoadFailed, ServerFailed."""
    began = time.monotonic()
    machine = look_at_machine(folder)
    with running_field(folder, attempts=plan.attempts, tickets=plan.tickets, seconds=plan.seconds, say=say) as field:
        contest = _Contest(plan, field, folder, say)
        # Before any decision: all hold the same rows.
        counts = contest.counts()
        closed = contest.closed()
        return PeerResults(
            machine=machine,
            versions=versions(),
            attempts=plan.attempts,
            tickets=plan.tickets,
            rounds=plan.rounds,
            seconds=plan.seconds,
            workers=field.workers,
            workers_tried=dict(field.workers_tried),
            bytes_an_attempt=dict(field.bytes_an_attempt),
            decisions=[*closed, *contest.open(_maxima(closed))],
            counts=counts,
            took_s=time.monotonic() - began,
        )


def _maxima(closed: Sequence[Decided]) -> dict[str, float]:
    """What each reached at the number of connections that served it best."""
    return {
        name: max(figure.rate.median for figure in closed if figure.contestant == name)
        for name in {figure.contestant for figure in closed}
    }


class _Contest:
    """Measures one thing after the other."""

    def __init__(self, plan: Plan, field: Field, folder: Path, say: Say) -> None:
        self._plan, self._field, self._folder, self._say = plan, field, folder, say

    def counts(self) -> list[CountTime]:
        counters = self._field.counters
        for question in QUESTIONS:
            agree(counters, question.name, self._draw(question, "compared", _COMPARED))
        self._say(f"all {len(counters)} count the same, by {len(QUESTIONS)} kinds of questions")
        found: dict[tuple[str, str], list[Report]] = defaultdict(list)
        for turn in range(1, self._plan.rounds + 1):
            for question in QUESTIONS:
                asked = self._draw(question, f"round {turn}", _ASKED)
                for name, counter in counters.items():
                    found[question.name, name].append(self._count(counter, asked))
                shown = ", ".join(f"{name} {found[question.name, name][-1].p50_ms:.2f}" for name in counters)
                self._say(f"round {turn}, count, {question.name}, p50 ms: {shown}")
        return [
            CountTime(
                contestant=name,
                question=question,
                p50_ms=spread(report.p50_ms for report in reports),
                p99_ms=spread(report.p99_ms for report in reports),
            )
            for (question, name), reports in found.items()
        ]

    def _draw(self, question: Question, seed: str, number: int) -> list[Parameters]:
        """In each round others, so that nobody has answered them before."""
        chance = random.Random(f"{question.name}, {seed}")
        return [question.ask(chance, range(self._plan.tickets)) for _ in range(number)]

    def _count(self, counter: Counter, asked: Sequence[Parameters]) -> Report:
        return counter.load(asked, self._folder, seconds=min(self._plan.seconds, _COUNT_S_MAX))

    def closed(self) -> list[Decided]:
        """Each as fast as it goes."""
        found: dict[tuple[str, int], list[Report]] = defaultdict(list)
        for turn in range(1, self._plan.rounds + 1):
            for connections in CONNECTIONS:
                for name in self._field.doors:
                    found[name, connections].append(self._load(name, connections))
                shown = ", ".join(f"{name} {found[name, connections][-1].rate:,.0f}" for name in self._field.doors)
                self._say(f"round {turn}, {connections} connections, decisions a second: {shown}")
        return [decided_of(name, connections, reports) for (name, connections), reports in found.items()]

    def open(self, maxima: dict[str, float]) -> list[Decided]:
        """Each at shares of what it reached; the floor at the rates of Usher, beside which it is read."""
        # How many nginx answers says what answering costs; nothing waits in it for a store.
        names = [name for name in self._field.doors if name != SECURE_LINK]
        whole = {name: maxima[USHER if name == FLOOR else name] for name in names}
        offered = {(name, share): share * rate for name, rate in whole.items() for share in SHARES}
        found: dict[tuple[str, float], list[Report]] = defaultdict(list)
        for turn in range(1, self._plan.rounds + 1):
            for share in SHARES:
                for name in names:
                    found[name, share].append(self._load(name, _OPEN_CONNECTIONS, rate=offered[name, share]))
                shown = ", ".join(
                    f"{name} {report.p99_ms:.1f}" if report.kept_up else f"{name} not reached"
                    for name in names
                    for report in found[name, share][-1:]
                )
                self._say(f"round {turn}, at {share:.0%} of its maximum, p99 ms: {shown}")
        return [
            decided_of(name, _OPEN_CONNECTIONS, reports, share=share, offered=offered[name, share])
            for (name, share), reports in found.items()
        ]

    def _load(self, name: str, connections: int, *, rate: float | None = None) -> Report:
        """One run, and then its books. Raises WrongCount."""
        # With so many connections a slow one takes a second until each has had its turn.
        seconds = self._plan.seconds * (2 if connections == CONNECTIONS[-1] else 1)
        report = self._field.doors[name].load(connections=connections, seconds=seconds, rate=rate)
        if name in self._field.books:
            self._field.books[name].enter(report)
        return report


def decided_of(
    name: str,
    connections: int,
    reports: Sequence[Report],
    *,
    share: float | None = None,
    offered: float | None = None,
) -> Decided:
    """What the rounds found, without latencies where one of them did not keep up."""
    kept_up = all(report.kept_up for report in reports)
    return Decided(
        contestant=name,
        connections=connections,
        rate=spread(report.rate for report in reports),
        busy=max(report.busy for report in reports),
        share=share,
        offered=offered,
        p50_ms=spread(report.p50_ms for report in reports) if kept_up else None,
        p99_ms=spread(report.p99_ms for report in reports) if kept_up else None,
    )
