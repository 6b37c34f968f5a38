"""A folder's way from the small mode to a log, and the way back that there is not."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from tests.conftest import Promise
from tests.nodes import running_node, usher
from tests.sevuclient import Account, Connection

SMALL = ("--log", "ledger")
# A log that takes every attempt as soon as it looks.
EAGER = ("--log", "chdb", "--ship-rows", "1")


def status(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(usher("status", "--data", str(data), "--json").stdout)
    return found


def await_shipped(data: Path) -> None:
    """Return once nothing waits in the ledger."""
    deadline = time.monotonic() + 60
    while status(data)["pending"]:
        assert time.monotonic() < deadline


def ask_some(connection: Connection, account: Account, times: int) -> None:
    ticket = connection.issue(account, uses=times // 2)
    for number in range(times):
        question = {"key": ticket["key"], "password": ticket["pass"], "video": f"v{number % 3}"}
        assert connection.authorize(account, **question)[0] == 200


def answers(connection: Connection, account: Account) -> list[Any]:
    """What is counted and listed, by several ways."""
    filters: list[dict[str, Any]] = [{}, {"success": 1}, {"success": 0}, {"video": "v1"}, {"video": "v*"}]
    counted: list[Any] = [connection.count(account, **each) for each in filters]
    grouped = connection.call(account, "sevu.errorcount", group_by="video")
    listed = connection.call(account, "sevu.errorlog", limit=100)
    return [*counted, grouped["groups"], [attempt["id"] for attempt in listed["attempts"]]]


def content(data: Path) -> dict[str, str]:
    """Every file of the folder, but the lock, in which the holder writes its name."""
    files = sorted(path for path in data.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_the_small_mode_recorded_ships_when_a_log_is_added_and_counts_the_same(
    tmp_path: Path, promise: Promise
) -> None:
    data = tmp_path / "data"
    with running_node(data, *SMALL) as node:
        account = node.create_account("site")
        with node.connect() as connection:
            ask_some(connection, account, 30)
            small = answers(connection, account)
    with running_node(data, *EAGER) as node, node.connect() as connection:
        at_once = answers(connection, account)
        await_shipped(data)
        shipped = answers(connection, account)
        ask_some(connection, account, 3)
        more = connection.count(account)
    checked = usher("check", "--data", str(data))

    assert small[:3] == [30, 15, 15]
    assert small == at_once == shipped
    assert more == 33
    assert (checked.returncode, checked.stdout.split(":")[0]) == (0, "Sound")
    promise("Counted exactly once", attempts_moved_from_the_small_mode=30)


def test_a_folder_that_has_shipped_is_refused_to_the_small_mode_and_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_node(data, *EAGER) as node:
        account = node.create_account("site")
        with node.connect() as connection:
            ask_some(connection, account, 10)
            await_shipped(data)
            before = answers(connection, account)
    found = content(data)
    refused = usher("serve", "--data", str(data), "--port", "0", *SMALL)

    assert refused.returncode == 1
    assert "has shipped attempts to its log; start it without --log ledger" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert content(data) == found
    with running_node(data, *EAGER) as node, node.connect() as connection:
        assert answers(connection, account) == before
