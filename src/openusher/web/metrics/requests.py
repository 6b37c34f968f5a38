"""Counts each answered HTTP request, and apart from each other bad input, busy answers and the node's own faults."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from openusher.errors import (
    CommitUnknown,
    CountUnavailable,
    LedgerUnavailable,
    LogDamaged,
    LogUnavailable,
)
from openusher.model.attempt import Decision
from openusher.tally import REQUEST_BOUNDS_S, Distribution
from openusher.watching import Verdict
from openusher.web.observed import NO_METHOD, Commanded, Observed, Outcome, Published, kind_of, name_of, outcome_of

# The parser takes some forty; strangers are not to choose more labels than these.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NO_METHOD})
_OTHER_METHOD = "(other)"
# What tells of an attempt, a follow-up or an encoder, and so of none of the three.
_ANSWERED = frozenset({Verdict, Decision, Published})
_BAD_INPUT = frozenset({Outcome.BAD_INPUT, Outcome.NOT_AUTHORISED})
_FAULTS = frozenset({Outcome.UNAVAILABLE, Outcome.FAULT})
# What is told apart; all else is a mistake of ours.
_KNOWN_FAULTS = (LedgerUnavailable, CommitUnknown, LogUnavailable, LogDamaged, CountUnavailable)
UNEXPECTED = "unexpected"

# Route, kind of edge, method and status.
Name = tuple[str, str, str, int]


class _Answers:
    """Those of one name, and the time of all of one route and kind."""

    __slots__ = ("count", "took_s")

    def __init__(self, took_s: Distribution) -> None:
        self.count = 0
        self.took_s = took_s


class RequestTally:
    """What was answered since the node is up. `add` is an `Observer`: it runs with each answer."""

    def __init__(self) -> None:
        self.answers: dict[Name, _Answers] = {}
        self.took_s: dict[tuple[str, str], Distribution] = {}
        self.bad: dict[tuple[str, str, str], int] = defaultdict(int)
        self.busy: dict[str, int] = defaultdict(int)
        # From zero on, so that the first of a kind shows as a rise.
        self.faults = dict.fromkeys([*map(name_of, _KNOWN_FAULTS), UNEXPECTED], 0)
        # As they were asked, whatever the method.
        self._seen: dict[Name, _Answers] = {}

    def add(self, observed: Observed) -> None:
        name = observed.route, observed.kind, observed.method, observed.status
        answers = self._seen.get(name)
        if answers is None:
            answers = self._seen[name] = self._new(name)
        answers.count += 1
        # As `Distribution.add`, without the call: this runs with each answer.
        seconds, took_s = observed.seconds, answers.took_s
        took_s.counts[bisect_left(REQUEST_BOUNDS_S, seconds)] += 1
        took_s.total += seconds
        if type(observed.learnt) not in _ANSWERED:
            self._add_outcome(observed)

    def _new(self, name: Name) -> _Answers:
        route, kind, method, status = name
        took_s = self.took_s.setdefault((route, kind), Distribution.within(REQUEST_BOUNDS_S))
        self.busy[route] += 0
        shown = (route, kind, method if method in _METHODS else _OTHER_METHOD, status)
        return self.answers.setdefault(shown, _Answers(took_s))

    def _add_outcome(self, observed: Observed) -> None:
        outcome, reason = outcome_of(observed)
        if outcome in _BAD_INPUT:
            self.bad[observed.route, observed.kind, reason or f"status {observed.status}"] += 1
        elif outcome is Outcome.BUSY and observed.learnt is not None:
            # Else it is the answer to whoever asks whether the node is ready.
            self.busy[observed.route] += 1
        elif outcome in _FAULTS:
            learnt = observed.learnt
            error = learnt.error if isinstance(learnt, Commanded) else learnt
            name = kind_of(error) if isinstance(error, BaseException) else UNEXPECTED
            self.faults[name if name in self.faults else UNEXPECTED] += 1
