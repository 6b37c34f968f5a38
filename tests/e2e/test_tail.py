"""`usher tail` beside a node: each attempt once, until Ctrl-C or the end of the node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 4


class Tail:
    """A started `usher tail`, whose lines go into a file."""

    def __init__(self, node: Node, folder: Path, *flags: str) -> None:
        self._shown = folder / "tail.out"
        self._said = folder / "tail.err"
        with self._shown.open("w") as out, self._said.open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openusher", "tail", *flags, "--data", str(node.data)],
                stdout=out,
                stderr=err,
                env={**os.environ, "COLUMNS": "200"},
            )

    def is_heard(self, text: str) -> bool:
        """Wait until it shows `text`; or say that it has not within a second."""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if text in self._shown.read_text():
                return True
            assert self._process.poll() is None, self._said.read_text()
            time.sleep(0.05)
        return False

    def end(self, number: int | None = signal.SIGINT) -> tuple[int, str, str]:
        """Status, lines and words, at its end."""
        if number is not None:
            self._process.send_signal(number)
        try:
            status = self._process.wait(30)
        finally:
            self._process.kill()
        return status, self._shown.read_text(), self._said.read_text()


def listening(node: Node, account: Account, folder: Path, *flags: str) -> Tail:
    """One that has heard an attempt."""
    tail = Tail(node, folder, *flags)
    with node.connect() as connection:
        for number in range(60):
            connection.authorize(account, key="k", video=f"heard-{number}")
            if tail.is_heard("heard-"):
                return tail
    raise AssertionError("it hears nothing")


def test_attempts_are_shown_once_and_as_text_until_ctrl_c(node: Node, tmp_path: Path) -> None:
    site, other = node.create_account("tailed"), node.create_account("not tailed")
    tail = listening(node, site, tmp_path, str(site.cdn), "--refused", "--video", "heard*|end|x*", "--json")
    with node.connect() as connection:
        for number in range(50):
            connection.authorize(site, key="k", password="s3cret", video=f"x\x1b[31m\u202e{number}")
            connection.authorize(other, key="k", video=f"x-other-{number}")
            connection.authorize(site, key="k", video=f"unmatched-{number}")
        connection.authorize(site, key="k", video="end")
    assert tail.is_heard('"end"')
    status, shown, said = tail.end()

    assert (status, said) == (DONE, "")
    rows = [json.loads(line) for line in shown.splitlines()]
    assert [row["video"] for row in rows if "heard" not in row["video"]] == [
        *(f"x\x1b[31m\u202e{number}" for number in range(50)),
        "end",
    ]
    assert {row["cdn"] for row in rows} == {site.cdn}
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert "s3cret" not in shown
    count = usher("attempts", "count", str(site.cdn), "--after-id", str(rows[0]["id"] - 1), "--video", "heard*|end|x*",
                  "--data", str(node.data))  # fmt: skip
    assert f"{len(rows)}\n" == count.stdout


def test_a_node_that_stops_says_so_to_its_listeners_at_once(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", "--log", "ledger") as node:
        account = node.create_account("stops")
        tail = listening(node, account, tmp_path)
        began = time.monotonic()
        node.process.send_signal(signal.SIGTERM)
        status, shown, said = tail.end(None)
        assert node.process.wait(30) == 0
        # Requests that must be broken off get three seconds.
        assert time.monotonic() - began < 3

    assert status == UNREACHABLE
    assert "the node has stopped" in said
    assert f"  {account.cdn}  Missing Auth Token" in shown


def test_a_node_that_is_killed_leaves_nobody_waiting(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    try:
        tail = listening(node, node.create_account("killed"), tmp_path)
    finally:
        node.kill()
    status, _, said = tail.end(None)

    assert status == UNREACHABLE
    assert "does not answer" in said
    nobody = usher("tail", "--data", str(node.data))
    assert (nobody.returncode, nobody.stdout) == (UNREACHABLE, "")
    assert "usher serve" in nobody.stderr


def test_what_cannot_be_listened_to_is_refused_with_a_word(node: Node) -> None:
    for flags, status, said in (
        (("77",), FAILED, "there is no account with cdn 77"),
        (("--ip", "nowhere"), USAGE, "--ip: cannot read the address"),
        (("--from", "-1 day"), USAGE, "--from"),
    ):
        done = usher("tail", *flags, "--data", str(node.data))

        assert (done.returncode, done.stdout) == (status, ""), flags
        assert said in done.stderr
