"""`python -m bench`: measure a node of this machine, side by side with a constant answer on the same HTTP stack."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.counting import WrongCount
from bench.load import LoadFailed
from bench.machine import look_at_machine
from bench.process import ServerFailed, constant_server
from bench.report import RESULTS, Results, print_results, write_results
from bench.run import Plan, Run
from bench.size import attempts_of
from openusher.settings import LogKind

# On the disk of the checkout: the system's folder for temporary files may be memory, where a sync costs nothing.
DATA = Path(__file__).with_name("data")
_LEDGER_ATTEMPTS_MAX = 1_000_000

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    size: Annotated[str, typer.Option(help="Attempts in each node before it is measured: 20k, 1m, 10m.")] = "1m",
    log: Annotated[
        list[LogKind] | None,
        typer.Option(help="Which log; may be given twice. [default: both]", show_default=False),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of load; medians are shown.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each load, after its warm-up.")] = 3.0,
    data: Annotated[
        Path, typer.Option(help="A throw-away folder is made in here, and removed at the end.", show_default=False)
    ] = DATA,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Fill a node with attempts, load it, count, and print a table; the same figures go to bench/results.json.

    1m takes about eight minutes and 10m twelve: the ledger alone, which is for small sites, has 1m at most, and of more
    attempts SQL makes the rows, which the real shipper moves to the log.

    The door is measured beside a constant answer on the same HTTP stack, in turns. After every load, the attempts
    that were sent, acknowledged and counted by errorcount must be the same: a wrong count ends the run with status 1.
    A goal that is not reached does not. Progress is on stderr, the table on stdout.

    Example: python -m bench --size 20k --rounds 1 --seconds 1
    """
    attempts = {LogKind.LEDGER: min(attempts_of(size), _LEDGER_ATTEMPTS_MAX), LogKind.CHDB: attempts_of(size)}
    plan = Plan(attempts_by_log={each: attempts[each] for each in log or attempts}, rounds=rounds, seconds=seconds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=data) as folder:
            found = _measure(Path(folder), plan)
    except WrongCount as error:
        err.print(f"[bold red]wrong count:[/] {error}")
        raise typer.Exit(1) from None
    except (LoadFailed, ServerFailed) as error:
        err.print(f"[bold red]bench:[/] {error}", markup=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("bench: stopped; nothing is left running, nothing was written")
        raise typer.Exit(130) from None
    write_results(found, results)
    print_results(found, out)
    err.print(f"Took {time.monotonic() - began:.0f} s; the figures are in {results.name}.")


def _measure(folder: Path, plan: Plan) -> Results:
    machine = look_at_machine(folder)
    with constant_server(folder) as constant:
        run = Run(plan, folder, constant, say=lambda text: err.print(text))
        run.measure_constant("constant answer, first")
        for log in plan.attempts_by_log:
            run.measure_node(log)
        run.measure_constant("constant answer, last")
    return Results(
        machine=machine,
        attempts_by_log={log.value: attempts for log, attempts in plan.attempts_by_log.items()},
        tickets=plan.tickets_max,
        rounds=plan.rounds,
        seconds=plan.seconds,
        figures=run.figures,
    )


if __name__ == "__main__":
    app(prog_name="python -m bench")
