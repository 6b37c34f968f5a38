"""The figures of docs/performance.md as plots, in docs/performance/: `python -m docs.generate` draws those that are
older than their JSON.

Each names the JSON that it was drawn from by its digest, so that a test can hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Text stays text, and two drawings of one run are the same.
mpl.rcParams["svg.fonttype"] = "none"
mpl.rcParams["svg.hashsalt"] = "usher"
_INCHES = (8.0, 4.5)


class Plot(NamedTuple):
    """What `draw` makes of the file `results`, which may not be there yet, is `name`.svg."""

    name: str
    results: Path
    draw: Callable[[Axes, Path], None]


def draw_all(folder: Path, plots: Iterable[Plot]) -> None:
    """Write every plot of results that are there into `folder`, but for those that were drawn from these results."""
    folder.mkdir(exist_ok=True)
    for name, results, draw in plots:
        file = folder / f"{name}.svg"
        if not results.exists() or (file.exists() and digest_of(results) in file.read_text()):
            continue
        figure = Figure(figsize=_INCHES, layout="constrained")
        draw(figure.add_subplot(), results)
        drawn_from = f"drawn from {results.name} {digest_of(results)}"
        figure.savefig(file, format="svg", metadata={"Date": None, "Description": drawn_from})


def digest_of(results: Path) -> str:
    """What a plot says of the file that it was drawn from."""
    return sha256(results.read_bytes()).hexdigest()[:16]


def finish(axes: Axes) -> None:
    """The grid, and what the colours stand for beside it."""
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
