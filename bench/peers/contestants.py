"""Who is measured: how each is asked, and what those that keep attempts hold when one looks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import apsw
import asyncpg
import httpx
import msgspec

from bench.counting import HEADERS as FORM
from bench.counting import PATH as SEVU
from bench.counting import Parameters, WrongCount, ask_count, form_line
from bench.load import Load, Report, run_load
from bench.peers.filters import Counted, Group
from bench.process import Account, Address, Server

AUTHORIZE = "/v1/authorize"
_JSON = {"content-type": "application/json"}
_TIMEOUT_S = 60.0


class Door(NamedTuple):
    """Where a contestant decides, what it is sent, and how its answers are known."""

    at: Address | Server
    bodies: Path
    headers: dict[str, str]
    expected: str
    method: str = "POST"

    def load(self, *, connections: int, seconds: float, rate: float | None = None) -> Report:
        """As fast as it goes, or in an open loop at `rate`. Raises LoadFailed for an answer that is none."""
        return run_load(
            Load(
                host=self.at.host,
                port=self.at.port,
                path=AUTHORIZE,
                headers=self.headers,
                bodies=str(self.bodies),
                expected=self.expected,
                connections=connections,
                warmup_s=max(0.3, seconds / 4),
                seconds=seconds,
                method=self.method,
                rate=rate,
                marked='"allow":true',
            )
        )


def json_door(at: Address | Server, bodies: Path, *, token: str, expected: str = '"attempt_id":') -> Door:
    """A door that takes Usher's questions."""
    return Door(at, bodies, {**_JSON, "authorization": f"Bearer {token}"}, expected)


class Counter(Protocol):
    """Where a contestant counts."""

    def ask(self, parameters: Parameters) -> Counted: ...

    def load(self, asked: Sequence[Parameters], folder: Path, *, seconds: float) -> Report:
        """The questions over one connection, each one time."""


class UsherCounter:
    """sevu.errorcount: signed, over HTTP."""

    def __init__(self, at: Server, account: Account) -> None:
        self._at, self._account = at, account

    def ask(self, parameters: Parameters) -> Counted:
        reply = ask_count(self._at, self._account, parameters)
        groups: list[Group] = [{"value": str(group["value"]), "count": int(group["count"])} for group in reply.groups]
        return {"count": reply.error_count, "groups": groups}

    def load(self, asked: Sequence[Parameters], folder: Path, *, seconds: float) -> Report:
        lines = [form_line("sevu.errorcount", parameters, self._account).encode() for parameters in asked]
        return _count_load(self._at, SEVU, FORM, lines, '"status":"success"', folder, seconds=seconds)


class PeerCounter:
    """A peer's `/count`: JSON, over HTTP."""

    def __init__(self, at: Server) -> None:
        self.at = at

    def ask(self, parameters: Parameters) -> Counted:
        url = f"http://{self.at.host}:{self.at.port}/count"
        reply = httpx.post(url, content=msgspec.json.encode(parameters), headers=_JSON, timeout=_TIMEOUT_S)
        return msgspec.json.decode(reply.content, type=Counted)

    def load(self, asked: Sequence[Parameters], folder: Path, *, seconds: float) -> Report:
        lines = [msgspec.json.encode(parameters) for parameters in asked]
        return _count_load(self.at, "/count", _JSON, lines, '"count":', folder, seconds=seconds)


def _count_load(
    at: Server,
    path: str,
    headers: dict[str, str],
    lines: Sequence[bytes],
    expected: str,
    folder: Path,
    *,
    seconds: float,
) -> Report:
    bodies = folder / "counts.txt"
    bodies.write_bytes(b"\n".join(lines))
    return run_load(
        Load(
            host=at.host,
            port=at.port,
            path=path,
            headers=headers,
            bodies=str(bodies),
            expected=expected,
            connections=1,
            # Fast ones are through with their questions before a warm-up is over.
            warmup_s=0.0,
            seconds=seconds,
            once=True,
        )
    )


class Held(NamedTuple):
    """What lies in a store: attempts, and uses that its tickets have taken."""

    attempts: int
    uses: int


class Store(Protocol):
    """Looks into a contestant's own files, past its service."""

    def held(self) -> Held: ...


class UsherStore:
    """The node's ledger: attempts that it has shipped, and those that it has not yet."""

    def __init__(self, data: Path) -> None:
        self._file = next(data.glob("ledger.db"))

    def held(self) -> Held:
        return _look(
            self._file,
            "SELECT (SELECT coalesce(sum(rows), 0) FROM blocks) + "
            "(SELECT count(*) FROM attempts WHERE id > (SELECT coalesce(max(last_id), 0) FROM blocks)), "
            "(SELECT sum(uses_taken) FROM tickets)",
        )


class SqliteStore:
    """The peer's file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def held(self) -> Held:
        return _look(self._file, "SELECT (SELECT count(*) FROM attempts), (SELECT sum(uses_taken) FROM tickets)")


def _look(file: Path, statement: str) -> Held:
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        attempts, uses = connection.execute(statement).fetchall()[0]
        return Held(int(str(attempts)), int(str(uses)))
    finally:
        connection.close()


class PostgresStore:
    """The peer's database."""

    def __init__(self, database: str) -> None:
        self._database = database

    def held(self) -> Held:
        return asyncio.run(self._held())

    async def _held(self) -> Held:
        connection = await asyncpg.connect(self._database)
        try:
            row = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM attempts), (SELECT sum(uses_taken) FROM tickets)"
            )
            return Held(*row)
        finally:
            await connection.close()


class Book:
    """Knows what a contestant has acknowledged, and sees after every run that it has kept and spent just that."""

    def __init__(self, name: str, store: Store, counter: Counter) -> None:
        self._name, self._store, self._counter = name, store, counter
        self._due = store.held()

    def enter(self, report: Report) -> None:
        """Raises WrongCount: sent, acknowledged, stored, found by search, or uses spent differ."""
        if report.sent != report.answered:
            raise WrongCount(f"{self._name}: {report.sent} sent, {report.answered} acknowledged")
        self._due = Held(self._due.attempts + report.answered, self._due.uses + report.marked)
        held = self._store.held()
        if held != self._due:
            raise WrongCount(f"{self._name}: {self._due} acknowledged, {held} in its store")
        found = self._counter.ask({"success": 1})["count"] + self._counter.ask({"success": 0})["count"]
        if found != self._due.attempts:
            raise WrongCount(f"{self._name}: {self._due.attempts} attempts acknowledged, {found} found by search")
