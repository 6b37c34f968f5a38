"""How far a long command is, on stderr and to a person only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openusher.cli.output import err


@contextmanager
def bytes_done(what: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many of `total` bytes, None where nobody knows, were dealt with since it was told last."""
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    # Late: a quarter of what a short command takes to start.
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda size: progress.advance(task, size)


@contextmanager
def under_way(what: str) -> Iterator[None]:
    """A sign of life where it cannot be said how much is left."""
    if not sys.stderr.isatty():
        yield
        return
    with err.status(what):
        yield


@contextmanager
def saying() -> Iterator[Callable[[str], None]]:
    """Told what is being done now, step by step."""
    if not sys.stderr.isatty():
        yield lambda said: None
        return
    with err.status("") as status:
        yield lambda said: status.update(said)


def shown_bytes(size: int) -> str:
    """A size as people read it."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1_000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1_000
    return f"{number:.1f} TB"
