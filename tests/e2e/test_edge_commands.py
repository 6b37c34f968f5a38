"""`usher edge` as an operator types it, on a running node: an edge is set otherwise, rotated and revoked."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openusher.cli.output import Exit
from openusher.web.edges.snippets import TOKEN_PLACE
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("edges") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture(scope="module")
def account(node: Node) -> Account:
    return node.create_account("acme")


def edge(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    return usher("edge", *arguments, "--data", str(node.data))


def done(node: Node, *arguments: str) -> dict[str, Any]:
    """What the command prints with --json."""
    ran = edge(node, *arguments, "--json")
    assert ran.returncode == Exit.DONE, ran.stderr
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


def asks(node: Node, token: str) -> int:
    """The status that the plain door answers who shows this token."""
    with node.connect() as connection:
        nobody = Account(name="", cdn=0, api_key="", secret="", edge_token=token)
        return connection.authorize(nobody, key="k", password="p")[0]


def test_an_edge_goes_through_its_life(node: Node, account: Account) -> None:
    made = done(node, "create", str(account.cdn), "--kind", "generic", "--name", "players")
    number, first = str(made["edge"]), made["token"]
    rotated = done(node, "rotate", number)
    second = rotated["token"]
    assert rotated["old_token_until"] > made["created_date"]
    assert [asks(node, token) for token in (first, second)] == [200, 200]
    assert "old token until" in edge(node, "list").stdout
    third = done(node, "rotate", number, "--grace", "0")["token"]
    assert [asks(node, token) for token in (first, second, third)] == [401, 401, 200]

    unasked = edge(node, "revoke", number)
    assert (unasked.returncode, "--yes" in unasked.stderr, asks(node, third)) == (Exit.USAGE, True, 200)
    assert done(node, "revoke", number, "--yes")["revoked_date"]
    assert asks(node, third) == 401
    # Again it is no fault, and nothing else can be done with it.
    assert edge(node, "revoke", number, "--yes").returncode == Exit.DONE
    for refused in (edge(node, "rotate", number), edge(node, "set", number, "--name", "x")):
        assert (refused.returncode, "is revoked, for ever" in refused.stderr) == (Exit.FAILED, True)
    assert "revoked" in edge(node, "list").stdout
    assert done(node, "create", str(account.cdn), "--kind", "generic", "--name", "players")["edge"] > made["edge"]


def test_what_has_to_change_on_the_server_is_printed(node: Node, account: Account) -> None:
    made = done(node, "create", str(account.cdn), "--kind", "nginx", "--option", "root=/srv/a", "--option", "listen=81")
    number = str(made["edge"])
    moved = edge(node, "set", number, "--option", "root=/srv/b", "--option", "listen=", "--name", "films")
    here_only = edge(node, "set", number, "--option", "path=/{app}/{video}.m3u8")
    shown = done(node, "show", number)

    assert "root /srv/b;" in moved.stdout
    assert TOKEN_PLACE in moved.stdout
    assert (here_only.stdout, "stays as it is" in here_only.stderr) == ("", True)
    assert (shown["name"], shown["options"]) == ("films", {"root": "/srv/b", "path": "/{app}/{video}.m3u8"})
    assert made["token"] not in moved.stdout + moved.stderr + json.dumps(shown)


def typed(node: Node, answer: str, *arguments: str) -> int:
    """The exit status of a command whose question somebody answers at a terminal."""
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "openusher", "edge", *arguments, "--data", str(node.data)]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
        os.close(terminal)
        os.write(keyboard, f"{answer}\n".encode())
        _, asked = asking.communicate(timeout=60)
    os.close(keyboard)
    assert "Revoke it? [y/N]" in asked
    return asking.returncode


def test_at_a_terminal_what_cannot_be_undone_is_asked(node: Node, account: Account) -> None:
    made = done(node, "create", str(account.cdn), "--kind", "generic", "--name", "asked about")
    statuses = [(typed(node, answer, "revoke", str(made["edge"])), asks(node, made["token"])) for answer in ("n", "y")]

    assert statuses == [(Exit.NO, 200), (Exit.DONE, 401)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "1"), "say what to change"),
        (("set", "1", "--option", "root"), "give name=value"),
        (("rotate", "1", "--grace", "soon"), "24h"),
    ],
)
def test_a_mistake_is_told_with_what_is_taken(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = usher("edge", *arguments, "--data", str(tmp_path))

    assert (ran.returncode, said in ran.stderr) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "1", "--option", "recheck_s=5"), "recheck_s: is no option of generic"),
        (("set", "1", "--option", "recheck_s="), "recheck_s: is no option of generic"),
        (("rotate", "1", "--grace", "31d"), "grace_s"),
        (("set", "99", "--name", "x"), "there is no edge 99"),
        (("revoke", "99", "--yes"), "there is no edge 99"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    node: Node, account: Account, arguments: tuple[str, ...], said: str
) -> None:
    ran = edge(node, *arguments)

    assert (ran.returncode, said in ran.stderr) == (Exit.FAILED, True), ran.stderr
    assert asks(node, account.edge_token) == 200
