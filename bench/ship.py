"""How fast attempts that wait in the ledger move to the log, and what decisions notice: `python -m bench.ship`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from bench.authorize import measure_authorize, write_questions
from bench.bulk import DATA, fill_folder
from bench.bulktraffic import BulkTraffic, bulk_traffic
from bench.counting import Checker, WrongCount
from bench.load import LoadFailed, Report
from bench.machine import look_at_machine
from bench.process import Server, ServerFailed, node
from bench.report import Figure, Results, print_results, write_results
from bench.size import attempts_of
from openusher.cli.connect import admin, ask
from openusher.settings import LogKind, Settings

RESULTS = Path(__file__).with_name("ship.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.CHDB
_CONNECTIONS = 64
_LOOK_S = 0.25
_QUIET_LOADS = 3
_RATE_MIN, _SLOWER_MAX = 200_000.0, 2.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True, highlight=False)


@app.command()
def ship(
    size: Annotated[str, typer.Option(help="Attempts that wait in the ledger: 200k, 1m, 10m.")] = "1m",
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each load of decisions.")] = 3.0,
    data: Annotated[Path, typer.Option(help="A throw-away folder is made in here.", show_default=False)] = _DATA,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Ship so many attempts twice: by a node that does nothing else, and by one that decides at half of its maximum.

    Loads of decisions follow one another until the backlog is gone; shown is the median of their p99, beside that of
    a node without a backlog. At the end errorcount must say what there was and what was acknowledged. The table is on
    stdout.

    Example: python -m bench.ship --size 200k --seconds 1
    """
    traffic = bulk_traffic(attempts_of(size))
    data.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=data) as folder:
            found = measure(Path(folder), traffic, seconds=seconds)
    except (WrongCount, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


def measure(folder: Path, traffic: BulkTraffic, *, seconds: float) -> Results:
    """All of it, in a folder that holds nothing yet. Raises WrongCount, LoadFailed, ServerFailed."""
    machine = look_at_machine(folder)
    alone, beside = (Backlog(folder / name, traffic, seconds=seconds) for name in ("alone", "beside"))
    with alone.node() as door:
        shipped = alone.await_shipped(door)
        fastest = alone.decide(door)
        quiet = [alone.decide(door, rate=fastest.rate / 2) for _ in range(_QUIET_LOADS)]
        alone.check(door, [fastest, *quiet])
    with beside.node() as door, ThreadPoolExecutor(1) as thread:
        shipping = thread.submit(beside.await_shipped, door)
        loads = [beside.decide(door, rate=fastest.rate / 2)]
        while not shipping.done():
            loads.append(beside.decide(door, rate=fastest.rate / 2))
        beside.check(door, loads)
    # The last met the end of the backlog.
    busy = loads[:-1] or loads
    most_ms = _SLOWER_MAX * _p99_ms(quiet)
    rate = traffic.attempts / shipping.result().seconds
    figures = [
        _value("shipped alone, attempts a second", traffic.attempts / shipped.seconds, "/s"),
        _value("shipped alone, time of a core an attempt", 1e6 * shipped.cpu_s / traffic.attempts, "us"),
        _decided("decisions at half load", quiet),
        _value(
            "shipped beside decisions, attempts a second",
            rate,
            "/s",
            goal=f">= {_RATE_MIN:,.0f} /s",
            reached=rate >= _RATE_MIN,
        ),
        _decided("decisions at half load beside shipping", busy, p99_ms_max=most_ms),
    ]
    return Results(
        machine=machine,
        attempts_by_log={_LOG.value: traffic.attempts},
        tickets=traffic.tickets,
        rounds=1,
        seconds=seconds,
        figures=figures,
    )


class Shipped(msgspec.Struct, frozen=True):
    """A backlog that is gone: how long that took, and how much time of the cores all processes of the node."""

    seconds: float
    cpu_s: float


class Backlog:
    """A folder with attempts that are all still in the ledger."""

    def __init__(self, folder: Path, traffic: BulkTraffic, *, seconds: float) -> None:
        folder.mkdir()
        self._data = folder / DATA
        self._account = fill_folder(folder, traffic, ships=False, say=lambda text: err.print(text)).accounts[0]
        self._bodies = write_questions(folder, tickets=traffic.tickets_each)
        self._traffic = traffic
        self._seconds = seconds

    def node(self) -> AbstractContextManager[Server]:
        return node(self._data, _LOG)

    def await_shipped(self, door: Server) -> Shipped:
        """Return once the log holds what was filled in."""
        began, cpu_began = time.monotonic(), door.node_cpu_s()
        asyncio.run(self._await_shipped())
        return Shipped(time.monotonic() - began, door.node_cpu_s() - cpu_began)

    async def _await_shipped(self) -> None:
        async with admin(Settings(data=self._data), running=True) as client:
            while True:
                status = await ask(client, "GET", "/status")
                if status["fault"] is not None:
                    raise ServerFailed(status["fault"])
                if status["last_attempt_id"] - status["pending"] >= self._traffic.attempts:
                    return
                await asyncio.sleep(_LOOK_S)

    def decide(self, door: Server, *, rate: float | None = None) -> Report:
        report = measure_authorize(
            door, self._account, self._bodies, connections=_CONNECTIONS, seconds=self._seconds, rate=rate
        )
        err.print(f"decisions: {report.rate:,.0f} a second, p99 {report.p99_ms:.1f} ms")
        return report

    def check(self, door: Server, reports: Sequence[Report]) -> None:
        Checker(door, self._account, self._traffic.attempts_each).check(reports)


def _p99_ms(reports: Sequence[Report]) -> float:
    return median(report.p99_ms for report in reports)


def _decided(name: str, reports: Sequence[Report], *, p99_ms_max: float | None = None) -> Figure:
    p99_ms = _p99_ms(reports)
    return Figure(
        log=_LOG,
        name=name,
        connections=_CONNECTIONS,
        rate=median(report.rate for report in reports),
        p50_ms=median(report.p50_ms for report in reports),
        p99_ms=p99_ms,
        busy=median(report.busy for report in reports),
        goal="" if p99_ms_max is None else f"p99 <= {p99_ms_max:.1f} ms",
        reached=None if p99_ms_max is None else p99_ms <= p99_ms_max and all(report.kept_up for report in reports),
    )


def _value(name: str, value: float, unit: str, *, goal: str = "", reached: bool | None = None) -> Figure:
    err.print(f"{name}: {value:,.1f} {unit}")
    return Figure(log=_LOG, name=name, value=value, unit=unit, goal=goal, reached=reached)


if __name__ == "__main__":
    app(prog_name="python -m bench.ship")
