"""One run: the order in which things are measured, and what is asked of each figure (issue 3, section 6)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from bench.authorize import CONNECTIONS, measure_authorize, measure_constant, write_questions
from bench.beside import Goal, Sample, figure_of, sampled
from bench.bulk import DATA, fill_folder
from bench.bulktraffic import bulk_traffic
from bench.counting import COUNTED_ANEW, QUESTIONS, Checker, measure_counts
from bench.fill import fill
from bench.issue import CONNECTIONS as ISSUE_CONNECTIONS
from bench.issue import measure_issue
from bench.process import Account, Server, create_account, node
from bench.report import Figure
from bench.traffic import TICKETS_MAX
from openusher.settings import LogKind

# A node decides so many in a minute; more are made by SQL and moved to the log by the real shipper, in a third of the
# time.
_DECIDED_MAX = 1_000_000
# The rate that others are compared with.
_CONNECTIONS = 64
_GOAL = Goal(ratio_min=0.5, p99_ms_max=30.0, said=">= 0.5, p99 <= 30 ms")
_READY_S_MAX = 3.0
_DOOR_MB_MAX = 120.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure: each log with so many attempts."""

    attempts_by_log: dict[LogKind, int]
    rounds: int
    seconds: float

    def tickets(self, log: LogKind) -> int:
        return min(TICKETS_MAX, self.attempts_by_log[log])

    @property
    def tickets_max(self) -> int:
        return max(map(self.tickets, self.attempts_by_log))


