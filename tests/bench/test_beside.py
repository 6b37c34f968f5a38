"""The benches of decisions and of issued tickets: their goals, their checks, and a short run of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import authorize, issue
from bench.authorize import lone_goal
from bench.beside import Goal, Sample, figure_of
from bench.issue import WrongTickets, check_tickets
from bench.load import Report
from bench.report import Figure


def report(*, sent: int = 1_000, answered: int = 1_000, rate: float = 1_000.0, p50_ms: float = 1.0) -> Report:
    return Report(
        sent=sent, answered=answered, marked=0, unsent=0, failure="", offered=None, rate=rate, p50_ms=p50_ms,
        p99_ms=10 * p50_ms, max_ms=100.0, samples=answered, busy=0.1,
    )  # fmt: skip


def figure(goal: Goal, *, rate: float = 700.0, p50_ms: float = 1.0) -> Figure:
    """Of rounds around `rate`, beside a constant answer of 1,000 a second."""
    constants = [Sample(report(), 20.0)] * 3
    samples = [Sample(report(rate=each, p50_ms=p50_ms), 40.0) for each in (1.0, rate, 9_999.0)]
    return figure_of("asked", samples, connections=64, beside=constants, goal=goal)


def test_a_figure_is_the_median_of_its_rounds_beside_the_constant_answers() -> None:
    found = figure(Goal(said="nothing"))

    assert (found.rate, found.ratio, found.cpu_us, found.p99_ms) == (700.0, 0.7, 40.0, 10.0)


def test_a_slow_minute_that_meets_both_of_a_round_changes_no_ratio() -> None:
    constants = [Sample(report(rate=rate), 20.0) for rate in (1_000.0, 400.0, 900.0)]
    samples = [Sample(report(rate=rate), 40.0) for rate in (700.0, 300.0, 540.0)]

    assert figure_of("asked", samples, connections=64, beside=constants).ratio == 0.7


@pytest.mark.parametrize(
    ("goal", "rate", "p50_ms", "reached"),
    [
        (Goal(ratio_min=0.7, p99_ms_max=20.0, said=""), 700.0, 2.0, True),
        (Goal(ratio_min=0.7, p99_ms_max=20.0, said=""), 699.0, 2.0, False),
        (Goal(ratio_min=0.7, p99_ms_max=20.0, said=""), 700.0, 2.1, False),
        (Goal(p99_ms_max=150.0, said=""), 1.0, 15.0, True),
        # One and a half syncs of 2 ms, and a round trip of half a millisecond.
        (lone_goal(2.0, 0.5), 1.0, 3.5, True),
        (lone_goal(2.0, 0.5), 1.0, 3.6, False),
    ],
)
def test_a_goal_is_reached_where_all_that_it_asks_is(goal: Goal, rate: float, p50_ms: float, reached: bool) -> None:
    assert reached is figure(goal, rate=rate, p50_ms=p50_ms).reached


@pytest.mark.parametrize(("sent", "answered", "after"), [(10, 10, 19), (10, 10, 21), (10, 9, 19), (11, 10, 20)])
def test_a_node_that_has_other_tickets_than_it_acknowledged_ends_the_run(sent: int, answered: int, after: int) -> None:
    check_tickets(report(sent=10, answered=10), before=10, after=20)
    with pytest.raises(WrongTickets):
        check_tickets(report(sent=sent, answered=answered), before=10, after=after)


def test_tickets_are_issued_beside_a_constant_answer(tmp_path: Path) -> None:
    found = issue.measure(tmp_path, tickets=100, rounds=1, seconds=0.2)

    assert [each.name for each in found.figures] == ["constant answer", "sevu.request"]
    assert 0 < (found.figures[1].ratio or 0) < 2
    assert found.figures[1].goal == ">= 0.55"


def test_decisions_are_measured_for_one_many_and_a_crowd(tmp_path: Path) -> None:
    found = authorize.measure(tmp_path, attempts=100, rounds=1, seconds=0.2)

    asked = [(each.name, each.connections) for each in found.figures]
    assert asked[1:] == [(name, each) for each in (1, 64, 1_024) for name in ("constant answer", "authorize")]
    assert [bool(each.goal) for each in found.figures] == [False, *[False, True] * 3]
