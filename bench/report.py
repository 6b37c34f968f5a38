"""The table for people and `bench/results.json` for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.machine import Machine

_TABLE_WIDTH = 150

RESULTS = Path(__file__).with_name("results.json")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured. `ratio` is the rate beside the constant answer's at the same number of connections, in the
    same rounds; `cpu_us` what a request cost the serving process; `busy` how near the load generator was to its own
    limit (1.0). Without a goal `reached` is None."""

    # That of a run which is of no log is left out in the file.
    log: str = ""
    name: str
    connections: int = 1
    rate: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    ratio: float | None = None
    cpu_us: float | None = None
    busy: float | None = None
    value: float | None = None
    unit: str = ""
    goal: str = ""
    reached: bool | None = None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    machine: Machine
    attempts_by_log: dict[str, int]
    tickets: int
    rounds: int
    seconds: float
    figures: Sequence[Figure]


def read_results(file: Path) -> Results:
    """A run that `write_results` has written."""
    return msgspec.json.decode(file.read_bytes(), type=Results)


def write_results(results: msgspec.Struct, file: Path) -> None:
    # Three digits after the point are more than any of these figures is worth.
    plain = msgspec.json.decode(msgspec.json.encode(results))
    file.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(plain)), indent=2) + b"\n")


def _rounded(content: object) -> object:
    match content:
        case float():
            return round(content, 3)
        case dict():
            return {name: _rounded(value) for name, value in content.items() if value not in (None, "")}
        case list():
            return [_rounded(value) for value in content]
        case _:
            return content


def print_results(results: Results, console: Console) -> None:
    console.print(machine_sentence(results.machine))
    table = Table(box=SIMPLE_HEAD)
    for name in ("log", "what", "conn.", "per s", "p50 ms", "p99 ms", "of constant", "cpu us", "goal", "reached"):
        is_number = name in ("conn.", "per s", "p50 ms", "p99 ms", "of constant", "cpu us")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    last_log = ""
    for figure in results.figures:
        if figure.log != last_log:
            table.add_section()
            last_log = figure.log
        table.add_row(*figure_cells(figure))
    # A figure cut short is none; a narrow terminal may break the lines instead.
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)
    reached = [figure.reached for figure in results.figures if figure.reached is not None]
    console.print(f"Every count agreed with what was acknowledged. Goals reached: {sum(reached)} of {len(reached)}.")


def machine_sentence(machine: Machine) -> str:
    """Where a run was made, and of what."""
    return (
        f"{machine.cpus} x {machine.cpu}, {machine.memory_gb} GB, {machine.kernel}; Python {machine.python}, "
        f"SQLite {machine.sqlite}; fsync p50 {machine.fsync_p50_ms} ms, p99 {machine.fsync_p99_ms} ms; load average "
        f"{machine.load_average} at the start; {machine.date}; commit {machine.commit[:12] or 'unknown'}"
    )


def figure_cells(figure: Figure) -> list[str]:
    """One row of the table."""
    if figure.value is not None:
        measured = ["", f"{figure.value:,.1f} {figure.unit}", "", "", "", ""]
    else:
        measured = [
            str(figure.connections),
            _number(figure.rate, ",.0f"),
            _number(figure.p50_ms, ",.2f"),
            _number(figure.p99_ms, ",.2f"),
            _number(figure.ratio, ".2f"),
            _number(figure.cpu_us, ",.0f"),
        ]
    said = "" if figure.reached is None else "yes" if figure.reached else "[bold]not reached[/]"
    return [figure.log, figure.name, *measured, figure.goal, said]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
