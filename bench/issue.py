"""`sevu.request`, signed commands that create a ticket each, beside a constant answer: `python -m bench.issue`."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench.authorize import measure_constant, write_questions
from bench.beside import Goal, Sample, figure_of, sampled
from bench.counting import WARMUP, commands_load, form_line
from bench.fill import fill
from bench.load import LoadFailed, Report, run_load
from bench.machine import look_at_machine
from bench.process import Account, Server, ServerFailed, constant_server, create_account, node, usher
from bench.report import Results, print_results, write_results
from bench.traffic import TICKETS_MAX
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("issue.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.LEDGER
CONNECTIONS = 64
# More than one core can take, so that the commands last for the time measured: each is taken once only.
_COMMANDS_A_SECOND = 20_000
_GOAL = Goal(ratio_min=0.55, said=">= 0.55")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True, highlight=False)


@app.command()
def issue(
    tickets: Annotated[int, typer.Option(min=100, help="Tickets in the node before, an attempt each.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of load; medians are shown.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each load.")] = 3.0,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Issue tickets by signed commands, in turns with a constant answer on the same HTTP stack.

    After each load the node must have as many tickets more as it has acknowledged; else the run ends with status 1.
    The constant answer gets a question of the door, which is smaller than a command. The table is on stdout.

    Example: python -m bench.issue --tickets 1000 --rounds 1 --seconds 1
    """
    _DATA.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=_DATA) as made:
            found = measure(Path(made), tickets=tickets, rounds=rounds, seconds=seconds)
    except (WrongTickets, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


def measure(folder: Path, *, tickets: int, rounds: int, seconds: float) -> Results:
    """All of it, in a folder that holds nothing yet. Raises WrongTickets, LoadFailed, ServerFailed."""
    machine, data = look_at_machine(folder), folder / "data"
    account = create_account(data)
    uvloop.run(fill(data, _LOG, cdn=account.signer.cdn, attempts=tickets, progress=lambda done: None))
    questions = write_questions(folder, tickets=min(tickets, TICKETS_MAX))
    constants: list[Sample] = []
    issued: list[Sample] = []
    with node(data, _LOG) as door, constant_server(folder) as constant:
        for turn in range(1, rounds + 1):
            constants.append(
                sampled(
                    constant,
                    lambda: measure_constant(constant, questions, connections=CONNECTIONS, seconds=seconds),
                )
            )
            before = tickets_of(data, account)
            issued.append(sampled(door, lambda: measure_issue(door, account, seconds=seconds, folder=folder)))
            check_tickets(issued[-1].report, before=before, after=tickets_of(data, account))
            rates = f"constant {constants[-1].report.rate:,.0f}/s, sevu.request {issued[-1].report.rate:,.0f}/s"
            err.print(f"round {turn}: {rates}")
    first = figure_of("constant answer", constants, connections=CONNECTIONS, log=_LOG)
    return Results(
        machine=machine,
        attempts_by_log={_LOG.value: tickets},
        tickets=tickets,
        rounds=rounds,
        seconds=seconds,
        figures=[
            first,
            figure_of("sevu.request", issued, connections=CONNECTIONS, log=_LOG, beside=constants, goal=_GOAL),
        ],
    )


class WrongTickets(Exception):
    """The node has not as many tickets as it has acknowledged."""


def check_tickets(report: Report, *, before: int, after: int) -> None:
    """Raises WrongTickets: sent, acknowledged and stored differ."""
    if not report.sent == report.answered == after - before:
        raise WrongTickets(f"{report.sent} sent, {report.answered} acknowledged, {after - before} more in the node")


def tickets_of(data: Path, account: Account) -> int:
    """How many a node says that the account has."""
    return int(usher("account", "show", str(account.signer.cdn), "--data", str(data))["tickets"])


def measure_issue(server: Server, account: Account, *, seconds: float, folder: Path) -> Report:
    chance = random.Random(0)
    bodies = folder / "commands.txt"
    with bodies.open("w") as lines:
        for _ in range(int(_COMMANDS_A_SECOND * (WARMUP + 1) * seconds)):
            wanted: dict[str, str | int] = {
                "app": "acme-live",
                "video": "live/cam1|vod/*",
                "pass": f"user{chance.randrange(20_000)}|{chance.getrandbits(64):016x}",
                "ip": f"10.{chance.randrange(256)}.{chance.randrange(256)}.7",
                "uses": 99,
                "expire": "+24 hours",
            }
            lines.write(form_line("sevu.request", wanted, account) + "\n")
    return run_load(commands_load(server, bodies, connections=CONNECTIONS, seconds=seconds, once=True))


if __name__ == "__main__":
    app(prog_name="python -m bench.issue")
