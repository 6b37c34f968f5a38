"""`python -m bench.peers`: Usher beside what a user would build or pick instead, in one run on this machine."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.__main__ import DATA
from bench.counting import WrongCount
from bench.load import LoadFailed
from bench.peers.contest import Plan, hold_contest
from bench.peers.results import RESULTS, PeerResults
from bench.peers.shown import print_peers
from bench.process import ServerFailed
from bench.report import write_results
from bench.size import attempts_of

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def peers(
    size: Annotated[str, typer.Option(help="Attempts in each store before it is measured: 20k, 1m.")] = "1m",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians and spreads are shown.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.3, help="Seconds of each load; twice that at 1,024 connections.")
    ] = 1.0,
    data: Annotated[
        Path, typer.Option(help="A throw-away folder is made in here, and removed at the end.", show_default=False)
    ] = DATA,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Fill Usher and its peers with the same attempts, let each decide and count in turns, and print the tables.

    Before any decision all must count the same; after every load the attempts that were sent, acknowledged, stored and
    found by a search must be as many, and the uses spent as many as were accepted: else the run ends with status 1.
    Progress is on stderr, the tables on stdout; the same figures go to bench/peers.json.

    Example: python -m bench.peers --size 20k --rounds 1 --seconds 0.3
    """
    plan = Plan(attempts=attempts_of(size), rounds=rounds, seconds=seconds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = _measure(plan, data)
    except WrongCount as error:
        err.print("wrong count:", error, markup=False)
        raise typer.Exit(1) from None
    except (LoadFailed, ServerFailed) as error:
        err.print("bench:", error, markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("bench: stopped; nothing is left running, nothing was written")
        raise typer.Exit(130) from None
    write_results(found, results)
    print_peers(found, out)
    err.print(f"Took {found.took_s:.0f} s; the figures are in {results.name}. For the docs: python -m docs.generate")


def _measure(plan: Plan, data: Path) -> PeerResults:
    data.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(text: str) -> None:
        err.print(f"{time.monotonic() - began:4.0f} s  {text}")

    with tempfile.TemporaryDirectory(prefix="peers-", dir=data) as folder:
        return hold_contest(plan, Path(folder), say=say)


if __name__ == "__main__":
    app(prog_name="python -m bench.peers")
