"""Usher beside what one would build or pick instead, as plots."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from bench.peers.results import (
    BRIN,
    BTREE,
    CONSTANT,
    DUCKDB,
    FLOOR,
    RESULTS,
    SECURE_LINK,
    SQLITE,
    USHER,
    read_results,
)
from bench.plots import Plot, finish

# One colour each, in every plot.
_NAMES = (USHER, CONSTANT, FLOOR, BTREE, BRIN, SQLITE, DUCKDB, SECURE_LINK)
_COLOURS = {name: f"C{place}" for place, name in enumerate(_NAMES)}


def _rates(axes: Axes, file: Path) -> None:
    results = read_results(file)
    closed = [figure for figure in results.decisions if figure.share is None]
    for name in dict.fromkeys(figure.contestant for figure in closed):
        of = [figure for figure in closed if figure.contestant == name]
        connections = [figure.connections for figure in of]
        axes.plot(connections, [figure.rate.median for figure in of], marker="o", label=name, color=_COLOURS[name])
        least, most = [figure.rate.least for figure in of], [figure.rate.most for figure in of]
        axes.fill_between(connections, least, most, alpha=0.2, color=_COLOURS[name])
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel="decisions a second")
    axes.set_title("Decisions, as fast as it goes: medians and spreads")
    finish(axes)


def _waits(axes: Axes, file: Path) -> None:
    results = read_results(file)
    open_loop = [figure for figure in results.decisions if figure.share is not None and figure.contestant != FLOOR]
    for name in dict.fromkeys(figure.contestant for figure in open_loop):
        of = [figure for figure in open_loop if figure.contestant == name and figure.p99_ms is not None]
        offered = [figure.offered or 0.0 for figure in of]
        waited = [figure.p99_ms.median for figure in of if figure.p99_ms]
        axes.plot(offered, waited, marker="o", label=name, color=_COLOURS[name])
    axes.set(xscale="log", yscale="log", xlabel="decisions offered a second", ylabel="p99, ms")
    axes.set_title("How long viewers wait, at 50, 75, 90 and 95 % of each one's own maximum")
    finish(axes)


def _counts(axes: Axes, file: Path) -> None:
    results = read_results(file)
    questions = list(dict.fromkeys(figure.question for figure in results.counts))
    for name in dict.fromkeys(figure.contestant for figure in results.counts):
        of = [figure for figure in results.counts if figure.contestant == name]
        times = [figure.p50_ms.median for figure in of]
        axes.plot(times, [figure.question for figure in of], "o", label=name, color=_COLOURS[name])
    axes.set(xscale="log", xlabel="p50, ms")
    axes.set_yticks(range(len(questions)), questions)
    axes.invert_yaxis()
    axes.set_title(f"Counts of {results.attempts:,} attempts, by filter or group")
    finish(axes)


PLOTS = (
    Plot("decisions", RESULTS, _rates),
    Plot("waiting", RESULTS, _waits),
    Plot("counts", RESULTS, _counts),
)
