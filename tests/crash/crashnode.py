"""A real node with the crash tests' hands in its seams: run as a process in the place of `usher serve`.

`--die-at STEP --after N` kills the process, as kill -9 would, when the shipper reaches STEP for the Nth time;
`--die-at-reap STEP` when the reaper does.
`--answer-early` answers attempts before their commit: the fault that the harness must be able to see.
`--fail` has the commit of an attempt at the video `unwritten`, `unknown` or `broken` fail so, and no other.
`--count-s-max` says how long a count may take, and so how soon a log process that hangs is found out.
`--keeps-nothing` has it keep no counts and no totals, for which a log is then not asked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

from openusher.errors import CommitUnknown, LedgerUnavailable
from openusher.keptcounts import KEPT_COUNTS
from openusher.kepttotals import KEPT_TOTALS_BYTES
from openusher.ledger.base import Decide, Drawn, Ledger, Outcome
from openusher.logs import LogForm, log_to_stderr
from openusher.model.attempt import Decision, Reason
from openusher.node import Seams
from openusher.reaper import ReapStep
from openusher.settings import LogKind, Settings
from openusher.shipper import Step
from openusher.web.server import serve


class EarlyAnswers:
    """A ledger that says yes first and commits later. Everything else is the real one's."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._late: set[asyncio.Task[list[Outcome]]] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        drawn = draw()
        if not all(isinstance(operation, Decide) for operation in drawn.operations):
            return await self._ledger.commit_next(lambda: drawn)
        task = asyncio.get_running_loop().create_task(self._commit_late(drawn))
        self._late.add(task)
        return [Decision(reason=Reason.NONE, attempt=1, expires_s=0) for _ in drawn.operations]

    async def _commit_late(self, drawn: Drawn) -> list[Outcome]:
        await asyncio.sleep(0.3)
        return await self._ledger.commit_next(lambda: drawn)


class FailingCommits:
    """A ledger whose commits fail by what they are of. Everything else is the real one's."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._errors: dict[str, Exception] = {
            "unwritten": LedgerUnavailable("under test"),
            "unknown": CommitUnknown("under test"),
            "broken": ValueError("under test"),
        }

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        drawn = draw()
        for operation in drawn.operations:
            if isinstance(operation, Decide) and operation.request.video in self._errors:
                raise self._errors[operation.request.video]
        return await self._ledger.commit_next(lambda: drawn)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=LogKind, default=LogKind.CHDB)
    parser.add_argument("--die-at", type=Step)
    parser.add_argument("--die-at-reap", type=ReapStep)
    parser.add_argument("--after", type=int, default=1)
    parser.add_argument("--keep-days", type=int, default=0)
    parser.add_argument("--anonymise-days", type=int, default=0)
    parser.add_argument("--answer-early", action="store_true")
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--metrics")
    parser.add_argument("--count-s-max", type=float, default=3.0)
    parser.add_argument("--keeps-nothing", action="store_true")
    given = parser.parse_args()
    left = given.after

    def on_step(step: Step | ReapStep) -> None:
        nonlocal left
        if step in (given.die_at, given.die_at_reap):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings(
        data=given.data,
        port=given.port,
        log=given.log,
        ship_rows=50,
        ship_age_s=0.2,
        count_s_max=given.count_s_max,
        kept_counts=0 if given.keeps_nothing else KEPT_COUNTS,
        kept_totals_bytes_max=0 if given.keeps_nothing else KEPT_TOTALS_BYTES,
        metrics=given.metrics,
        keep_days=given.keep_days,
        anonymise_days=given.anonymise_days,
    )

    def around_ledger(ledger: Ledger) -> Ledger:
        if given.fail:
            return cast(Ledger, FailingCommits(ledger))
        return cast(Ledger, EarlyAnswers(ledger)) if given.answer_early else ledger

    seams = Seams(on_step=on_step, on_reap=on_step, around_ledger=around_ledger)
    log_to_stderr(LogForm("json"), process="door")
    uvloop.run(serve(settings, on_ready=_say_ready, seams=seams))


def _say_ready(url: str) -> None:
    sys.stdout.write(f"usher is ready on {url} (under test)\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
