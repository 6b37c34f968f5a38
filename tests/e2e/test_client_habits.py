"""Habits that clients of the SEVU API share, against a real node: addresses, spellings, empty filters, `php`."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Node
from tests.sevuclient import Account, Connection, signed_text

UNSERIALIZE = Path(__file__).parents[1] / "golden" / "clients" / "unserialize.php"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATHS = ["/", "/stable", "/stable/", "/dev", "/dev/", "/cp/api/0.8", "/cp/api/0.8/"]


@pytest.mark.parametrize("path", PATHS)
def test_every_address_of_the_api_answers_with_and_without_its_last_slash(
    path: str, account: Account, connection: Connection
) -> None:
    assert connection.post_text(signed_text(account, "sevu.errorcount"), path=path)["code"] == 2051


@pytest.mark.client
def test_the_root_answers_where_the_url_has_no_path_at_all(node: Node, account: Account) -> None:
    finished = curl("--data-urlencode", f"json={signed_text(account, 'sevu.errorcount')}", node.url)

    assert json.loads(finished.stdout)["code"] == 2051


@pytest.mark.parametrize("name", ["Key", "KEY", "key"])
def test_the_member_that_the_pages_table_calls_Key_filters_in_any_case(  # noqa: N802
    name: str, account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account)
    connection.authorize(account, key=ticket["key"], password=ticket["pass"])

    assert connection.count(account, **{name: ticket["key"]}) == 1


def test_filters_that_are_null_or_empty_are_left_out(account: Account, connection: Connection) -> None:
    ticket = connection.issue(account)
    connection.authorize(account, key=ticket["key"], password=ticket["pass"])
    names = ("app", "video", "ip", "pass", "user", "success", "limit", "seek", "reason", "starttime", "group_by")
    for empty in (None, ""):
        reply = connection.call(account, "sevu.errorcount", key=ticket["key"], **dict.fromkeys(names, empty))
        assert (reply["code"], reply["error_count"]) == (2051, 1)
        assert "ignored" not in reply
    assert connection.count(account) == connection.count(account, key=None) > 1
    # '0' and 0 are values.
    assert connection.count(account, key=ticket["key"], success="0") == 0


@pytest.mark.client
@pytest.mark.parametrize("field", ["php", "PHP", "Php"])
def test_the_field_php_gets_the_same_reply_serialized(field: str, account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, video="démo/🎬|clips/*", password=f"ü|'\"{field}")
    connection.authorize(account, key=ticket["key"], password=ticket["pass"], video="clips/x")
    for command in ("sevu.status", "sevu.errorlog", "sevu.errorcount", "sevu.nothing"):
        text = signed_text(account, command, key=ticket["key"], unknown=1)
        status, headers, serialized = connection.request("POST", "/stable/", form(field, text), FORM)
        read = unserialized(serialized)
        as_json = connection.post_text(text)

        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert re.fullmatch(r"\d+\.\d{4} seconds", read.pop("handle_time"))
        assert as_json.pop("handle_time")
        assert as_json == read
        assert list(as_json) == list(read)


@pytest.mark.client
def test_even_the_refusal_of_what_is_not_json_is_serialized(connection: Connection) -> None:
    _, _, reply = connection.request("POST", "/stable/", form("php", "not json"), FORM)

    assert unserialized(reply)["code"] == 9001


def form(field: str, text: str) -> bytes:
    return urllib.parse.urlencode({field: text}).encode()


def unserialized(reply: bytes) -> Any:
    run = subprocess.run(["php", str(UNSERIALIZE)], input=reply, capture_output=True, check=True)
    return json.loads(run.stdout)


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["curl", "--silent", "--show-error", *arguments], capture_output=True, text=True, timeout=60, check=True
    )


@pytest.mark.client
@pytest.mark.parametrize("way", ["--data-binary", "--form"])
def test_curl_may_ask_before_it_sends_a_large_body(way: str, tmp_path: Path, node: Node, account: Account) -> None:
    # An unknown parameter makes the body large; the answer then names it.
    text = signed_text(account, "sevu.errorcount", padding="x" * 50_000)
    sent = tmp_path / "sent"
    sent.write_text(text if way == "--form" else urllib.parse.urlencode({"json": text}))
    what = f"json=<{sent}" if way == "--form" else f"@{sent}"
    finished = curl("--verbose", "--header", "Expect: 100-continue", way, what, f"{node.url}/stable/")
    reply = json.loads(finished.stdout)

    assert "< HTTP/1.1 100 Continue" in finished.stderr
    assert (reply["code"], reply["ignored"]) == (2051, ["padding"])


@pytest.mark.client
def test_a_body_is_not_asked_for_when_its_length_is_too_large(tmp_path: Path, node: Node) -> None:
    sent = tmp_path / "sent"
    sent.write_text("json=" + "x" * 100_000)
    finished = curl("--verbose", "--header", "Expect: 100-continue", "--data-binary", f"@{sent}", f"{node.url}/stable/")

    assert "100 Continue" not in finished.stderr
    assert json.loads(finished.stdout)["code"] == 9003
