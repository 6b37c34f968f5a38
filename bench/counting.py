"""sevu.errorcount by each filter, by several at once, and in groups: signed, over HTTP, one connection."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlencode

import httpx
import msgspec

from bench import traffic
from bench.fill import DAYS
from bench.load import Load, Report, run_load
from bench.process import Account, Server
from openusher.cli.signed import signed_command
from openusher.settings import LogKind

Parameters = dict[str, str | int]

PATH = "/stable/"
HEADERS = {"content-type": "application/x-www-form-urlencoded"}
# Flags of a node that keeps no counts: a question asked again costs what it cost the first time; and no totals either.
NO_COUNTS_KEPT = ("--kept-counts", "0")
COUNTED_ANEW = (*NO_COUNTS_KEPT, "--kept-totals-bytes-max", "0")
# Of the seconds that are measured, for how long commands are sent before.
WARMUP = 0.25
_QUESTIONS = 200
# A log is meant to answer these in a few milliseconds; the ledger alone, any of them in a fifth of a second.
_BY_VIEWER = frozenset({"key", "pass", "user", "ip"})
_TIMEOUT_S = 60.0


class Question(msgspec.Struct, frozen=True):
    """A kind of count: its name in the table, and how one of its kind is asked for, given the numbers of tickets that
    its account has."""

    name: str
    ask: Callable[[random.Random, Sequence[int]], Parameters]

    def goal_ms(self, log: LogKind) -> float | None:
        """The p50 to reach, of ten million attempts in chDB and of one million in the ledger (issue 3, section 6)."""
        if log is LogKind.CHDB:
            return 15.0 if self.name in _BY_VIEWER else None
        return 5.0 if self.name == "key" else 200.0


def _range(chance: random.Random) -> Parameters:
    """Three days of those that were filled."""
    start = int(time.time()) - chance.randrange(3 * 86_400, DAYS * 86_400)
    return {"starttime": start, "endtime": start + 3 * 86_400}


QUESTIONS = (
    Question("key", lambda chance, tickets: {"key": traffic.key(chance.choice(tickets))}),
    Question("pass", lambda chance, tickets: {"pass": traffic.password(chance.choice(tickets))}),
    Question("user", lambda chance, tickets: {"user": traffic.user(chance.choice(tickets))}),
    Question("ip", lambda chance, tickets: {"ip": traffic.address(chance.choice(tickets))}),
    Question("app", lambda chance, tickets: {"app": chance.choice(traffic.APPS)}),
    Question("video", lambda chance, tickets: {"video": f"live/cam{chance.randrange(traffic.CAMERAS)}"}),
    Question("success", lambda chance, tickets: {"success": chance.randrange(2)}),
    Question("reason", lambda chance, tickets: {"reason": "Invalid IP Address"}),
    Question("server_ip", lambda chance, tickets: {"server_ip": chance.choice(traffic.SERVERS)}),
    Question("time range", lambda chance, tickets: _range(chance)),
    Question("video pattern", lambda chance, tickets: {"video": f"vod/title-{chance.randrange(10)}*|live/cam7*"}),
    Question("video live/*", lambda chance, tickets: {"video": "live/*"}),
    Question("ip net /20", lambda chance, tickets: {"ip": f"{traffic.address(chance.choice(tickets))}/20"}),
    Question("none", lambda chance, tickets: {}),
    Question("key + success", lambda chance, tickets: {"key": traffic.key(chance.choice(tickets)), "success": 1}),
    Question("app + video + success", lambda chance, tickets: {"app": "acme-live", "video": "live/*", "success": 0}),
    Question("by key", lambda chance, tickets: {"group_by": "key"}),
    Question("by reason", lambda chance, tickets: {"group_by": "reason"}),
    Question("by hour", lambda chance, tickets: {"group_by": "hour"}),
)


def form_line(command: str, parameters: Parameters, account: Account) -> str:
    """A signed command as the body of a form."""
    return urlencode({"json": signed_command(command, parameters, account.signer).sent})


def measure_counts(
    server: Server, account: Account, question: Question, *, tickets: int, seconds: float, folder: Path
) -> Report:
    chance = random.Random(question.name)
    asked = ((account, question.ask(chance, range(tickets))) for _ in range(_QUESTIONS))
    return run_load(counts_load(server, asked, seconds=seconds, bodies=folder / "counts.txt"))


def counts_load(
    server: Server,
    asked: Iterable[tuple[Account, Parameters]],
    *,
    seconds: float,
    bodies: Path,
    connections: int = 1,
) -> Load:
    """Counts of these accounts by these parameters, in no order; they are written to the file `bodies`."""
    bodies.write_text("\n".join(form_line("sevu.errorcount", parameters, account) for account, parameters in asked))
    return commands_load(server, bodies, connections=connections, seconds=seconds)


def commands_load(server: Server, bodies: Path, *, connections: int, seconds: float, once: bool = False) -> Load:
    """The signed commands in the file `bodies`, `form_line` by line, each of which must succeed."""
    return Load(
        host=server.host,
        port=server.port,
        path=PATH,
        headers=HEADERS,
        bodies=str(bodies),
        expected='"status":"success"',
        connections=connections,
        warmup_s=WARMUP * seconds,
        seconds=seconds,
        once=once,
    )


class WrongCount(Exception):
    """errorcount does not say what was sent and acknowledged."""


class Reply(msgspec.Struct, frozen=True):
    """Of a failure `error_count` is missing: it is none that could be read."""

    error_count: int
    groups: list[dict[str, str | int]] = []


def ask_count(server: Server, account: Account, parameters: Parameters) -> Reply:
    """One errorcount. Raises msgspec.ValidationError where it failed."""
    body = form_line("sevu.errorcount", parameters, account)
    url = f"http://{server.host}:{server.port}{PATH}"
    return msgspec.json.decode(httpx.post(url, content=body, headers=HEADERS, timeout=_TIMEOUT_S).content, type=Reply)


class Checker:
    """Knows how many attempts a node has acknowledged, and sees after every run that errorcount says the same."""

    def __init__(self, server: Server, account: Account, acknowledged: int) -> None:
        self._server, self._account = server, account
        self.acknowledged = acknowledged

    def check(self, reports: Iterable[Report] = ()) -> None:
        """Add what was acknowledged since. Raises WrongCount: sent, acknowledged and counted differ."""
        for report in reports:
            if report.sent != report.answered:
                raise WrongCount(f"{report.sent} sent, {report.answered} acknowledged")
            self.acknowledged += report.answered
        counted = ask_count(self._server, self._account, {}).error_count
        if counted != self.acknowledged:
            raise WrongCount(f"{self.acknowledged} acknowledged, {counted} counted")

    def check_reasons(self, by_reason: dict[str, int]) -> None:
        """Raises WrongCount: the groups by reason are not those that the ledger answered with."""
        reply = ask_count(self._server, self._account, {"group_by": "reason"})
        groups = {group["value"]: group["count"] for group in reply.groups}
        if groups != by_reason:
            raise WrongCount(f"by reason {by_reason} acknowledged, {groups} counted")

    def check_each(self, questions: Sequence[Parameters], acknowledged: Sequence[int]) -> None:
        """Raises WrongCount: a question is not answered with the number that was acknowledged."""
        for parameters, number in zip(questions, acknowledged, strict=True):
            counted = ask_count(self._server, self._account, parameters).error_count
            if counted != number:
                raise WrongCount(f"by {', '.join(parameters)}: {number} acknowledged, {counted} counted")
