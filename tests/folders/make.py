"""Make the data folder of an earlier version: `python -m tests.folders.make COMMIT`, typed in the checkout.

Runs the node of that commit, by its own code, has it asked for tickets and plays, and packs what lies on the disk when
it is killed, with what it has answered beside. See README.md.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.nodes import Node, usher
from tests.sevuclient import Account, Connection

HERE = Path(__file__).resolve().parent
_MIGRATIONS = "src/openusher/ledger/sqlite/migrations"
_LEFT_OUT = ("lock", "admin.sock", "ledger.db-shm")
_SHIP_S_MAX = 60.0
_EXPIRE = "2090-01-01 00:00:00"
_SESSIONS_SINCE = 3


class Played:
    """Asks, and keeps a tally of the answers."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.by_reason: Counter[str] = Counter()
        self.by_key: Counter[str] = Counter()

    def ask(self, connection: Connection, key: str, password: str, *, times: int = 1, **question: Any) -> None:
        for _ in range(times):
            status, answer = connection.authorize(self.account, key=key, password=password, **question)
            assert status == 200, answer
            self.tell(key, answer["reason"])

    def tell(self, key: str, reason: str) -> None:
        self.by_key[key] += 1
        self.by_reason[reason] += 1


def main(commit: str) -> None:
    """Write `schema-N.tar.gz` and `schema-N.json` of the commit's schema N."""
    with tempfile.TemporaryDirectory() as folder:
        code, data = Path(folder) / "code", Path(folder) / "data"
        _unpack(commit, code)
        schema = len(list((code / _MIGRATIONS).glob("*.sql")))
        # Of this process's children: nodes and commands are that version's.
        os.environ["PYTHONPATH"] = str(code / "src")
        expected = _fill(data, schema)
        _pack(data, HERE / f"schema-{schema}.tar.gz")
        found = {"schema": schema, "commit": _git("rev-parse", commit).decode().strip(), **expected}
        (HERE / f"schema-{schema}.json").write_text(json.dumps(found, indent=1) + "\n")


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE).stdout


def _unpack(commit: str, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "src"))) as archive:
        archive.extractall(folder, filter="data")


def _fill(data: Path, schema: int) -> dict[str, Any]:
    """Some attempts are shipped to the log, and some wait in the ledger when the node is killed."""
    shipping = Node(data, "--ship-age-s", "0.2").start()
    account = shipping.create_account("acme")
    other = shipping.create_account("orbit")
    played = Played(account)
    with shipping.connect() as connection:
        tickets = [connection.issue(account, uses=uses, expire=_EXPIRE) for uses in (3, 0, 1)]
        revoked = connection.issue(account, expire=_EXPIRE)
        theirs = connection.issue(other, expire=_EXPIRE)
        for ticket in tickets:
            played.ask(connection, ticket["key"], ticket["pass"], times=2)
        played.ask(connection, tickets[0]["key"], "wrong", times=3, ip="2001:db8::1", user_agent="Straße 😀")
        Played(other).ask(connection, theirs["key"], theirs["pass"], times=4)
        _await_shipped(data)
        # A second block.
        assert connection.call(account, "sevu.revoke", key=revoked["key"])["status"] == "success"
        played.ask(connection, revoked["key"], revoked["pass"], times=5, video="films/a")
        _await_shipped(data)
    assert shipping.stop() == 0
    keeping = Node(data, "--ship-age-s", "86400").start()
    with keeping.connect() as connection:
        played.ask(connection, tickets[1]["key"], tickets[1]["pass"], times=7, video="cam2")
        played.ask(connection, "nobody's", "x", times=2)
        session = _begin_session(connection, data, played, tickets[1]) if schema >= _SESSIONS_SINCE else None
        left = {t["key"]: connection.call(account, "sevu.status", key=t["key"])["uses"] for t in [*tickets, revoked]}
    keeping.kill()
    return {
        "account": vars(account),
        "by_key": dict(played.by_key),
        "by_reason": dict(played.by_reason),
        "pending": 9 + (session is not None),
        "passes": {ticket["key"]: ticket["pass"] for ticket in [*tickets, revoked]},
        "uses_left": left,
        "revoked": revoked["key"],
        "unlimited": tickets[1]["key"],
        "session": session,
    }


def _await_shipped(data: Path) -> None:
    deadline = time.monotonic() + _SHIP_S_MAX
    while json.loads(usher("status", "--data", str(data), "--json").stdout)["pending"]:
        assert time.monotonic() < deadline, "it does not ship"


def _begin_session(connection: Connection, data: Path, played: Played, ticket: dict[str, Any]) -> dict[str, Any]:
    """A viewer of a stream guarded by nginx, who has a cookie by which he goes on."""
    cdn = str(played.account.cdn)
    made = json.loads(usher("edge", "create", cdn, "--kind", "nginx", "--data", str(data), "--json").stdout)
    session = {"token": made["token"], "cookie": "", "path": "/live/cam1/part1.ts"}
    status, headers = ask_as_nginx(
        connection, session, f"/live/cam1/index.m3u8?key={ticket['key']}&pass={ticket['pass']}"
    )
    assert status == 200
    played.tell(ticket["key"], "")
    return {**session, "cookie": headers["set-cookie"].partition(";")[0]}


def ask_as_nginx(connection: Connection, session: dict[str, Any], target: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer to what nginx asks about a viewer's request."""
    asked = {
        "Authorization": f"Bearer {session['token']}",
        "X-Original-URI": target,
        "X-Original-Path": target.partition("?")[0],
        "X-Original-Method": "GET",
        "X-Real-IP": "192.0.2.9",
        "Cookie": session["cookie"],
    }
    status, headers, _ = connection.request("GET", "/v1/edges/nginx", headers=asked)
    return status, headers


def _pack(data: Path, file: Path) -> None:
    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(entry.name).name in _LEFT_OUT else entry

    with tarfile.open(file, "w:gz") as archive:
        archive.add(data, arcname="data", filter=kept)


if __name__ == "__main__":
    main(sys.argv[1])
