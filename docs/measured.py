"""What docs/performance.md has from the benches: tables of `bench/*.json`, each where its run has been made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.peers.results import read_results as read_peers
from bench.peers.shown import markdown, run_sentence, tables
from bench.report import Figure, figure_cells, machine_sentence, read_results
from docs.sizing import measured, sizing_table

_BENCH = Path(__file__).parents[1] / "bench"
# Title, file and command of each bench of a node.
_NODES = (
    ("A node", "results.json", "make bench SIZE=10m"),
    ("Decisions", "authorize.json", "make bench-authorize"),
    ("Tickets issued", "issue.json", "make bench-issue"),
    ("Ten million tickets beside few", "many.json", "make bench-many"),
    ("Follow-ups of live sessions", "followup.json", "make bench-followup"),
    ("Counts, the first time and again", "counts.json", "make bench-count"),
    ("A large node of many accounts", "large.json", "make bench-large"),
    ("Kick-off", "kickoff.json", "make bench-kickoff"),
    ("Kick-off over 19,000 connections", "kickoff-busy.json", "make bench-kickoff-busy"),
    ("Kick-off through nginx", "kickoff-nginx.json", "make bench-kickoff-nginx"),
    ("From the start until it is ready", "start.json", "make bench-start"),
    ("Moving attempts to the log", "ship.json", "make bench-ship"),
)
# After which table which plot stands: of a node's by their file, of the peers' by their place.
NODE_PLOTS = {"large.json": "large", "kickoff.json": "crowd", "kickoff-busy.json": "crowd-busy"}
PLOT_AFTER = {0: "decisions", 3: "waiting", 4: "counts"}
_COLUMNS = ("log", "what", "conn.", "per s", "p50 ms", "p99 ms", "of constant")


def performance_tables(folder: Path = _BENCH, plots: str = "performance") -> str:
    """A section for each bench whose results are to be in `folder`; one that has not run is named with its command."""
    sections: list[str] = []
    for title, file, command in _NODES:
        sections += (f"## {title}", _node(folder / file, command))
        if file in NODE_PLOTS and (folder / file).exists():
            sections.append(f"![{title}]({plots}/{NODE_PLOTS[file]}.svg)")
    sections += ("## Beside what one would build or pick instead", *_beside(folder / "peers.json", plots))
    of_sizing = (folder / name for name in ("results.json", "followup.json", "large.json"))
    sections += ("## What you need", *_sizing(*of_sizing))
    return "\n\n".join(sections)


def _node(file: Path, command: str) -> str:
    if not file.exists():
        return f"Not measured here yet: `{command}` does."
    found = read_results(file)
    rows = [f"| {' | '.join(_cells(figure))} |" for figure in found.figures]
    head = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    attempts = " and ".join(f"{number:,} with `--log {log}`" for log, number in found.attempts_by_log.items())
    said = f"By `{command}`: {attempts} attempts, {found.tickets:,} tickets. {machine_sentence(found.machine)}."
    return "\n".join([said, "", *head, *rows])


def _cells(figure: Figure) -> list[str]:
    return figure_cells(figure)[: len(_COLUMNS)]


def _beside(file: Path, plots: str) -> Iterator[str]:
    if not file.exists():
        yield "Not measured here yet: `make bench-peers` does, in under 15 minutes."
        return
    found = read_peers(file)
    yield f"By `make bench-peers`. {run_sentence(found)}"
    for place, shown in enumerate(tables(found)):
        yield f"### {shown.title}"
        yield markdown(shown)
        if place in PLOT_AFTER:
            yield f"![{shown.title}]({plots}/{PLOT_AFTER[place]}.svg)"


def _sizing(results: Path, follow_ups: Path, large: Path) -> Iterator[str]:
    if not (results.exists() and follow_ups.exists() and large.exists()):
        yield "Not measured here yet: `make bench bench-followup bench-large` does."
        return
    yield (
        "Worked out from the figures above, for nodes like this machine, of which half is used: all viewers of an "
        "event come within ten minutes, and nginx keeps answers for ten seconds (`recheck_s=10`)."
    )
    yield sizing_table(measured(results, follow_ups, large))
    yield (
        "Starts are those of the ten minutes. Where more than one node is needed, each has its own folder, tickets and "
        "counts: give each event or channel to one of them, since a ticket's uses are known to the node that sold it. "
        "Several nodes that share one ledger are not there yet."
    )
