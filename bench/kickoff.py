"""Kick-off: a hundred thousand viewers who come within seconds, each with a ticket for one use.

`python -m bench.kickoff`. Each starts through an nginx edge's door and goes on with four follow-ups, or, with
`recheck_s` at the edge, with the one that the edge has not kept. First they come within ten seconds; where the node
does not answer 99.9 % within a second, again within more, until it does. Then all come within one second. After each
the count must be one a viewer.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import traffic
from bench.counting import WrongCount, ask_count
from bench.crowd import PROMPT_S, WATCHING_S, Came, Crowd, let_come
from bench.machine import look_at_machine
from bench.process import Account, Server, create_account, create_edge, node, usher
from bench.report import Figure, Results, print_results, write_results
from openusher.settings import LogKind

RESULTS = Path(__file__).with_name("kickoff.json")
# On the disk of the checkout, as of the other benches.
_DATA = Path(__file__).with_name("data")
_PROMPT_MIN = 0.999
# Where they come too fast: so much slower each time, until it holds.
_SLOWER = 1.3
_TRIES_MAX = 8
_ASKED: tuple[dict[str, str | int], ...] = ({}, {"success": "1"})

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=150), Console(stderr=True)


@contextmanager
def _sold_out(folder: Path, *, viewers: int) -> Iterator[tuple[Server, Account, str]]:
    """A node that has sold a ticket for one use to each viewer; with the token of its edge."""
    data = folder / "data"
    account = create_account(data)
    token = create_edge(data, account)
    tickets = folder / "tickets.jsonl"
    with tickets.open("w") as lines:
        for n in range(viewers):
            sold = {
                "key": traffic.key(n),
                "pass": traffic.password(n),
                "app": traffic.APPS[n % len(traffic.APPS)],
                "video": f"live/cam{n % traffic.CAMERAS}",
                "ip": traffic.address(n),
                "uses": 1,
                "expire_date": "2100-01-01 00:00:00",
            }
            lines.write(json.dumps(sold) + "\n")
    with node(data, LogKind.CHDB) as door:
        usher("ticket", "import", str(account.signer.cdn), str(tickets), "--data", str(data))
        yield door, account, token
    shutil.rmtree(data)


def _kick_off(folder: Path, *, viewers: int, seconds: float, follow_ups: int, connections: int) -> Came:
    """Raises WrongCount where the attempts counted are not one a viewer, all accepted."""
    with _sold_out(folder, viewers=viewers) as (door, account, token):
        came = let_come(
            Crowd(
                host=door.host,
                port=door.port,
                token=token,
                first=0,
                viewers=viewers,
                seconds=seconds,
                follow_ups=follow_ups,
                connections=connections,
            )
        )
        if came.failures:
            raise WrongCount(f"wrong answers: {came.failures}")
        counted = [ask_count(door, account, asked).error_count for asked in _ASKED]
        if counted != [viewers, viewers]:
            raise WrongCount(f"{viewers} viewers started, {counted[0]} attempts counted, {counted[1]} of them accepted")
    return came


def _figures(
    name: str, came: Came, *, viewers: int, seconds: float, connections: int, must_be_prompt: bool
) -> list[Figure]:
    prompt, watching = came.prompt / came.answered, came.watching / viewers
    goal, reached = f">= 99.9 % within {PROMPT_S:.0f} s", prompt >= _PROMPT_MIN
    if not must_be_prompt:
        goal, reached = f"all watch within {WATCHING_S:.0f} s", watching == 1
    return [
        Figure(
            log="chdb",
            name=f"{name}: starts",
            connections=connections,
            rate=viewers / seconds,
            p50_ms=came.start_p50_ms,
            p99_ms=came.start_p99_ms,
            busy=came.cpu,
            goal=goal,
            reached=reached,
        ),
        Figure(
            log="chdb",
            name=f"{name}: follow-ups",
            connections=connections,
            rate=(came.answered - viewers) / came.seconds,
            p50_ms=came.follow_up_p50_ms,
            p99_ms=came.follow_up_p99_ms,
        ),
        Figure(log="chdb", name=f"{name}: answered within {PROMPT_S:.0f} s", value=100 * prompt, unit="%"),
        Figure(
            log="chdb",
            name=f"{name}: watching within {WATCHING_S:.0f} s",
            value=100 * watching,
            unit="%",
        ),
        Figure(log="chdb", name=f"{name}: all answered after", value=came.seconds, unit="s"),
        Figure(log="chdb", name=f"{name}: busy answers", value=came.busy, unit=""),
    ]


@app.command()
def kickoff(
    viewers: Annotated[int, typer.Option(min=100, help="How many come.")] = 100_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Within how long, at first.")] = 10.0,
    connections: Annotated[int, typer.Option(min=1, help="What the edges have open to the node.")] = 1_024,
    results: Annotated[Path, typer.Option(help="Where the figures go as JSON.", show_default=False)] = RESULTS,
) -> None:
    """Let a crowd come, with recheck_s off and on, and say how fast it may come."""
    _DATA.mkdir(exist_ok=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=_DATA) as made:
        folder = Path(made)
        machine = look_at_machine(folder)
        for recheck, follow_ups in (("off", 4), ("on", 1)):
            within_s = seconds
            kick_off = partial(_kick_off, folder, viewers=viewers, follow_ups=follow_ups, connections=connections)
            for _ in range(_TRIES_MAX):
                came = kick_off(seconds=within_s)
                name = f"recheck_s {recheck}, {viewers:,} within {within_s:.1f} s"
                err.print(f"{name}: {100 * came.prompt / came.answered:.2f} % answered within {PROMPT_S:.0f} s")
                figures += _figures(
                    name, came, viewers=viewers, seconds=within_s, connections=connections, must_be_prompt=True
                )
                if came.prompt >= _PROMPT_MIN * came.answered:
                    break
                within_s *= _SLOWER
            came = kick_off(seconds=1.0)
            name = f"recheck_s {recheck}, {viewers:,} within 1 s"
            err.print(
                f"{name}: {came.watching:,} watching within {WATCHING_S:.0f} s, all answered after {came.seconds:.1f} s"
            )
            figures += _figures(name, came, viewers=viewers, seconds=1.0, connections=connections, must_be_prompt=False)
    measured = Results(
        machine=machine,
        attempts_by_log={"chdb": viewers},
        tickets=viewers,
        rounds=1,
        seconds=seconds,
        figures=figures,
    )
    write_results(measured, results)
    print_results(measured, out)


if __name__ == "__main__":
    app()
