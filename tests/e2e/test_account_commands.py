"""`usher key` and `usher account` as an operator types them, on a running node and on a folder without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openusher.cli.output import Exit
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account

_NEVER = "0000-00-00 00:00:00"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "data"


@pytest.fixture(scope="module")
def node(data: Path) -> Iterator[Node]:
    with running_node(data, "--log", "ledger") as started:
        yield started


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return usher(*arguments, "--data", str(data))


def printed(data: Path, *arguments: str) -> list[dict[str, Any]]:
    ran = run(data, *arguments, "--json")
    assert ran.returncode == Exit.DONE, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_site_goes_from_one_key_to_the_next_without_a_gap(node: Node) -> None:
    data, first = node.data, node.create_account("acme")
    (made,) = printed(data, "key", "create", str(first.cdn))
    second = replace(first, api_key=made["api_key"], secret=made["secret"])

    def codes() -> list[int]:
        with node.connect() as connection:
            return [connection.call(account, "sevu.errorcount")["code"] for account in (first, second)]

    def used() -> dict[str, bool]:
        keys = printed(data, "key", "list", str(first.cdn))
        return {key["api_key"]: key["used_date"] != _NEVER for key in keys}

    assert used() == {first.api_key: False, second.api_key: False}
    with node.connect() as connection:
        # Only who knows the secret uses a key.
        connection.call(replace(first, secret="wrong"), "sevu.errorcount")
        connection.call(second, "sevu.errorcount")
    assert used() == {first.api_key: False, second.api_key: True}
    assert codes() == [2051, 2051]
    assert run(data, "key", "revoke", first.api_key).returncode == Exit.USAGE
    assert codes() == [2051, 2051]
    (revoked,) = printed(data, "key", "revoke", first.api_key, "--yes")
    assert revoked == {"cdn": first.cdn, "api_key": first.api_key}
    assert codes() == [1, 2051]
    assert run(data, "key", "revoke", first.api_key, "--yes").returncode == Exit.FAILED


def test_the_last_key_is_revoked_only_where_that_is_meant(node: Node) -> None:
    account = node.create_account("orbit")
    asked = run(node.data, "key", "revoke", account.api_key)
    assert (asked.returncode, "the last one" in asked.stderr, "--yes" in asked.stderr) == (Exit.USAGE, True, True)
    assert run(node.data, "key", "revoke", account.api_key, "--yes").returncode == Exit.DONE
    with node.connect() as connection:
        assert connection.call(account, "sevu.errorcount")["code"] == 1
        # Its media servers go on.
        assert connection.authorize(account, key="k", password="p")[0] == 200
    assert printed(node.data, "key", "list", str(account.cdn)) == []


def test_an_account_is_shown_with_all_that_it_has(tmp_path: Path) -> None:
    """Also when a key signed last outlives the node."""
    data = tmp_path / "data"
    with running_node(data, "--log", "ledger") as node, node.connect() as connection:
        account = node.create_account("acme")
        for _ in range(3):
            connection.issue(account)
        (key,) = printed(data, "key", "list", str(account.cdn))
        (live,) = printed(data, "account", "show", str(account.cdn))
    (found,) = printed(data, "account", "show", str(account.cdn))

    assert found == live
    assert account.secret not in json.dumps(found)
    assert found["keys"] == [key]
    assert key["used_date"] >= key["created_date"] > _NEVER
    assert {name: found[name] for name in ("cdn", "name", "active", "edges", "tickets", "sessions")} == {
        "cdn": account.cdn,
        "name": "acme",
        "active": True,
        "edges": [1],
        "tickets": 3,
        "sessions": 0,
    }
    assert run(data, "account", "show", "77").returncode == Exit.FAILED
    shown = run(data, "account", "show", str(account.cdn)).stdout
    assert (account.api_key in shown, account.secret in shown) == (True, False)


def test_the_name_that_a_command_once_had_still_does_it(data: Path, node: Node) -> None:
    account: Account = node.create_account("old hand")
    (made,) = printed(data, "account", "add-key", str(account.cdn))

    assert {key["api_key"] for key in printed(data, "key", "list", str(account.cdn))} == {
        account.api_key,
        made["api_key"],
    }


def test_what_becomes_of_an_account_is_told_to_programs_too(data: Path, node: Node) -> None:
    account = node.create_account("told")
    unasked = run(data, "account", "disable", str(account.cdn))
    (told,) = printed(data, "account", "show", str(account.cdn))

    assert (unasked.returncode, "told" in unasked.stderr, "--yes" in unasked.stderr) == (Exit.USAGE, True, True)
    assert told["active"]
    assert printed(data, "account", "disable", str(account.cdn), "--yes") == [
        {"cdn": account.cdn, "active": False, "sessions_ended": 0}
    ]
    assert printed(data, "account", "enable", str(account.cdn)) == [{"cdn": account.cdn, "active": True}]
