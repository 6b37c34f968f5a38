"""Plots of a node's own figures: a crowd that comes within seconds, and counts of a large node."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from matplotlib.axes import Axes

from bench.large import RESULTS as LARGE
from bench.plots import Plot, finish
from bench.report import read_results

_BENCH = Path(__file__).parent
_IN_TIME = re.compile(r"(recheck_s \w+), [0-9,]+ within ([0-9.]+) s: answered within 1 s")
_COUNT, _FROM_TOTALS = "count, ", "from totals, "


def _crowd(axes: Axes, file: Path) -> None:
    results = read_results(file)
    shares: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for figure in results.figures:
        if (named := _IN_TIME.fullmatch(figure.name)) and figure.value is not None:
            shares[named[1]].append((float(named[2]), figure.value))
    for name, found in shares.items():
        seconds, percent = zip(*sorted(found), strict=True)
        axes.plot(seconds, percent, marker="o", label=name)
    axes.set(xlabel="all come within, seconds", ylabel="answered within a second, %", ylim=(0, 105))
    connections = max((figure.connections for figure in results.figures), default=0)
    axes.set_title(f"{results.tickets:,} viewers over {connections:,} connections")
    finish(axes)


def _counts(axes: Axes, file: Path) -> None:
    results = read_results(file)
    (attempts,) = results.attempts_by_log.values()
    for before, label in ((_COUNT, "asked for the first time"), (_FROM_TOTALS, "from totals of the account")):
        of = {
            figure.name.removeprefix(before): figure.p50_ms
            for figure in results.figures
            if figure.name.startswith(before) and figure.p50_ms is not None
        }
        axes.plot(list(of.values()), list(of), "o", label=label)
    for figure in results.figures:
        if figure.name.startswith("20 again") and figure.p50_ms is not None:
            axes.axvline(figure.p50_ms, color="C2", label="the same question again")
    axes.set(xscale="log", xlabel="p50, ms")
    axes.tick_params(axis="y", labelsize="x-small")
    axes.invert_yaxis()
    axes.set_title(f"Counts in a node of {attempts:,} attempts")
    finish(axes)


PLOTS = (
    Plot("large", LARGE, _counts),
    Plot("crowd", _BENCH / "kickoff.json", _crowd),
    Plot("crowd-busy", _BENCH / "kickoff-busy.json", _crowd),
)
