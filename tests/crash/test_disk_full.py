"""A disk that is full for real: what was answered stays, starts are busy, and all goes on when there is room again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Promise
from tests.nodes import Node, usher
from tests.sevuclient import Account, Connection

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

_SMALL = ("--log", "ledger")
_DISK_MB = 48
# chDB's own files on top.
_DISK_WITH_LOG_MB = 160
# Ends the flood where the disk does not.
_ATTEMPTS_MAX = 40_000
_PAGE = "https://shop.example/" + "x" * 2_000


@contextmanager
def _node_on_small_disk(
    data: Path, *flags: str, disk_mb: int = _DISK_MB, free_bytes_min: int
) -> Iterator[tuple[Node, Path]]:
    """A node whose data folder is a file system of its own, and the folder as seen from outside its namespace."""
    data.mkdir()
    mount = f'mount -t tmpfs -o size={disk_mb}m,mode=700 tmpfs "{data}" && exec "$@"'
    alone = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    within = ("unshare", *alone, "--mount", "sh", "-c", mount, "sh")
    settings = {"USHER_FREE_BYTES_MIN": str(free_bytes_min)}
    node = Node(data, *flags, within=within, settings=settings).start()
    try:
        yield node, Path(f"/proc/{node.process.pid}/root{data}")
    finally:
        node.kill()


def _account(data: Path) -> Account:
    made = usher("account", "create", "acme", "--data", str(data), "--json")
    assert made.returncode == 0, made.stderr
    return Account(**json.loads(made.stdout))


def _flood(connection: Connection, account: Account, ticket: dict[str, str]) -> int:
    """Ask until the door is busy; returns how many attempts were answered."""
    for number in range(_ATTEMPTS_MAX):
        question = {"key": ticket["key"], "password": ticket["pass"], "pageurl": _PAGE}
        status, _ = connection.authorize(account, **question)
        if status == 503:
            return number
        assert status == 200
    raise AssertionError("the disk did not fill up")


def test_on_a_full_disk_nothing_answered_is_lost_and_room_brings_the_node_back(
    tmp_path: Path, promise: Promise
) -> None:
    disk = _node_on_small_disk(tmp_path / "data", *_SMALL, free_bytes_min=0)
    with disk as (node, seen), node.connect() as connection:
        account = _account(seen)
        ticket = connection.issue(account)
        filler = seen / "filler"
        filler.write_bytes(b"x" * (_DISK_MB - 12) * 1024 * 1024)
        answered = _flood(connection, account, ticket)
        counted_full = connection.count(account)
        filler.unlink()
        status, _ = connection.authorize(account, key=ticket["key"], password=ticket["pass"])

        assert answered > 100
        assert counted_full == answered
        assert status == 200
        assert connection.count(account) == answered + 1
        assert usher("check", "--data", str(seen), *_SMALL).returncode == 0
    promise("Durable before answered", attempts_until_the_disk_was_full=answered, lost=0)


def test_below_the_least_free_space_starts_are_busy_while_revoking_goes_on(tmp_path: Path) -> None:
    free_bytes_min = 16 * 1024 * 1024
    disk = _node_on_small_disk(tmp_path / "data", *_SMALL, free_bytes_min=free_bytes_min)
    with disk as (node, seen), node.connect() as connection:
        account = _account(seen)
        ticket = connection.issue(account)
        answered = _flood(connection, account, ticket)
        issued = connection.call(
            account, "sevu.request", app="*", video="*", ip="0.0.0.0/0", uses=0, password="one more, please"
        )
        revoked = connection.call(account, "sevu.revoke", key=ticket["key"])
        ready, _, _ = connection.request("GET", "/readyz")

        assert issued["code"] == 1000
        assert revoked["status"] == "success"
        assert ready == 503
        assert connection.count(account) == answered
        # The disk is looked at once a second, in which a WAL may be moved into its file.
        assert os.statvfs(seen).f_bavail * os.statvfs(seen).f_frsize > free_bytes_min // 4


def test_below_the_least_free_space_what_waits_is_shipped_and_counted(tmp_path: Path, promise: Promise) -> None:
    free_bytes_min = 64 * 1024 * 1024
    # Attempts wait for so long that the disk is low by then.
    flags = ("--log", "chdb", "--ship-age-s", "10")
    disk = _node_on_small_disk(tmp_path / "data", *flags, disk_mb=_DISK_WITH_LOG_MB, free_bytes_min=free_bytes_min)
    with disk as (node, seen), node.connect() as connection:
        account = _account(seen)
        question = {"key": connection.issue(account)["key"], "password": "a guess"}
        for _ in range(20):
            assert connection.authorize(account, **question)[0] == 200
        free = os.statvfs(seen).f_bavail * os.statvfs(seen).f_frsize
        (seen / "filler").write_bytes(bytes(free - free_bytes_min // 2))
        _until(lambda: connection.request("GET", "/readyz")[0] == 503)
        busy, _ = connection.authorize(account, **question)
        _until(lambda: _pending(seen) == 0)
        said = [event["event"] for event in node.events()]

        assert busy == 503
        assert said.index("disk.ran_low") < said.index("block.shipped")
        assert "disk.recovered" not in said
        assert connection.count(account) == 20
        assert usher("check", "--data", str(seen)).returncode == 0
    promise("Counted exactly once", attempts_shipped_from_a_disk_that_is_nearly_full=20)


def _pending(data: Path) -> int:
    return int(json.loads(usher("status", "--data", str(data), "--json").stdout)["pending"])


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
