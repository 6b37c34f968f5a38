"""Kick-off: a hundred thousand viewers who come within seconds, each with a ticket for one use.

`python -m bench.kickoff`. Each starts through an nginx edge's door and goes on with four follow-ups, or, with
`recheck_s` at the edge, with the one that the edge has not kept; or a real nginx stands before the node, and viewers
ask it for the files. First they come within ten seconds; where they are not answered to 99.9 % within a second, again
within more, until they are. Then all come within one second. After each the count must be one a viewer.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, NamedTuple

import msgspec
import typer
from rich.console import Console

from bench import traffic
from bench.counting import WrongCount, ask_count
from bench.crowd import PROMPT_S, WATCHING_S, Came, Crowd, let_come
from bench.guarded import guarded_media
from bench.load import LoadFailed
from bench.machine import look_at_machine
from bench.process import Account, Server, ServerFailed, create_account, create_edge, descriptors_max, node, usher
from bench.report import Figure, Results, print_results, write_results
from openusher.settings import LogKind

# On the disk of the checkout, as of the other benches.
_DATA = Path(__file__).with_name("data")
_PROMPT_MIN = 0.999
# Where they come too fast: so much slower each time, until it holds.
_SLOWER = 1.3
_TRIES_MAX = 8
_ASKED: tuple[dict[str, str | int], ...] = ({}, {"success": "1"})
_SEGMENTS, _RECHECK_S = 4, 10
# What a process needs beside connections: files, pipes, what it listens on.
_OTHER_DESCRIPTORS = 200
_LOOK_S = 0.2
_LOOK_S_MAX = 30.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out, err = Console(width=170), Console(stderr=True, highlight=False, soft_wrap=True)


class Through(StrEnum):
    """Whose answers the crowd waits for."""

    DOOR = "door"
    NGINX = "nginx"


class Kickoff(msgspec.Struct, frozen=True, kw_only=True):
    """A crowd that comes, over so many connections, to the node's door or to an nginx before it."""

    viewers: int
    connections: int
    through: Through

    def results(self) -> Path:
        """Where the figures go where nothing else was said."""
        name = "kickoff.json" if self.through is Through.DOOR else "kickoff-nginx.json"
        return Path(__file__).with_name(name)


class Kicked(NamedTuple):
    """What came of it, how long /readyz took at most meanwhile, and the memory of the door after it."""

    came: Came
    readyz_ms: float
    door_mb: float


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


@contextmanager
def _met(
    kickoff: Kickoff, folder: Path, door: Server, account: Account, token: str, *, rechecks: bool, seconds: float
) -> Iterator[Crowd]:
    """The crowd, and whom it asks."""
    crowd = Crowd(
        host=door.host,
        port=door.port,
        token=token,
        viewers=kickoff.viewers,
        seconds=seconds,
        # What the edge would not have kept.
        follow_ups=1 if rechecks else _SEGMENTS,
        connections=kickoff.connections,
    )
    if kickoff.through is Through.DOOR:
        yield crowd
        return
    recheck_s = _RECHECK_S if rechecks else 0
    with guarded_media(
        folder, door, account, segments=_SEGMENTS, recheck_s=recheck_s, connections=kickoff.connections
    ) as nginx:
        yield msgspec.structs.replace(crowd, host=nginx.host, port=nginx.port, token="", follow_ups=_SEGMENTS)


def kick_off(kickoff: Kickoff, folder: Path, *, rechecks: bool, seconds: float) -> Kicked:
    """Let the crowd come within so many seconds, to a node in a new folder in `folder`. Raises WrongCount where an
    answer was wrong, or the attempts counted are not one a viewer, all accepted; LoadFailed, ServerFailed."""
    with tempfile.TemporaryDirectory(dir=folder) as made, _sold_out(Path(made), viewers=kickoff.viewers) as sold:
        door, account, _ = sold
        with _met(kickoff, Path(made), *sold, rechecks=rechecks, seconds=seconds) as crowd, _ready(door) as looks_ms:
            came = let_come(crowd)
        if came.failures:
            raise WrongCount(f"wrong answers: {came.failures}")
        counted = [ask_count(door, account, asked).error_count for asked in _ASKED]
        if counted != [kickoff.viewers, kickoff.viewers]:
            raise WrongCount(
                f"{kickoff.viewers} viewers started, {counted[0]} attempts counted, {counted[1]} of them accepted"
            )
        return Kicked(came, readyz_ms=max(looks_ms), door_mb=door.resident_mb())


