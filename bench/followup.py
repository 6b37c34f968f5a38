"""Follow-ups of live sessions beside a constant answer, and beside decisions: `python -m bench.followup`.

Requests have the shape of nginx's `auth_request`, one of a hundred thousand live sessions each.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console

from bench import traffic
from bench.authorize import measure_authorize, write_questions
from bench.beside import ratio_of
from bench.fill import fill
from bench.load import Load, Report, run_load
from bench.machine import look_at_machine
from bench.process import Account, Server, ServerFailed, constant_server, create_account, create_edge, node
from bench.report import Figure, Results, print_results, write_results
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("followup.json")
# On the disk of the checkout, as of the other bench.
_DATA = Path(__file__).with_name("data")
CONNECTIONS = 64
_PATH = "/v1/edges/nginx"
_SEGMENTS = 100
_RATIO_MIN, _P99_MS_MAX = 0.85, 20.0
# One in a hundred tickets has expired, one is revoked: they have no sessions.
_LIVE = 98

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True)


class _Files(msgspec.Struct, frozen=True):
    """What is sent: a start for each session, and follow-ups of them in no order."""

    starts: Path
    follow_ups: Path
    sessions: int


def _write_files(folder: Path, *, tickets: int) -> _Files:
    chance = random.Random(tickets)
    numbers = [n for n in range(tickets) if n % 100 > 1]
    files = _Files(folder / "starts.txt", folder / "follow_ups.txt", len(numbers))
    files.starts.write_bytes(b"\n".join(traffic.nginx_headers(n, "index.m3u8") for n in numbers))
    with files.follow_ups.open("wb") as lines:
        for n in chance.choices(numbers, k=min(100_000, 2 * tickets)):
            lines.write(traffic.nginx_headers(n, f"segment{int(chance.random() * _SEGMENTS):05d}.ts") + b"\n")
    return files


def _ask(
    server: Server, token: str, file: Path, *, seconds: float, once: bool = False, rate: float | None = None
) -> Report:
    return run_load(
        Load(
            host=server.host,
            port=server.port,
            path=_PATH,
            headers={"authorization": f"Bearer {token}"},
            bodies=str(file),
            expected="",
            connections=CONNECTIONS,
            warmup_s=0.0 if once else max(0.5, seconds / 4),
            seconds=seconds,
            once=once,
            method="GET",
            rate=rate,
        )
    )


def _beside(
    door: Server,
    account: Account,
    token: str,
    files: _Files,
    questions: Path,
    *,
    seconds: float,
    rates: Sequence[float],
) -> tuple[Report, Report]:
    """Follow-ups and decisions at these rates, at the same time."""
    with ThreadPoolExecutor(2) as loads:
        follow_ups = loads.submit(_ask, door, token, files.follow_ups, seconds=seconds, rate=rates[0])
        decisions = loads.submit(
            measure_authorize, door, account, questions, connections=CONNECTIONS, seconds=seconds, rate=rates[1]
        )
        return follow_ups.result(), decisions.result()


def _figure(name: str, reports: Sequence[Report], *, beside: Sequence[Report] = (), p99_ms_max: float = 0) -> Figure:
    kept_up = all(r.kept_up for r in reports)
    rate, p99_ms = median(r.rate for r in reports), median(r.p99_ms for r in reports)
    ratio = ratio_of(reports, beside) if beside else None
    goals = [f">= {_RATIO_MIN}"] if ratio is not None else []
    goals += [f"p99 <= {p99_ms_max:.0f} ms"] if p99_ms_max else []
    reached = (ratio is None or ratio >= _RATIO_MIN) and (not p99_ms_max or (kept_up and p99_ms <= p99_ms_max))
    return Figure(
        log="ledger",
        name=name,
        connections=CONNECTIONS,
        rate=rate,
        p50_ms=median(r.p50_ms for r in reports) if kept_up else None,
        p99_ms=p99_ms if kept_up else None,
        ratio=ratio,
        busy=median(r.busy for r in reports),
        goal=", ".join(goals),
        reached=reached if goals else None,
    )


@app.command()
def followup(
    sessions: Annotated[int, typer.Option(min=100, help="Live sessions, in round numbers.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of load; medians are shown.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds measured of each load.")] = 3.0,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Measure follow-ups in turns with a constant answer, then beside decisions, each at half of its rate.

    Beside each other both come at their times, whatever became of those before (an open loop): a latency is from when a
    request was due, and is shown only where 99 % of the rate was reached.
    """
    _DATA.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_DATA) as made:
        folder = Path(made)
        machine = look_at_machine(folder)
        data = folder / "data"
        account = create_account(data)
        uvloop.run(fill(data, LogKind.LEDGER, cdn=account.signer.cdn, attempts=sessions, progress=lambda done: None))
        token = create_edge(data, account)
        files = _write_files(folder, tickets=min(sessions, traffic.TICKETS_MAX))
        questions = write_questions(folder, tickets=min(sessions, traffic.TICKETS_MAX))
        with node(data, LogKind.LEDGER) as door, constant_server(folder) as constant:
            opened = _ask(door, token, files.starts, seconds=600, once=True)
            err.print(f"{opened.answered:,} sessions opened, {opened.rate:,.0f}/s")
            if opened.answered != files.sessions:
                raise ServerFailed("not every start was accepted")
            constants, follow_ups = [], []
            for turn in range(1, rounds + 1):
                constants.append(_ask(constant, token, files.follow_ups, seconds=seconds))
                follow_ups.append(_ask(door, token, files.follow_ups, seconds=seconds))
                found = f"constant {constants[-1].rate:,.0f}/s, follow-ups {follow_ups[-1].rate:,.0f}/s"
                err.print(f"round {turn}: {found}")
            alone = measure_authorize(door, account, questions, connections=CONNECTIONS, seconds=seconds)
            rates = (median(r.rate for r in follow_ups) / 2, alone.rate / 2)
            pairs = [
                _beside(door, account, token, files, questions, seconds=seconds, rates=rates) for _ in range(rounds)
            ]
            resident_mb = door.resident_mb()
    figures = [
        _figure("starts", [opened]),
        _figure("constant answer", constants),
        _figure("follow-ups", follow_ups, beside=constants),
        _figure("follow-ups beside decisions", [pair[0] for pair in pairs], p99_ms_max=_P99_MS_MAX),
        _figure("decisions beside follow-ups", [pair[1] for pair in pairs], p99_ms_max=_P99_MS_MAX),
        Figure(log="ledger", name="door resident with its sessions", value=resident_mb, unit="MB"),
    ]
    measured = Results(
        machine=machine,
        attempts_by_log={"ledger": sessions},
        tickets=sessions,
        rounds=rounds,
        seconds=seconds,
        figures=figures,
    )
    write_results(measured, results)
    print_results(measured, out)


if __name__ == "__main__":
    app()
