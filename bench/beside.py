"""Loads in turns, so that a busy moment of the machine meets each of them, and the figure that a load's rounds make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from bench.load import Report
from bench.process import Server
from bench.report import Figure


class Sample(msgspec.Struct, frozen=True):
    """One load and the CPU time that a request cost the serving process, its children not included."""

    report: Report
    cpu_us: float


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a figure; None: nothing. `ratio_min` is of its rate to that of the constant answer."""

    ratio_min: float | None = None
    p50_ms_max: float | None = None
    p99_ms_max: float | None = None
    said: str

    def reached(self, figure: Figure) -> bool:
        return (
            (self.ratio_min is None or (figure.ratio or 0) >= self.ratio_min)
            and (self.p50_ms_max is None or (figure.p50_ms or 0) <= self.p50_ms_max)
            and (self.p99_ms_max is None or (figure.p99_ms or 0) <= self.p99_ms_max)
        )


def sampled(server: Server, load: Callable[[], Report]) -> Sample:
    """Send a load to a server. Raises LoadFailed."""
    before_s = server.cpu_s
    report = load()
    return Sample(report, 1e6 * (server.cpu_s - before_s) / report.answered)


def ratio_of(reports: Sequence[Report], constants: Sequence[Report]) -> float:
    """The median of the rounds' own ratios: a slow minute of the machine is in both rates of a round, and would be in
    one of two medians only."""
    return median(report.rate / constant.rate for report, constant in zip(reports, constants, strict=True))


def figure_of(
    name: str,
    samples: Sequence[Sample],
    *,
    connections: int,
    log: str = "",
    beside: Sequence[Sample] = (),
    goal: Goal | None = None,
) -> Figure:
    """The medians of the rounds; `beside` are the constant answer's samples of the same rounds."""
    figure = Figure(
        log=log,
        name=name,
        connections=connections,
        rate=median(sample.report.rate for sample in samples),
        p50_ms=median(sample.report.p50_ms for sample in samples),
        p99_ms=median(sample.report.p99_ms for sample in samples),
        ratio=ratio_of([s.report for s in samples], [s.report for s in beside]) if beside else None,
        cpu_us=median(sample.cpu_us for sample in samples),
        busy=median(sample.report.busy for sample in samples),
    )
    return figure if goal is None else msgspec.structs.replace(figure, goal=goal.said, reached=goal.reached(figure))