class Run:
    """Measures, one thing after the other, and keeps the figures. `say` is told of the progress."""

    def __init__(self, plan: Plan, folder: Path, constant: Server, *, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._constant = constant
        self._say = say
        self._bodies = write_questions(folder, tickets=min(map(plan.tickets, plan.attempts_by_log)))
        self.figures: list[Figure] = []

    def measure_constant(self, name: str) -> None:
        """Before and after all others: how far the two are apart says what the machine did meanwhile."""
        sample = self._sample_constant(_CONNECTIONS)
        self._add("", name, _CONNECTIONS, [sample])

    def measure_node(self, log: LogKind) -> None:
        """Fill a data folder, start a node on it, measure, and remove it."""
        folder = self._folder / log.value
        folder.mkdir()
        data = folder / DATA
        account, acknowledged = self._fill(folder, log)
        # Each count is to be the first of its kind, however often the bench has asked it before.
        with node(data, log, *COUNTED_ANEW) as door:
            self._value(log, "ready after", door.start_s, "s", at_most=_READY_S_MAX)
            checker = Checker(door, account, sum(acknowledged.values()))
            checker.check()
            checker.check_reasons(acknowledged)
            self._counts(log, door, account)
            checker.check()
            # The small mode's whole: the door and its ledger.
            resident_mb = door.resident_mb() + door.child_resident_mb("ledger")
            self._value(log, "door and ledger resident, after the counts", resident_mb, "MB", at_most=_DOOR_MB_MAX)
        with node(data, log) as door:
            checker = Checker(door, account, checker.acknowledged)
            self._authorize(log, door, account, checker)
            self._issue(log, door, account)
            checker.check()
            self._value(log, "door resident, after the load", door.resident_mb(), "MB")
            self._value(log, "ledger process resident, after the load", door.child_resident_mb("ledger"), "MB")
            if log is LogKind.CHDB:
                log_mb = door.child_resident_mb("attemptlog")
                self._value(log, "log process resident, after the load", log_mb, "MB")
        shutil.rmtree(folder)

    def _fill(self, folder: Path, log: LogKind) -> tuple[Account, dict[str, int]]:
        """Whose attempts there are now, and how many of each reason."""
        attempts = self._plan.attempts_by_log[log]
        fill_it = self._fill_by_node if attempts <= _DECIDED_MAX else self._fill_by_sql
        account, by_reason = fill_it(folder, log)
        size = sum(file.stat().st_size for file in (folder / DATA).rglob("*") if file.is_file())
        self._value(log, "on disk right after filling, bytes an attempt", size / attempts, "B")
        return account, by_reason

    def _fill_by_node(self, folder: Path, log: LogKind) -> tuple[Account, dict[str, int]]:
        attempts = self._plan.attempts_by_log[log]
        step = max(attempts // 20, 1)
        told = 0

        def progress(done: int) -> None:
            nonlocal told
            if done // step > told:
                told = done // step
                self._say(f"{log}: filled with {done:,} of {attempts:,} attempts")

        account = create_account(folder / DATA)
        filled = uvloop.run(fill(folder / DATA, log, cdn=account.signer.cdn, attempts=attempts, progress=progress))
        self._value(log, "filling, attempts a second", filled.attempts / filled.seconds, "/s")
        return account, filled.by_reason

    def _fill_by_sql(self, folder: Path, log: LogKind) -> tuple[Account, dict[str, int]]:
        bulk = bulk_traffic(self._plan.attempts_by_log[log], tickets=self._plan.tickets(log), accounts=1)
        filled = fill_folder(folder, bulk, ships=True, say=lambda text: self._say(f"{log}: {text}"))
        self._value(log, "filling by SQL, attempts a second", bulk.attempts / filled.seconds, "/s")
        (account,) = filled.accounts
        return account, bulk.by_reason(0)

    def _counts(self, log: LogKind, door: Server, account: Account) -> None:
        for question in QUESTIONS:
            report = measure_counts(
                door,
                account,
                question,
                tickets=self._plan.tickets(log),
                seconds=self._plan.seconds,
                folder=self._folder,
            )
            self._say(f"{log}: count, {question.name}: p50 {report.p50_ms:.2f} ms")
            goal_ms = question.goal_ms(log)
            self.figures.append(
                Figure(
                    log=log,
                    name=f"count, {question.name}",
                    rate=report.rate,
                    p50_ms=report.p50_ms,
                    p99_ms=report.p99_ms,
                    goal="" if goal_ms is None else f"p50 < {goal_ms:.0f} ms",
                    reached=None if goal_ms is None else report.p50_ms < goal_ms,
                )
            )

    def _authorize(self, log: LogKind, door: Server, account: Account, checker: Checker) -> None:
        """In turns with the constant answer, so that a busy moment of the machine meets both."""
        found: dict[int, tuple[list[Sample], list[Sample]]] = {count: ([], []) for count in CONNECTIONS}
        seconds = self._plan.seconds
        for turn in range(1, self._plan.rounds + 1):
            for connections, (constants, doors) in found.items():
                constants.append(self._sample_constant(connections))
                doors.append(
                    sampled(
                        door,
                        lambda connections=connections: measure_authorize(  # type: ignore[misc]
                            door, account, self._bodies, connections=connections, seconds=seconds
                        ),
                    )
                )
                checker.check([doors[-1].report])
                self._say(
                    f"{log}: round {turn}, {connections} connections: constant {constants[-1].report.rate:,.0f}/s, "
                    f"authorize {doors[-1].report.rate:,.0f}/s"
                )
        for connections, (constants, doors) in found.items():
            self._add(log, "constant answer", connections, constants)
            self._add(log, "authorize", connections, doors, beside=constants)

    def _issue(self, log: LogKind, door: Server, account: Account) -> None:
        samples = []
        for turn in range(1, self._plan.rounds + 1):
            samples.append(
                sampled(door, lambda: measure_issue(door, account, seconds=self._plan.seconds, folder=self._folder))
            )
            self._say(f"{log}: round {turn}, sevu.request: {samples[-1].report.rate:,.0f}/s")
        self._add(log, "sevu.request", ISSUE_CONNECTIONS, samples)

    def _sample_constant(self, connections: int) -> Sample:
        return sampled(
            self._constant,
            lambda: measure_constant(self._constant, self._bodies, connections=connections, seconds=self._plan.seconds),
        )

    def _add(
        self, log: str, name: str, connections: int, samples: Sequence[Sample], *, beside: Sequence[Sample] = ()
    ) -> Figure:
        has_goal = bool(beside) and connections == _CONNECTIONS
        goal = _GOAL if has_goal else None
        figure = figure_of(name, samples, connections=connections, log=log, beside=beside, goal=goal)
        self.figures.append(figure)
        return figure

    def _value(self, log: str, name: str, value: float, unit: str, *, at_most: float | None = None) -> None:
        self._say(f"{log}: {name}: {value:,.1f} {unit}")
        goal = "" if at_most is None else f"< {at_most:.0f} {unit}"
        reached = None if at_most is None else value < at_most
        self.figures.append(Figure(log=log, name=name, value=value, unit=unit, goal=goal, reached=reached))
