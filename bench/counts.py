"""What counts cost, asked for the first time, and again while attempts arrive: `python -m bench.counts`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench.counting import COUNTED_ANEW, QUESTIONS, Checker, Question, WrongCount, measure_counts
from bench.fill import fill
from bench.load import REACHED_MIN, LoadFailed
from bench.machine import look_at_machine
from bench.process import Account, Server, ServerFailed, create_account, node
from bench.recounting import QUESTIONS as QUESTIONS_AGAIN
from bench.recounting import RATE, Tally, recount
from bench.report import Figure, Results, print_results, write_results
from bench.size import attempts_of
from bench.traffic import TICKETS_MAX
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("counts.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.CHDB
CONNECTIONS = 64
# Of one board: what each kind of question is asked by, once.
BOARD = 20
_BY_VIEWER = frozenset({"key", "pass", "user", "ip", "key + success"})
_OF_ACCOUNT = frozenset({"app", "video", "success", "reason", "time range", "none"})
_BY_VIEWER_MS, _OF_ACCOUNT_MS = 5.0, 20.0
_AGAIN_MS, _AGAIN_RATE = 2.0, 2_000.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True)


@app.command()
def counts(
    size: Annotated[str, typer.Option(help="Attempts in the node before it is measured: 20k, 1m, 10m.")] = "1m",
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each kind of count.")] = 3.0,
    again_seconds: Annotated[
        float, typer.Option(min=0.2, help="Seconds measured of those asked again; a block moves every 20.")
    ] = 25.0,
    data: Annotated[Path, typer.Option(help="A throw-away folder is made in here.", show_default=False)] = _DATA,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Count by each filter, then ask 1,000 questions again and again while 1,000 attempts a second arrive.

    Each answer is held against what was acknowledged before its question and sent until it came; a wrong one ends the
    run with status 1. At the end each question is counted anew and must be exact. The table is on stdout.

    Example: python -m bench.counts --size 20k --seconds 1 --again-seconds 5
    """
    attempts = attempts_of(size)
    data.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=data) as folder:
            found = measure(Path(folder), attempts=attempts, seconds=seconds, again_seconds=again_seconds)
    except (WrongCount, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


def measure(folder: Path, *, attempts: int, seconds: float, again_seconds: float) -> Results:
    """All of it, in a folder that holds nothing yet. Raises WrongCount, LoadFailed, ServerFailed."""
    machine, data, tickets = look_at_machine(folder), folder / "data", min(attempts, TICKETS_MAX)
    account = create_account(data)
    err.print(f"filling with {attempts:,} attempts")
    uvloop.run(fill(data, _LOG, cdn=account.signer.cdn, attempts=attempts, progress=lambda done: None))
    tally = Tally.of_fill(tickets=tickets, attempts=attempts)
    with node(data, _LOG, *COUNTED_ANEW) as door:
        figures = [
            _first(door, account, question, tickets=tickets, seconds=seconds, folder=folder) for question in QUESTIONS
        ]
        figures.append(again(door, account, tally, "none kept, ", connections=CONNECTIONS, seconds=seconds))
    with node(data, _LOG) as door:
        figures += [
            again(door, account, tally, connections=1, questions=BOARD, seconds=again_seconds),
            again(door, account, tally, connections=CONNECTIONS, seconds=again_seconds),
        ]
    with node(data, _LOG, *COUNTED_ANEW) as door:
        checker = Checker(door, account, tally.attempts)
        checker.check()
        checker.check_each(tally.questions, tally.acknowledged)
    return Results(
        machine=machine,
        attempts_by_log={_LOG.value: attempts},
        tickets=tickets,
        rounds=1,
        seconds=seconds,
        figures=figures,
    )


def _first(door: Server, account: Account, question: Question, *, tickets: int, seconds: float, folder: Path) -> Figure:
    report = measure_counts(door, account, question, tickets=tickets, seconds=seconds, folder=folder)
    goal_ms = _BY_VIEWER_MS if question.name in _BY_VIEWER else _OF_ACCOUNT_MS if question.name in _OF_ACCOUNT else None
    err.print(f"count, {question.name}: p50 {report.p50_ms:.2f} ms")
    return Figure(
        log=_LOG,
        name=f"count, {question.name}",
        rate=report.rate,
        p50_ms=report.p50_ms,
        p99_ms=report.p99_ms,
        busy=report.busy,
        goal="" if goal_ms is None else f"p50 <= {goal_ms:.0f} ms",
        reached=None if goal_ms is None else report.p50_ms <= goal_ms,
    )


def again(
    door: Server,
    account: Account,
    tally: Tally,
    how: str = "",
    *,
    connections: int,
    questions: int = QUESTIONS_AGAIN,
    seconds: float,
) -> Figure:
    """The goal of one connection is a time, that of many a rate; of a node that keeps no counts there is none."""
    cpu_began = door.cpu_s
    asked = recount(door, account, tally, connections=connections, questions=questions, seconds=seconds)
    found = uvloop.run(asked)
    cpu_us = 1e6 * (door.cpu_s - cpu_began) / found.answers
    err.print(f"again, {how}{connections} connections: {found.rate:,.0f}/s, p50 {found.p50_ms:.2f} ms")
    if connections == 1:
        goal, reached = f"p50 <= {_AGAIN_MS:.0f} ms", found.p50_ms <= _AGAIN_MS
    else:
        goal, reached = f">= {_AGAIN_RATE:,.0f}/s", found.rate >= _AGAIN_RATE
    return Figure(
        log=_LOG,
        name=f"{questions:,} again, {how}{found.attempts_rate:,.0f} attempts/s",
        connections=connections,
        rate=found.rate,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        cpu_us=cpu_us,
        busy=found.busy,
        goal="" if how else goal,
        # Beside fewer attempts than there were to be, the goal is not reached.
        reached=None if how else reached and found.attempts_rate >= REACHED_MIN * RATE,
    )


if __name__ == "__main__":
    app(prog_name="python -m bench.counts")
