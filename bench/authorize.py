"""`/v1/authorize` beside a constant answer, the same questions of random tickets: `python -m bench.authorize`."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console

from bench import traffic
from bench.beside import Goal, Sample, figure_of, sampled
from bench.constant import ANSWER
from bench.counting import Checker, WrongCount
from bench.fill import fill
from bench.load import Load, LoadFailed, Report, run_load
from bench.machine import fsync_ms, look_at_machine
from bench.process import Account, Server, ServerFailed, constant_server, create_account, node
from bench.report import Figure, Results, print_results, write_results
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("authorize.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.LEDGER
CONNECTIONS = (1, 64, 256)
_QUESTIONS = 100_000
# One that is alone, a site at its rate, and more than anybody should open.
_LONE, _MANY, _CROWD = 1, 64, 1_024
_MANY_GOAL = Goal(ratio_min=0.70, p99_ms_max=20.0, said=">= 0.7, p99 <= 20 ms")
_CROWD_GOAL = Goal(p99_ms_max=150.0, said="p99 <= 150 ms")
_FSYNCS = 1.5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True, highlight=False)


@app.command()
def authorize(
    attempts: Annotated[int, typer.Option(min=100, help="Attempts in the node before, in round numbers.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of load; medians are shown.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each load.")] = 3.0,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Ask for decisions over 1, 64 and 1,024 connections, in turns with a constant answer on the same HTTP stack.

    A lone connection waits for its decision to be on disk: its time is held against that of the disk's own sync and of
    the constant answer, both taken in the same rounds. After each load errorcount must say what was acknowledged; a
    wrong count or an error ends the run with status 1. The table is on stdout.

    Example: python -m bench.authorize --attempts 1000 --rounds 1 --seconds 1
    """
    _DATA.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=_DATA) as made:
            found = measure(Path(made), attempts=attempts, rounds=rounds, seconds=seconds)
    except (WrongCount, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


def measure(folder: Path, *, attempts: int, rounds: int, seconds: float) -> Results:
    """All of it, in a folder that holds nothing yet. Raises WrongCount, LoadFailed, ServerFailed."""
    machine, data, tickets = look_at_machine(folder), folder / "data", min(attempts, traffic.TICKETS_MAX)
    account = create_account(data)
    uvloop.run(fill(data, _LOG, cdn=account.signer.cdn, attempts=attempts, progress=lambda done: None))
    questions = write_questions(folder, tickets=tickets)
    syncs_ms: list[float] = []
    found: dict[int, tuple[list[Sample], list[Sample]]] = {each: ([], []) for each in (_LONE, _MANY, _CROWD)}
    with node(data, _LOG) as door, constant_server(folder) as constant:
        checker = Checker(door, account, attempts)
        for turn in range(1, rounds + 1):
            syncs_ms.append(fsync_ms(folder)[0])
            for connections, (constants, decisions) in found.items():
                # Each of a thousand has to have its turn a few times.
                load_s = 2 * seconds if connections == _CROWD else seconds
                constants.append(_constant_sample(constant, questions, connections=connections, seconds=load_s))
                decisions.append(_sample(door, account, questions, connections=connections, seconds=load_s))
                checker.check([decisions[-1].report])
                rates = f"constant {constants[-1].report.rate:,.0f}/s, authorize {decisions[-1].report.rate:,.0f}/s"
                err.print(f"round {turn}, {connections} connections: {rates}")
    return Results(
        machine=machine,
        attempts_by_log={_LOG.value: attempts},
        tickets=tickets,
        rounds=rounds,
        seconds=seconds,
        figures=_figures(found, sync_ms=median(syncs_ms)),
    )


def _sample(door: Server, account: Account, questions: Path, *, connections: int, seconds: float) -> Sample:
    return sampled(door, lambda: measure_authorize(door, account, questions, connections=connections, seconds=seconds))


def _constant_sample(constant: Server, questions: Path, *, connections: int, seconds: float) -> Sample:
    return sampled(constant, lambda: measure_constant(constant, questions, connections=connections, seconds=seconds))


def _figures(found: dict[int, tuple[list[Sample], list[Sample]]], *, sync_ms: float) -> list[Figure]:
    """`sync_ms`: what the disk's own sync took, at the median."""
    figures = [Figure(log=_LOG, name="fsync of 4 KiB", value=sync_ms, unit="ms")]
    for connections, (constants, decisions) in found.items():
        beside = figure_of("constant answer", constants, connections=connections, log=_LOG)
        goal = {_LONE: lone_goal(sync_ms, beside.p50_ms or 0), _MANY: _MANY_GOAL, _CROWD: _CROWD_GOAL}[connections]
        figures.append(beside)
        figures.append(
            figure_of("authorize", decisions, connections=connections, log=_LOG, beside=constants, goal=goal)
        )
    return figures


def lone_goal(sync_ms: float, round_trip_ms: float) -> Goal:
    """What one connection may wait: for one and a half of the disk's syncs and an HTTP round trip."""
    most_ms = _FSYNCS * sync_ms + round_trip_ms
    return Goal(p50_ms_max=most_ms, said=f"p50 <= {most_ms:.2f} ms ({_FSYNCS} fsyncs and a round trip)")


def write_questions(folder: Path, *, tickets: int, number: int | None = None, turn: int = 0) -> Path:
    """The bodies to send, one a line: so many, other ones in each turn."""
    chance = random.Random(tickets + turn)
    bodies = folder / "questions.txt"
    with bodies.open("wb") as lines:
        for _ in range(number or min(_QUESTIONS, 2 * tickets)):
            lines.write(msgspec.json.encode(traffic.question(chance, tickets=tickets)) + b"\n")
    return bodies


def measure_authorize(
    server: Server, account: Account, bodies: Path, *, connections: int, seconds: float, rate: float | None = None
) -> Report:
    """As fast as it goes, or in an open loop at `rate` questions a second."""
    return run_load(authorize_load(server, account, bodies, connections=connections, seconds=seconds, rate=rate))


def authorize_load(
    server: Server, account: Account, bodies: Path, *, connections: int, seconds: float, rate: float | None = None
) -> Load:
    """What `measure_authorize` sends."""
    token = account.edge_token.reveal()
    return _load(server, token, bodies, '"attempt_id":', connections=connections, seconds=seconds, rate=rate)


def measure_constant(server: Server, bodies: Path, *, connections: int, seconds: float) -> Report:
    """The same request to the server that answers the same whatever is asked."""
    # As long as a real token, so that the requests are of one size.
    return run_load(_load(server, "x" * 43, bodies, ANSWER.decode(), connections=connections, seconds=seconds))


def _load(
    server: Server,
    token: str,
    bodies: Path,
    expected: str,
    *,
    connections: int,
    seconds: float,
    rate: float | None = None,
) -> Load:
    return Load(
        host=server.host,
        port=server.port,
        path="/v1/authorize",
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        bodies=str(bodies),
        expected=expected,
        connections=connections,
        warmup_s=max(0.5, seconds / 4),
        seconds=seconds,
        rate=rate,
    )


if __name__ == "__main__":
    app(prog_name="python -m bench.authorize")
