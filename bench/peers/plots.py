"""The figures as plots in docs/performance/: `python -m docs.generate` draws them where they are older than the JSON.

Each names the JSON that it was drawn from by its digest, so that a test can hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    PeerResults,
    read_results,
)

# Text stays text, and two drawings of one run are the same.
mpl.rcParams["svg.fonttype"] = "none"
mpl.rcParams["svg.hashsalt"] = "usher"
_INCHES = (8.0, 4.5)
# One colour each, in every plot.
_NAMES = (USHER, CONSTANT, FLOOR, BTREE, BRIN, SQLITE, DUCKDB, SECURE_LINK)
_COLOURS = {name: f"C{place}" for place, name in enumerate(_NAMES)}


def draw_all(folder: Path, results: Path = RESULTS) -> None:
    """Write every plot of `PLOTS` into `folder`, but for those that were drawn from these results."""
    found = read_results(results)
    digest = digest_of(results)
    folder.mkdir(exist_ok=True)
    for name, draw in PLOTS.items():
        file = folder / f"{name}.svg"
        if file.exists() and digest in file.read_text():
            continue
        figure = Figure(figsize=_INCHES, layout="constrained")
        draw(figure.add_subplot(), found)
        figure.savefig(file, format="svg", metadata={"Date": None, "Description": f"drawn from peers.json {digest}"})


def digest_of(results: Path) -> str:
    """What a plot says of the file that it was drawn from."""
    return sha256(results.read_bytes()).hexdigest()[:16]


def _rates(axes: Axes, results: PeerResults) -> None:
    closed = [figure for figure in results.decisions if figure.share is None]
    for name in dict.fromkeys(figure.contestant for figure in closed):
        of = [figure for figure in closed if figure.contestant == name]
        connections = [figure.connections for figure in of]
        axes.plot(connections, [figure.rate.median for figure in of], marker="o", label=name, color=_COLOURS[name])
        least, most = [figure.rate.least for figure in of], [figure.rate.most for figure in of]
        axes.fill_between(connections, least, most, alpha=0.2, color=_COLOURS[name])
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel="decisions a second")
    axes.set_title("Decisions, as fast as it goes: medians and spreads")
    _finish(axes)


def _waits(axes: Axes, results: PeerResults) -> None:
    open_loop = [figure for figure in results.decisions if figure.share is not None and figure.contestant != FLOOR]
    for name in dict.fromkeys(figure.contestant for figure in open_loop):
        of = [figure for figure in open_loop if figure.contestant == name and figure.p99_ms is not None]
        offered = [figure.offered or 0.0 for figure in of]
        waited = [figure.p99_ms.median for figure in of if figure.p99_ms]
        axes.plot(offered, waited, marker="o", label=name, color=_COLOURS[name])
    axes.set(xscale="log", yscale="log", xlabel="decisions offered a second", ylabel="p99, ms")
    axes.set_title("How long viewers wait, at 50, 75, 90 and 95 % of each one's own maximum")
    _finish(axes)


def _counts(axes: Axes, results: PeerResults) -> None:
    questions = list(dict.fromkeys(figure.question for figure in results.counts))
    for name in dict.fromkeys(figure.contestant for figure in results.counts):
        of = [figure for figure in results.counts if figure.contestant == name]
        times = [figure.p50_ms.median for figure in of]
        axes.plot(times, [figure.question for figure in of], "o", label=name, color=_COLOURS[name])
    axes.set(xscale="log", xlabel="p50, ms")
    axes.set_yticks(range(len(questions)), questions)
    axes.invert_yaxis()
    axes.set_title(f"Counts of {results.attempts:,} attempts, by filter or group")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


PLOTS: dict[str, Callable[[Axes, PeerResults], None]] = {
    "decisions": _rates,
    "waiting": _waits,
    "counts": _counts,
}
