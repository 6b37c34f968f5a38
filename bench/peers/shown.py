"""The figures as tables: for the terminal, and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.peers.results import CONSTANT, USHER, Decided, PeerResults, Spread
from bench.report import machine_sentence

# A figure cut short is none; a narrow terminal may break the lines instead.
_WIDTH = 150
# The number of connections at which contestants are compared.
_CONNECTIONS = 64
_MISSING = "–"


class Shown(NamedTuple):
    """A table: what it is of, its columns, its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: PeerResults) -> list[Shown]:
    return [
        _rates(results),
        _latencies(results),
        _ratios(results),
        _open(results),
        _counts(results),
        _sizes(results),
    ]


def run_sentence(results: PeerResults) -> str:
    """What was run, on what, beside whom."""
    tried = ", ".join(f"{rate:,.0f} with {workers}" for workers, rate in results.workers_tried.items())
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{results.attempts:,} attempts of {results.tickets:,} tickets in each store; {results.rounds} rounds of "
        f"{results.seconds:g} s. {machine_sentence(results.machine)}. {versions}. The PostgreSQL service was "
        f"tried with several numbers of processes, and ran {results.workers} (decisions a second: {tried})."
    )


def print_peers(results: PeerResults, console: Console) -> None:
    console.print(run_sentence(results))
    console.width = max(console.width, _WIDTH)
    for shown in tables(results):
        table = Table(title=shown.title, title_justify="left", box=SIMPLE_HEAD)
        for column in shown.columns:
            table.add_column(column, justify="left" if column == shown.columns[0] else "right")
        for row in shown.rows:
            table.add_row(*row)
        console.print(table)
    console.print("After every load, the attempts sent, acknowledged, stored and found, and the uses spent, agreed.")


def markdown(shown: Shown) -> str:
    lines = [f"| {' | '.join(shown.columns)} |", f"|{'---|' * len(shown.columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in shown.rows]
    return "\n".join(lines)


def _contestants(figures: Sequence[Decided]) -> list[str]:
    """In the order in which they were measured."""
    return list(dict.fromkeys(figure.contestant for figure in figures))


def _closed_rows(results: PeerResults) -> list[tuple[str, list[Decided]]]:
    closed = [figure for figure in results.decisions if figure.share is None]
    return [(name, [figure for figure in closed if figure.contestant == name]) for name in _contestants(closed)]


def _connection_columns(results: PeerResults) -> list[str]:
    connections = dict.fromkeys(figure.connections for figure in results.decisions if figure.share is None)
    return ["", *(f"{number:,} conn." for number in connections)]


def _rates(results: PeerResults) -> Shown:
    rows = [[name, *(_spread(figure.rate, ",.0f") for figure in figures)] for name, figures in _closed_rows(results)]
    return Shown("Decisions a second, as fast as it goes: median (least to most)", _connection_columns(results), rows)


def _latencies(results: PeerResults) -> Shown:
    rows = [
        [name, *(f"{_median(figure.p50_ms)} / {_spread(figure.p99_ms)}" for figure in figures)]
        for name, figures in _closed_rows(results)
    ]
    return Shown("The same, p50 / p99 in ms", _connection_columns(results), rows)


def _ratios(results: PeerResults) -> Shown:
    rows = []
    usher, constant = (results.closed(name, _CONNECTIONS) for name in (USHER, CONSTANT))
    for name, _ in _closed_rows(results):
        of = results.closed(name, _CONNECTIONS)
        if of and usher and constant:
            rate = of.rate.median
            rows.append(
                [name, f"{rate / constant.rate.median:.2f}", f"{usher.rate.median / rate:.2f}", f"{of.busy:.2f}"]
            )
    columns = ["", "÷ constant answer", "Usher ÷ it", "generator busy"]
    return Shown(f"Decisions a second at {_CONNECTIONS} connections, beside each other", columns, rows)


def _open(results: PeerResults) -> Shown:
    rows = [
        [
            f"{figure.contestant}, {figure.share:.0%}",
            f"{figure.offered:,.0f}",
            _spread(figure.rate, ",.0f"),
            _median(figure.p50_ms),
            _spread(figure.p99_ms),
        ]
        for name in _contestants(results.decisions)
        for figure in results.decisions
        if figure.contestant == name and figure.share is not None and figure.offered is not None
    ]
    columns = ["of its own maximum", "offered a second", "reached", "p50 ms", "p99 ms"]
    return Shown("Decisions at a rate, latencies from when each was due", columns, rows)


def _counts(results: PeerResults) -> Shown:
    names = list(dict.fromkeys(figure.contestant for figure in results.counts))
    found = {(figure.question, figure.contestant): figure for figure in results.counts}
    rows = []
    for question in dict.fromkeys(figure.question for figure in results.counts):
        times = [found[question, name] for name in names]
        rows.append([question, *(f"{time.p50_ms.median:,.2f} / {time.p99_ms.median:,.1f}" for time in times)])
    return Shown("Counts over one connection, p50 / p99 in ms", ["by", *names], rows)


def _sizes(results: PeerResults) -> Shown:
    rows = [[name, f"{size:,.0f}"] for name, size in results.bytes_an_attempt.items()]
    return Shown("Bytes on disk an attempt, right after filling, tickets included", ["", "bytes"], rows)


def _median(value: Spread | None) -> str:
    return _MISSING if value is None else f"{value.median:,.2f}"


def _spread(value: Spread | None, form: str = ",.1f") -> str:
    if value is None:
        return _MISSING
    return f"{value.median:{form}} ({value.least:{form}} to {value.most:{form}})"
