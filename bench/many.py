"""Decisions and new tickets in a node that has sold very many, in turns with one that has sold few:
`python -m bench.many`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.authorize import measure_authorize, write_questions
from bench.beside import Sample, figure_of, ratio_of, sampled
from bench.bulk import DATA, Bulk, fill_folder
from bench.bulktraffic import bulk_traffic
from bench.counting import Checker, WrongCount
from bench.issue import CONNECTIONS, WrongTickets, check_tickets, measure_issue, tickets_of
from bench.load import LoadFailed, Report
from bench.machine import look_at_machine
from bench.process import Server, ServerFailed, node
from bench.report import Figure, Results, print_results, write_results
from bench.size import attempts_of
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("many.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.LEDGER
# More than are asked within a second, so that few tickets are asked with twice: most pages are met for the first time.
_QUESTIONS_A_SECOND = 20_000
_SHARE_MIN = 0.8

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True, highlight=False)


@app.command()
def many(
    size: Annotated[str, typer.Option(help="Tickets in the node: 200k, 1m, 10m.")] = "10m",
    beside: Annotated[str, typer.Option(help="Tickets in the node that it is held against.")] = "100k",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of load; medians are shown.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each load.")] = 3.0,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Ask for decisions, of any of the tickets, and issue more, in a node with very many tickets and in one with few.

    The nodes take turns, and each round has questions of its own. After each load errorcount must say what was
    acknowledged, and the node must have as many tickets more; else the run ends with status 1. Ten million tickets
    take two minutes to make, and 2 GB of disk. The table is on stdout.

    Example: python -m bench.many --size 20k --beside 2k --rounds 1 --seconds 1
    """
    _DATA.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=_DATA) as made:
            found = measure(Path(made), many=attempts_of(size), few=attempts_of(beside), rounds=rounds, seconds=seconds)
    except (WrongCount, WrongTickets, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


def measure(folder: Path, *, many: int, few: int, rounds: int, seconds: float) -> Results:
    """All of it, in a folder that holds nothing yet. Raises WrongCount, WrongTickets, LoadFailed, ServerFailed."""
    machine = look_at_machine(folder)
    with ExitStack() as stack:
        sold = [stack.enter_context(_sold(folder / f"{tickets}", tickets)) for tickets in (many, few)]
        for turn in range(rounds):
            # Each is the first as often as the other.
            for one in sold if turn % 2 == 0 else reversed(sold):
                one.ask(turn, seconds=seconds)
                one.issue(seconds=seconds)
                err.print(
                    f"round {turn + 1}, {one.name}: authorize {one.decisions[-1].report.rate:,.0f}/s, "
                    f"sevu.request {one.issued[-1].report.rate:,.0f}/s"
                )
        figures = [figure for one in sold for figure in one.figures()]
    first, second = sold
    for name, found, others in (
        ("authorize", first.decisions, second.decisions),
        ("sevu.request", first.issued, second.issued),
    ):
        share = ratio_of([sample.report for sample in found], [sample.report for sample in others])
        figures.append(
            Figure(
                log=_LOG,
                name=f"{name}, {many:,} / {few:,} tickets",
                value=100 * share,
                unit="%",
                goal=f">= {_SHARE_MIN:.0%}",
                reached=share >= _SHARE_MIN,
            )
        )
    return Results(
        machine=machine,
        attempts_by_log={_LOG.value: 0},
        tickets=many,
        rounds=rounds,
        seconds=seconds,
        figures=figures,
    )


@contextmanager
def _sold(folder: Path, tickets: int) -> Iterator[_Sold]:
    """A node that has sold so many, all of one account, and nobody has asked yet."""
    folder.mkdir()
    _say(f"making {tickets:,} tickets")
    filled = fill_folder(folder, bulk_traffic(0, tickets=tickets, accounts=1), ships=False, say=_say)
    _say(f"made in {filled.seconds:,.0f} s, {filled.bytes / tickets:.0f} bytes each")
    with node(folder / DATA, _LOG) as door:
        yield _Sold(folder, filled, door)


class _Sold:
    def __init__(self, folder: Path, filled: Bulk, door: Server) -> None:
        self._folder, self._filled, self._door = folder, filled, door
        (self._account,) = filled.accounts
        self._checker = Checker(door, self._account, 0)
        self.name = f"{filled.traffic.tickets:,} tickets"
        self.decisions: list[Sample] = []
        self.issued: list[Sample] = []

    def ask(self, turn: int, *, seconds: float) -> None:
        """Raises WrongCount, LoadFailed."""
        questions = write_questions(
            self._folder,
            tickets=self._filled.traffic.tickets,
            number=int(_QUESTIONS_A_SECOND * seconds),
            turn=turn,
        )
        self.decisions.append(
            self._sample(
                lambda: measure_authorize(
                    self._door, self._account, questions, connections=CONNECTIONS, seconds=seconds
                )
            )
        )
        self._checker.check([self.decisions[-1].report])

    def issue(self, *, seconds: float) -> None:
        """Raises WrongTickets, LoadFailed."""
        data = self._folder / DATA
        before = tickets_of(data, self._account)
        self.issued.append(
            self._sample(lambda: measure_issue(self._door, self._account, seconds=seconds, folder=self._folder))
        )
        check_tickets(self.issued[-1].report, before=before, after=tickets_of(data, self._account))

    def _sample(self, load: Callable[[], Report]) -> Sample:
        return sampled(self._door, load)

    def figures(self) -> Iterator[Figure]:
        tickets, filled = self._filled.traffic.tickets, self._filled
        yield Figure(log=_LOG, name=f"filling, {self.name}", value=tickets / filled.seconds, unit="tickets/s")
        yield Figure(log=_LOG, name=f"on disk, {self.name}", value=filled.bytes / tickets, unit="B each")
        for name, samples in (("authorize", self.decisions), ("sevu.request", self.issued)):
            yield figure_of(f"{name}, {self.name}", samples, connections=CONNECTIONS, log=_LOG)
        resident_mb = self._door.child_resident_mb("ledger")
        yield Figure(log=_LOG, name=f"ledger process resident, {self.name}", value=resident_mb, unit="MB")


def _say(text: str) -> None:
    err.print(text)


if __name__ == "__main__":
    app(prog_name="python -m bench.many")
