"""`usher status`: what it says of a node is what is so, and without a node it says what the folder holds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.nodes import Node, running_node, usher, usher_here


def status(data: Path) -> dict[str, Any]:
    done = usher_here("status", "--json", "--data", str(data))
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shown(data: Path) -> dict[str, str]:
    """The screen, by its names."""
    done = usher("status", "--data", str(data))
    assert (done.returncode, done.stderr) == (0, "")
    return {line[:21].strip(): line[21:].strip() for line in done.stdout.splitlines()}


def play(node: Node, *, accepted: int, refused: int) -> None:
    account = node.create_account("played")
    with node.connect() as connection:
        ticket = connection.issue(account, password="user1|x", app="*", video="*")
        for number in range(accepted + refused):
            password = "user1|x" if number < accepted else "a guess"
            connection.authorize(account, key=ticket["key"], password=password)


def resident_bytes(pid: int) -> int:
    """As ps sees it."""
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(found.stdout) * 1024


def taken_bytes(folder: Path) -> int:
    """As du sees it, which shows the sum also where a merge takes a file from under it, and then ends with 1."""
    found = subprocess.run(["du", "-s", "-B1", str(folder)], capture_output=True, text=True, check=False)
    return int(found.stdout.split()[0])


def test_a_running_node_is_shown_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_node(data, "--ship-age-s", "1") as node:
        play(node, accepted=30, refused=10)
        found = status(data)
        running, rates = found["running"], found["running"]["rates"]
        screen = shown(data)
        log_pid = node.child("attemptlog")

        assert running["pids"] == {"door": node.process.pid, "ledger": node.child("ledger"), "log": log_pid}
        assert (found["holder"]["pid"], running["not_ready"], running["log_restarts"]) == (node.process.pid, "", 0)
        # It is up for less than a minute.
        assert round(rates["decisions"] * rates["over_s"]) == found["last_attempt_id"] == 40
        assert round(rates["accepted"] * rates["over_s"]) == 30
        assert 0 < rates["over_s"] < 60 > running["up_s"] > 0
        for name, pid in running["pids"].items():
            assert abs(found["memory_bytes"][name] - resident_bytes(pid)) < 30_000_000
        assert abs(sum(found["folder_bytes"].values()) - taken_bytes(data)) < 5_000_000
        assert found["folder_bytes"]["ledger"] > 0 < found["folder_bytes"]["log"]
        assert 0 < found["disk_bytes"]["free"] < found["disk_bytes"]["size"]

        assert screen["node"].endswith(f" UTC, process {node.process.pid}")
        assert screen["decisions"].endswith(" s, 75% of them accepted")
        assert (screen["ready"], screen["attempts recorded"], screen["log process"]) == (
            "yes",
            "40",
            "running, restarted 0 times",
        )
    stopped = status(data)
    assert (stopped["running"], stopped["holder"], stopped["memory_bytes"]) == (None, None, {})
    assert (stopped["last_attempt_id"], shown(data)["node"]) == (40, "does not run")


def test_a_node_that_is_not_ready_says_why(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_node(data, "--log", "ledger", "--free-bytes-min", str(10**17)) as node:
        usher("account", "list", "--data", str(data))
        found = status(data)
        screen = shown(data)

        assert found["running"]["pids"].keys() == {"door", "ledger"}
        assert found["running"]["log_restarts"] is None
        assert screen["ready"] == "no: the disk is nearly full"
        assert node.process.poll() is None


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    done = usher_here("status", "--data", str(tmp_path / "nowhere"))

    assert (done.returncode, done.stdout) == (1, "")
    assert "no such data folder" in done.stderr


def test_root_is_told_when_a_stopped_nodes_folder_is_a_services(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_node(data, "--log", "ledger"):
        own = usher("status", "--data", str(data))
    stopped = usher("status", "--data", str(data))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(data, 65_534, 65_534)
    others = usher("status", "--data", str(data))

    assert (own.stderr, stopped.stderr, others.returncode) == ("", "", 0)
    assert ("belongs to user 65534" in others.stderr) == is_root
