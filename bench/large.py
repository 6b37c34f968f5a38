"""What counts cost in a large node of many accounts: `python -m bench.large`."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from bench.authorize import authorize_load, write_questions
from bench.bulk import ACCOUNTS, DATA, fill_folder, read_accounts
from bench.bulktraffic import BulkTraffic, bulk_traffic
from bench.counting import (
    COUNTED_ANEW,
    NO_COUNTS_KEPT,
    QUESTIONS,
    Checker,
    Parameters,
    Question,
    WrongCount,
    ask_count,
    counts_load,
)
from bench.counts import BOARD, CONNECTIONS, again
from bench.load import LoadFailed, Report, run_load, sending
from bench.machine import Machine, look_at_machine
from bench.process import Account, Server, ServerFailed, node, usher
from bench.recounting import RATE, Tally
from bench.report import Figure, Results, print_results, write_results
from bench.size import attempts_of
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("large.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
_LOG = LogKind.CHDB
_QUESTIONS = 200
_TURNS = 3
# Of the account that asks without pause.
_GREEDY_CONNECTIONS = 4


def _last_day() -> Parameters:
    return {"starttime": int(time.time()) - 86_400}


def _both(*parts: str) -> Callable[[random.Random, Sequence[int]], Parameters]:
    by_name = {question.name: question for question in QUESTIONS}

    def ask(chance: random.Random, tickets: Sequence[int]) -> Parameters:
        asked: Parameters = {}
        for part in parts:
            asked |= by_name[part].ask(chance, tickets)
        return asked

    return ask


_MORE = (
    Question("pass + app", _both("pass", "app")),
    Question("user + time range", _both("user", "time range")),
    Question("user + video live/*", _both("user", "video live/*")),
    Question("ip + success", _both("ip", "success")),
    Question("by key, last day", lambda chance, tickets: {"group_by": "key", **_last_day()}),
    Question("by reason, last day", lambda chance, tickets: {"group_by": "reason", **_last_day()}),
    Question("by hour, last day", lambda chance, tickets: {"group_by": "hour", **_last_day()}),
)
# Those that are answered from totals which are kept, and are asked once more of a node that keeps them.
_FROM_TOTALS = (
    *(
        question
        for question in QUESTIONS
        if question.name in {"app", "video", "success", "reason", "none", "video pattern", "video live/*", "by reason"}
    ),
    Question("by video", lambda chance, tickets: {"group_by": "video"}),
)
# p50 and p99 to reach, in milliseconds; of patterns, nets and groups p50 alone.
_BY_VIEWER = {"key", "pass", "user", "ip", "key + success", "pass + app", "user + time range", "user + video live/*",
              "ip + success"}  # fmt: skip
_OF_ACCOUNT = {"app", "video", "success", "reason", "server_ip", "time range", "none"}
_PATTERNS = {"video pattern", "video live/*", "ip net /20"}
_GROUPS = {"by key, last day", "by reason, last day", "by hour, last day"}
_GOALS_MS = ((_BY_VIEWER, 5.0, 20.0), (_OF_ACCOUNT, 20.0, 60.0), (_PATTERNS, 40.0, 0.0), (_GROUPS, 30.0, 0.0))
_GROWTH_MAX, _UNFAIR_MAX = 1.5, 3.0
_IDLE_MB, _SERVING_MB, _DOOR_MB = 500.0, 1_000.0, 150.0
_BYTES_MAX = 60.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True, highlight=False)


@app.command()
def large(
    size: Annotated[str, typer.Option(help="Attempts in the node: 1m, 10m, 100m.")] = "1m",
    beside: Annotated[str, typer.Option(help="Attempts in the node that it is held against.")] = "200k",
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each kind of count.")] = 3.0,
    again_seconds: Annotated[
        float, typer.Option(min=0.2, help="Seconds measured of those asked again; a block moves every 20.")
    ] = 25.0,
    folder: Annotated[
        Path | None,
        typer.Option("--data", help="A folder that python -m bench.bulk has made, of that size; attempts are added."),
    ] = None,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Count by each filter in a node of 20 accounts and, in turns, in a smaller one; then beside an account that asks
    without pause, and again and again while attempts arrive.

    What some questions must be answered is worked out; a wrong answer ends the run with status 1. The table is on
    stdout.

    Example: python -m bench.large --size 200k --beside 20k --seconds 1 --again-seconds 5
    """
    traffic, small = bulk_traffic(attempts_of(size)), bulk_traffic(attempts_of(beside))
    _DATA.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=_DATA) as made:
            fill_folder(Path(made) / "small", small, ships=True, say=_say)
            if folder is None:
                folder = Path(made) / "large"
                fill_folder(folder, traffic, ships=True, say=_say)
            nodes = Filled(folder, traffic), Filled(Path(made) / "small", small)
            found = measure(*nodes, seconds=seconds, again_seconds=again_seconds)
    except (WrongCount, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(found, results)
    print_results(found, out)


class Filled:
    """A folder that was filled with `traffic`. Its first account may have had attempts since; the others have not."""

    def __init__(self, folder: Path, traffic: BulkTraffic) -> None:
        self.folder, self.traffic = folder, traffic
        self.data = folder / DATA
        self.accounts = read_accounts(folder / ACCOUNTS)

    def asked(
        self, question: Question, *, number: int = _QUESTIONS, of: Sequence[int] = ()
    ) -> Iterator[tuple[Account, Parameters]]:
        """So many questions, each of any account, or of those numbered `of`."""
        chance, accounts = random.Random(question.name), of or range(len(self.accounts))
        for _ in range(number):
            account = chance.choice(accounts)
            first = self.traffic.ticket(account, 0)
            tickets = range(first, first + self.traffic.tickets_each)
            yield self.accounts[account], question.ask(chance, tickets)

    def check(self, door: Server) -> None:
        """Raises WrongCount: what an account, one of its tickets, or a pattern counts is not what was worked out."""
        account, place = 1, self.traffic.tickets_each // 3
        key = self.traffic.asked(account, place, turn=0).key
        expected: list[tuple[Parameters, int]] = [
            ({}, self.traffic.attempts_each),
            ({"key": key}, self.traffic.count(account, lambda asked: asked.key == key, places=[place])),
            ({"video": "live/*"}, self.traffic.count_all(account, lambda asked: asked.video.startswith("live/"))),
        ]
        for parameters, number in expected:
            counted = ask_count(door, self.accounts[account], parameters).error_count
            if counted != number:
                raise WrongCount(f"by {', '.join(parameters) or 'nothing'}: {number} recorded, {counted} counted")

    def tally(self, door: Server) -> Tally:
        """The questions that are asked again, of the first account, each counted anew by `door`, which keeps none."""
        account = self.accounts[0]
        tally = Tally(tickets=self.traffic.tickets_each, attempts=ask_count(door, account, {}).error_count)
        tally.hold([ask_count(door, account, parameters).error_count for parameters in tally.questions])
        return tally


def measure(large: Filled, small: Filled, *, seconds: float, again_seconds: float) -> Results:
    """All of it. Raises WrongCount, LoadFailed, ServerFailed."""
    run = _Run(look_at_machine(large.folder), large, small, seconds=seconds)
    return run.results(again_seconds=again_seconds)


class _Run:
    def __init__(self, machine: Machine, large: Filled, small: Filled, *, seconds: float) -> None:
        self._machine = machine
        self._large, self._small = large, small
        self._seconds = seconds
        self._figures: list[Figure] = []

    def results(self, *, again_seconds: float) -> Results:
        self._disk()
        with ExitStack() as stack:
            door = stack.enter_context(node(self._large.data, _LOG, *COUNTED_ANEW))
            beside = stack.enter_context(node(self._small.data, _LOG, *COUNTED_ANEW))
            for filled, server in ((self._large, door), (self._small, beside)):
                server.await_ready()
                filled.check(server)
            self._memory(door, "idle", most=_IDLE_MB)
            for question in (*QUESTIONS, *_MORE):
                self._count(question, door, beside)
            self._memory(door, "after these counts", most=_SERVING_MB)
        with node(self._large.data, _LOG, *NO_COUNTS_KEPT) as door:
            door.await_ready()
            self._totals(door)
        with node(self._large.data, _LOG, *COUNTED_ANEW) as door:
            door.await_ready()
            self._fairness(door)
            tally = self._large.tally(door)
        with node(self._large.data, _LOG) as door:
            door.await_ready()
            asked = door, self._large.accounts[0], tally
            self._figures += [
                again(*asked, connections=1, questions=BOARD, seconds=again_seconds),
                again(*asked, connections=CONNECTIONS, seconds=again_seconds),
            ]
        with node(self._large.data, _LOG, *COUNTED_ANEW) as door:
            door.await_ready()
            Checker(door, self._large.accounts[0], tally.attempts).check_each(tally.questions, tally.acknowledged)
            self._large.check(door)
        return Results(
            machine=self._machine,
            attempts_by_log={_LOG.value: self._large.traffic.attempts},
            tickets=self._large.traffic.tickets,
            rounds=1,
            seconds=self._seconds,
            figures=self._figures,
        )

    def _disk(self) -> None:
        size = sum(file.stat().st_size for file in self._large.data.rglob("*") if file.is_file())
        self._value("on disk, bytes an attempt", size / self._large.traffic.attempts, "B", most=_BYTES_MAX)

    def _memory(self, door: Server, when: str, *, most: float) -> None:
        parts = {"door": door.resident_mb()}
        parts |= {part: door.child_resident_mb(part) for part in ("ledger", "attemptlog")}
        self._value(f"resident {when}, all processes", sum(parts.values()), "MB", most=most)
        self._value(f"resident {when}, door alone", parts["door"], "MB", most=_DOOR_MB)

    def _count(self, question: Question, door: Server, beside: Server) -> None:
        """In turns, so that a busy moment of the machine meets both."""
        reports: tuple[list[Report], list[Report]] = ([], [])
        for _ in range(_TURNS):
            for filled, server, found in ((self._large, door, reports[0]), (self._small, beside, reports[1])):
                load = counts_load(
                    server, filled.asked(question), seconds=self._seconds / _TURNS, bodies=filled.folder / "counts.txt"
                )
                found.append(run_load(load))
        name = f"count, {question.name}"
        p50_ms, (small_ms, _, _) = self._counted(name, question, reports[0]), _middle(reports[1])
        _say(f"{name}: {small_ms:.2f} ms in the smaller node")
        if question.name in _BY_VIEWER:
            attempts = self._small.traffic.attempts
            self._value(f"{name}, p50 / p50 of {attempts:,}", p50_ms / small_ms, "", most=_GROWTH_MAX)

    def _totals(self, door: Server) -> None:
        """Questions about whole accounts, of a node that has the totals of all by then."""
        for account in self._large.accounts:
            # The second question is the one for which they are read.
            for _ in range(2):
                ask_count(door, account, {})
        for question in _FROM_TOTALS:
            load = counts_load(
                door,
                self._large.asked(question),
                seconds=self._seconds / _TURNS,
                bodies=self._large.folder / "counts.txt",
            )
            self._counted(f"from totals, {question.name}", question, [run_load(load) for _ in range(_TURNS)])
        self._memory(door, "with all totals", most=_SERVING_MB)

    def _counted(self, name: str, question: Question, reports: Sequence[Report]) -> float:
        """Note how long it took, against its goal; the p50 in milliseconds."""
        p50_ms, p99_ms, rate = _middle(reports)
        goal, reached = "", None
        for names, p50_max, p99_max in _GOALS_MS:
            if question.name in names:
                goal = f"p50 <= {p50_max:.0f} ms" + (f", p99 <= {p99_max:.0f} ms" if p99_max else "")
                reached = p50_ms <= p50_max and (not p99_max or p99_ms <= p99_max)
        _say(f"{name}: p50 {p50_ms:.2f} ms")
        self._figures.append(
            Figure(log=_LOG, name=name, rate=rate, p50_ms=p50_ms, p99_ms=p99_ms, goal=goal, reached=reached)
        )
        return p50_ms

    def _fairness(self, door: Server) -> None:
        """One account counts by key, first alone and then while another asks for patterns of all it has without pause,
        and attempts arrive."""
        by_name = {question.name: question for question in QUESTIONS}
        folder, accounts = self._large.folder, self._large.accounts
        own = counts_load(
            door, self._large.asked(by_name["key"], of=[1]), seconds=self._seconds, bodies=folder / "counts.txt"
        )
        alone = run_load(own)
        patterns = self._large.asked(by_name["video pattern"], of=[2])
        greedy = counts_load(
            door, patterns, seconds=4 * self._seconds, bodies=folder / "greedy.txt", connections=_GREEDY_CONNECTIONS
        )
        questions = write_questions(folder, tickets=self._large.traffic.tickets_each)
        arriving = authorize_load(
            door, accounts[0], questions, connections=CONNECTIONS, seconds=4 * self._seconds, rate=RATE
        )
        with sending(greedy) as greedy_sent, sending(arriving) as attempts_sent:
            beside = run_load(own)
            greedy_report, arrived = greedy_sent(), attempts_sent()
        lag_s = float(usher("status", "--data", str(self._large.data))["ship_lag_s"])
        self._value("patterns of one account without pause", greedy_report.rate, "/s")
        self._value("attempts beside them", arrived.rate, "/s")
        self._value("another's count, key, p99 beside them", beside.p99_ms, "ms")
        self._value("the same, p99 / p99 alone", beside.p99_ms / alone.p99_ms, "", most=_UNFAIR_MAX)
        self._value("blocks late meanwhile", lag_s, "s", most=0)

    def _value(self, name: str, value: float, unit: str, *, most: float | None = None) -> None:
        _say(f"{name}: {value:,.2f} {unit}")
        goal = "" if most is None else f"<= {most:g} {unit}".strip()
        reached = None if most is None else value <= most
        self._figures.append(Figure(log=_LOG, name=name, value=value, unit=unit, goal=goal, reached=reached))


def _middle(reports: Sequence[Report]) -> tuple[float, float, float]:
    """p50, p99 and rate."""
    return (
        median(report.p50_ms for report in reports),
        median(report.p99_ms for report in reports),
        median(report.rate for report in reports),
    )


def _say(text: str) -> None:
    err.print(text)


if __name__ == "__main__":
    app(prog_name="python -m bench.large")
