"""How long a node with many attempts takes from its start until it is ready: `python -m bench.start`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from bench.authorize import authorize_load, write_questions
from bench.bulk import ACCOUNTS, DATA, fill_folder, read_accounts
from bench.bulktraffic import BulkTraffic, bulk_traffic
from bench.counting import WrongCount, ask_count
from bench.load import LoadFailed, sending
from bench.machine import look_at_machine
from bench.process import Account, Server, ServerFailed, node
from bench.report import Figure, Results, print_results, write_results
from bench.size import attempts_of
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("start.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.CHDB
_CONNECTIONS = 64
_READY_S_MAX, _AFTER_KILL_S_MAX = 2.0, 4.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True, highlight=False)


@app.command()
def start(
    size: Annotated[str, typer.Option(help="Attempts in the node: 20k, 1m, 10m, 100m.")] = "1m",
    rounds: Annotated[int, typer.Option(min=1, help="Starts of each kind; medians are shown.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of load before each kill -9.")] = 3.0,
    folder: Annotated[
        Path | None,
        typer.Option("--data", help="A folder that python -m bench.bulk has made, of that size; attempts are added."),
    ] = None,
    kill: Annotated[bool, typer.Option(help="Also start after kill -9 under load, which adds attempts.")] = True,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Start a node again and again: after a stop, with its files in memory and not, and after kill -9 under load.

    "Answers" is until it decides, "ready" until /readyz says that it also counts. After each kill, errorcount must say
    what was acknowledged, and at most what was sent. The table is on stdout.

    Example: python -m bench.start --size 20k --rounds 1
    """
    traffic = bulk_traffic(attempts_of(size))
    try:
        if folder is not None:
            found = measure(folder, traffic, rounds=rounds, seconds=seconds, kill=kill)
        else:
            _DATA.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="run-", dir=_DATA) as made:
                fill_folder(Path(made), traffic, ships=True, say=lambda text: err.print(text))
                found = measure(Path(made), traffic, rounds=rounds, seconds=seconds, kill=kill)
    except (WrongCount, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


def measure(folder: Path, traffic: BulkTraffic, *, rounds: int, seconds: float, kill: bool) -> Results:
    """Of a folder that was filled with `traffic`. Raises WrongCount, LoadFailed, ServerFailed."""
    machine, starts = look_at_machine(folder), _Starts(folder, rounds=rounds)
    starts.measure("in memory", lambda: None, goal_s=_READY_S_MAX)
    starts.measure("not in memory", lambda: _forget_files(folder / DATA))
    if kill:
        killing = Killing(folder, tickets=traffic.tickets_each, seconds=seconds)
        starts.measure("after kill -9 under load", killing.kill, goal_s=_AFTER_KILL_S_MAX, then=killing.check)
    return Results(
        machine=machine,
        attempts_by_log={_LOG.value: traffic.attempts},
        tickets=traffic.tickets,
        rounds=rounds,
        seconds=seconds,
        figures=starts.figures,
    )


class _Starts:
    def __init__(self, folder: Path, *, rounds: int) -> None:
        self._data = folder / DATA
        self._rounds = rounds
        self.figures: list[Figure] = []

    def measure(
        self,
        name: str,
        before: Callable[[], None],
        *,
        goal_s: float | None = None,
        then: Callable[[Server], None] = lambda door: None,
    ) -> None:
        """Start so many times, each time after `before`; `then` sees the node that is ready."""
        answers: list[float] = []
        readies: list[float] = []
        for _ in range(self._rounds):
            before()
            with node(self._data, _LOG) as door:
                answers.append(door.start_s)
                readies.append(door.await_ready())
                then(door)
            err.print(f"{name}: answers after {answers[-1]:.2f} s, ready after {readies[-1]:.2f} s")
        self._add(f"answers, {name}", median(answers))
        self._add(f"ready, {name}", median(readies), goal_s=goal_s)

    def _add(self, name: str, value_s: float, *, goal_s: float | None = None) -> None:
        goal = "" if goal_s is None else f"<= {goal_s:.0f} s"
        reached = None if goal_s is None else value_s <= goal_s
        self.figures.append(Figure(log=_LOG, name=name, value=value_s, unit="s", goal=goal, reached=reached))


class Killing:
    """Ends a node with SIGKILL while it decides for the first account, whose attempts are counted."""

    def __init__(self, folder: Path, *, tickets: int, seconds: float) -> None:
        self._data = folder / DATA
        self._account: Account = read_accounts(folder / ACCOUNTS)[0]
        self._bodies = write_questions(folder, tickets=tickets)
        self._seconds = seconds
        # Attempts that were acknowledged before the kill, and that were sent.
        self.at_least = self.at_most = 0

    def kill(self) -> None:
        with node(self._data, _LOG) as door:
            door.await_ready()
            counted = self._counted(door)
            load = authorize_load(
                door, self._account, self._bodies, connections=_CONNECTIONS, seconds=10 * self._seconds
            )
            with sending(load) as sent:
                time.sleep(self._seconds)
                door.kill()
                report = sent()
        self.at_least, self.at_most = counted + report.answered, counted + report.sent
        if not report.answered:
            raise LoadFailed(f"nothing was decided before the kill: {report.failure}")

    def check(self, door: Server) -> None:
        counted = self._counted(door)
        if not self.at_least <= counted <= self.at_most:
            raise WrongCount(f"{self.at_least} acknowledged, {self.at_most} sent, {counted} counted after a kill")

    def _counted(self, door: Server) -> int:
        return ask_count(door, self._account, {}).error_count


def _forget_files(folder: Path) -> None:
    """Ask the kernel to let go of what it has of them in memory, as after a boot."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


if __name__ == "__main__":
    app(prog_name="python -m bench.start")