@contextmanager
def _ready(door: Server) -> Iterator[list[float]]:
    """Ask the node again and again whether it is ready, as a balancer does; how long each answer took, in ms. Raises
    WrongCount where it said no, or nothing."""
    looks_ms: list[float] = []
    said: list[str] = []
    is_over = Event()

    def look() -> None:
        while True:
            began = time.perf_counter()
            try:
                with closing(HTTPConnection(door.host, door.port, timeout=_LOOK_S_MAX)) as asking:
                    asking.request("GET", "/readyz")
                    answer = asking.getresponse()
                    text = answer.read().decode()
            except (OSError, HTTPException) as error:
                said.append(type(error).__name__)
            else:
                looks_ms.append(1000 * (time.perf_counter() - began))
                if answer.status != HTTPStatus.OK:
                    said.append(text)
            if is_over.wait(_LOOK_S):
                return

    looking = Thread(target=look)
    looking.start()
    try:
        yield looks_ms
    finally:
        is_over.set()
        looking.join()
    if said:
        raise WrongCount(f"/readyz did not say that the node is ready: {said}")


def _figures(name: str, kicked: Kicked, kickoff: Kickoff, *, seconds: float, must_be_prompt: bool) -> list[Figure]:
    came, viewers, connections = kicked.came, kickoff.viewers, kickoff.connections
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
        *(
            Figure(log="chdb", name=f"{name}: {what}", value=value, unit=unit)
            for what, value, unit in (
                (f"answered within {PROMPT_S:.0f} s", 100 * prompt, "%"),
                (f"watching within {WATCHING_S:.0f} s", 100 * watching, "%"),
                ("all answered after", came.seconds, "s"),
                ("busy answers", came.busy, ""),
                ("/readyz, the slowest", kicked.readyz_ms, "ms"),
                ("door resident", kicked.door_mb, "MB"),
            )
        ),
    ]


@app.command()
def kickoff(
    viewers: Annotated[
        int | None, typer.Option(min=100, help="How many come. [default: 100000; through nginx 20000]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Within how long, at first.")] = 10.0,
    connections: Annotated[
        int, typer.Option(min=1, help="How many of them ask at once: what is open to the node, or to nginx.")
    ] = 1_024,
    through: Annotated[
        Through, typer.Option(help="Ask the node as an edge does, or a real nginx before it as viewers do.")
    ] = Through.DOOR,
    results: Annotated[
        Path | None,
        typer.Option(help="Where the figures go as JSON. [default: kickoff.json, or kickoff-nginx.json]"),
    ] = None,
) -> None:
    """Let a crowd come, with recheck_s off and on, and say how fast it may come.

    The crowd, the node and, where it is asked for, nginx share this machine. Where more than the node can take wait at
    once, some are told that it is busy and ask again as hls.js does: --connections 19000 shows it. A wrong answer, a
    connection that is closed or a count that is not one a viewer ends the run with status 1. The table is on stdout.

    Example: python -m bench.kickoff --viewers 2000 --seconds 1 --through nginx
    """
    room = descriptors_max() - _OTHER_DESCRIPTORS
    if connections > room:
        raise typer.BadParameter(
            f"--connections: a process has {descriptors_max():,} descriptors here; give {room:,} at most, or raise "
            "the limit (ulimit -Hn)"
        )
    asked = Kickoff(
        viewers=viewers or (100_000 if through is Through.DOOR else 20_000), connections=connections, through=through
    )
    _DATA.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=_DATA) as made:
            measured = _measure(asked, Path(made), seconds=seconds)
    except (WrongCount, LoadFailed, ServerFailed) as error:
        err.print(f"bench: {error}", markup=False)
        raise typer.Exit(1) from None
    write_results(measured, results or asked.results())
    print_results(measured, out)


def _measure(asked: Kickoff, folder: Path, *, seconds: float) -> Results:
    machine = look_at_machine(folder)
    figures: list[Figure] = []
    for rechecks in (False, True):
        come = partial(kick_off, asked, folder, rechecks=rechecks)
        recheck, within_s = "on" if rechecks else "off", seconds
        for _ in range(_TRIES_MAX):
            kicked = come(seconds=within_s)
            prompt = kicked.came.prompt / kicked.came.answered
            name = f"recheck_s {recheck}, {asked.viewers:,} within {within_s:.1f} s"
            err.print(f"{name}: {prompt:.2%} answered within {PROMPT_S:.0f} s, {kicked.came.busy:,} busy answers")
            figures += _figures(name, kicked, asked, seconds=within_s, must_be_prompt=True)
            if prompt >= _PROMPT_MIN:
                break
            within_s *= _SLOWER
        kicked = come(seconds=1.0)
        name = f"recheck_s {recheck}, {asked.viewers:,} within 1 s"
        err.print(
            f"{name}: {kicked.came.watching:,} watching within {WATCHING_S:.0f} s, all answered after "
            f"{kicked.came.seconds:.1f} s, {kicked.came.busy:,} busy answers"
        )
        figures += _figures(name, kicked, asked, seconds=1.0, must_be_prompt=False)
    return Results(
        machine=machine,
        attempts_by_log={"chdb": asked.viewers},
        tickets=asked.viewers,
        rounds=1,
        seconds=seconds,
        figures=figures,
    )


if __name__ == "__main__":
    app(prog_name="python -m bench.kickoff")
