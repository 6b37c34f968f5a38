"""The five commands end to end on one real node: what only a whole node with its clock, ledger and log can show."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import Promise
from tests.nodes import Node, usher
from tests.sevuclient import Account, Connection, signed_text

COUNTED = "ScaleEngine Virtual Usher unsuccessful tickets attempts found"
NINE = ["active", "app", "created_date", "ip", "key", "pass", "used_date", "uses", "video"]
OURS = ["expire_date", "uses_limit", "unlimited", "max_sessions", "newest_wins"]
WEEK_S = 604_800


@pytest.fixture(scope="module")
def other(node: Node) -> Account:
    return node.create_account("a stranger")


def instant(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def play(connection: Connection, account: Account, ticket: dict[str, Any], **question: Any) -> dict[str, Any]:
    """Ask the door to start a video with `ticket`; returns the answer."""
    status, answer = connection.authorize(account, **{"key": ticket["key"], "password": ticket["pass"], **question})
    assert status == 200, answer
    return answer


# Tickets


def test_a_new_ticket_shows_what_it_was_made_with(account: Account, connection: Connection) -> None:
    rules = {"app": "demo-*|x", "video": "a b/é.mp4|c*", "password": "u1|r/ä", "ip": "auto/24|192.0.2.7", "uses": 5}
    reply = connection.call(account, "sevu.request", **rules, expire="2030-01-01 00:00:00")
    ticket = reply["ticket"]

    assert list(reply) == ["code", "message", "status", "ticket", "handle_time"]
    assert (reply["code"], reply["status"]) == (2011, "success")
    assert list(ticket) == NINE + OURS
    assert abs(instant(ticket.pop("created_date")) - time.time()) < 60
    assert re.fullmatch(r"a_b___mp4\.[0-9a-f]{14}\.[0-9]{8}", ticket.pop("key"))
    assert ticket == {
        "active": "1",
        "app": "demo-*|x",
        "ip": "auto/24|192.0.2.7",
        "pass": "u1|r/ä",
        "used_date": "0000-00-00 00:00:00",
        "uses": "5",
        "video": "a b/é.mp4|c*",
        "expire_date": "2030-01-01 00:00:00",
        "uses_limit": 5,
        "unlimited": False,
        "max_sessions": 0,
        "newest_wins": False,
    }


@pytest.mark.parametrize(
    ("given", "seconds_from_now"),
    [
        ({}, WEEK_S),
        ({"expire": ""}, WEEK_S),
        ({"expire": "+90 minutes"}, 5_400),
        ({"expires": "+1 day"}, 86_400),
        ({"expire": "+1 hour", "expires": "+1 day"}, 3_600),
        ({"expire": None, "expires": "+1 day"}, 86_400),
    ],
    ids=str,
)
def test_a_ticket_expires_when_it_was_told_to(
    given: dict[str, Any], seconds_from_now: int, account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account, **given)

    assert instant(ticket["expire_date"]) - instant(ticket["created_date"]) == seconds_from_now


@pytest.mark.parametrize(
    "form", ["2040-02-29 12:34:56", "2040-02-29T12:34:56Z", "2040-02-29T13:34:56+01:00",
             "Wed, 29 Feb 2040 12:34:56 +0000", 2_214_131_696, "2214131696"]
)  # fmt: skip
def test_an_expiry_may_be_written_in_many_forms(form: Any, account: Account, connection: Connection) -> None:
    assert connection.issue(account, expire=form)["expire_date"] == "2040-02-29 12:34:56"


def test_a_ticket_that_was_issued_expired_is_shown_and_refuses(account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, expire="2001-01-01 00:00:00")

    assert play(connection, account, ticket)["reason"] == "Expiration date surpassed"
    assert connection.call(account, "sevu.status", key=ticket["key"])["active"] == "1"


def test_status_shows_uses_left_last_use_and_the_bound_address(account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, ip="198.51.100.7|auto/24|auto", uses=4)
    # A concrete entry binds nothing; each newcomer takes a slot; who matches a bound one takes no other.
    for ip in ("198.51.100.7", "203.0.113.9", "203.0.113.200", "2001:db8:1:2:3::4"):
        assert play(connection, account, ticket, ip=ip)["allow"], ip
    refused = play(connection, account, ticket, ip="192.0.2.1")
    shown = connection.call(account, "sevu.status", key=ticket["key"])

    assert refused["reason"] == "Invalid IP Address"
    assert list(shown) == ["code", "message", "status", *NINE, *OURS, "ticket", "handle_time"]
    assert (shown["code"], shown["ip"]) == (2021, "198.51.100.7|203.0.113.0/24|2001:db8:1:2::/64")
    assert (shown["uses"], shown["uses_limit"], shown["unlimited"]) == ("0", 4, False)
    assert abs(instant(shown["used_date"]) - time.time()) < 60
    assert shown["ticket"] == {name: shown[name] for name in NINE + OURS}
    assert play(connection, account, ticket, ip="198.51.100.7")["reason"] == "Maximum uses exceeded"


def test_a_revoked_ticket_refuses_the_very_next_attempt_and_stays_revoked(
    account: Account, connection: Connection
) -> None:
    for _ in range(20):
        ticket = connection.issue(account)
        assert play(connection, account, ticket)["allow"]
        revoked = connection.call(account, "sevu.revoke", key=ticket["key"])
        assert (list(revoked), revoked["code"]) == (["code", "message", "status", "handle_time"], 2031)
        assert play(connection, account, ticket)["reason"] == "Ticket Revoked"
    assert connection.call(account, "sevu.revoke", key=ticket["key"])["status"] == "success"
    assert connection.call(account, "sevu.status", key=ticket["key"])["active"] == "0"
    unknown = connection.call(account, "sevu.revoke", key="nosuch")
    assert (unknown["code"], unknown["status"]) == (2033, "failure")


# Who asks, and when


def test_a_command_that_creates_is_taken_once_and_others_may_repeat(account: Account, connection: Connection) -> None:
    rules: dict[str, Any] = {"app": "a", "video": "v", "pass": "replayed", "ip": "auto", "uses": 1}
    text = signed_text(account, "sevu.request", **rules)
    first = connection.post_text(text)
    # The same object in other words is another text, and its signature is wrong.
    replies = [connection.post_text(text), connection.post_text(text.replace(":", ": "))]

    assert [first["code"], *(reply["code"] for reply in replies)] == [2011, 2013, 3]
    revoking = signed_text(account, "sevu.revoke", key=first["ticket"]["key"])
    assert [connection.post_text(revoking)["code"] for _ in range(3)] == [2031] * 3
    counting = signed_text(account, "sevu.errorcount")
    assert [connection.post_text(counting)["code"] for _ in range(3)] == [2051] * 3


@pytest.mark.parametrize(("seconds", "code"), [(-290, 2051), (290, 2051), (-310, 2), (310, 2)])
def test_a_timestamp_is_good_for_five_minutes_either_way(
    seconds: int, code: int, account: Account, connection: Connection
) -> None:
    stamp = int(time.time()) + seconds

    assert connection.post_text(signed_text(account, "sevu.errorcount", timestamp=stamp))["code"] == code


def test_an_account_may_sign_with_several_keys_each_with_its_secret(
    node: Node, account: Account, other: Account, connection: Connection
) -> None:
    made = json.loads(usher("account", "add-key", str(account.cdn), "--data", str(node.data), "--json").stdout)
    second = Account(**{**vars(account), "api_key": made["api_key"], "secret": made["secret"]})
    ticket = connection.issue(second)

    assert made["cdn"] == account.cdn
    assert connection.call(account, "sevu.status", key=ticket["key"])["code"] == 2021
    # One key with the other's secret; a right key under another account's number.
    mixed = Account(**{**vars(account), "secret": second.secret})
    assert connection.call(mixed, "sevu.errorcount")["code"] == 3
    strayed = Account(**{**vars(account), "cdn": other.cdn})
    assert connection.call(strayed, "sevu.errorcount")["code"] == 1


def test_a_disabled_account_is_refused_everywhere_at_once_until_it_is_enabled(
    node: Node, connection: Connection
) -> None:
    made = node.create_account("late payer")
    ticket = connection.issue(made)
    assert play(connection, made, ticket)["allow"]

    assert usher("account", "disable", str(made.cdn), "--yes", "--data", str(node.data)).returncode == 0
    for command in ("sevu.request", "sevu.status", "sevu.revoke", "sevu.errorlog", "sevu.errorcount"):
        reply = connection.call(made, command, key=ticket["key"])
        assert (reply["code"], reply["status"]) == (1, "failure")
    assert connection.authorize(made, key=ticket["key"], password=ticket["pass"])[0] == 401

    assert usher("account", "enable", str(made.cdn), "--data", str(node.data)).returncode == 0
    assert play(connection, made, ticket)["allow"]
    # What was refused at the door while it was disabled is no attempt.
    assert connection.count(made) == 2


def test_accounts_see_nothing_of_each_other(
    account: Account, other: Account, connection: Connection, promise: Promise
) -> None:
    ticket = connection.issue(account, password="u7|shared")
    play(connection, account, ticket)
    theirs = play(connection, other, ticket)

    assert theirs == {**theirs, "allow": False, "reason": "Invalid Auth Token", "ticket": None}
    assert connection.call(other, "sevu.status", key=ticket["key"])["code"] == 2023
    assert connection.call(other, "sevu.revoke", key=ticket["key"])["code"] == 2033
    filters = [{"key": ticket["key"]}, {"user": "u7"}, {"pass": "u7|shared"}, {"video": "*"}, {"ip": "0.0.0.0/0"}]
    for each in filters:
        assert connection.count(other, **each, success=1) == 0
        rows = connection.call(other, "sevu.errorlog", **each)["attempts"]
        assert {row["reason"] for row in rows} == {"Invalid Auth Token"}
    assert connection.count(account, key=ticket["key"]) == connection.count(other, key=ticket["key"]) == 1
    assert play(connection, account, ticket)["allow"]
    promise("Tenants are apart", requests_of_strangers=3 + 2 * len(filters))
