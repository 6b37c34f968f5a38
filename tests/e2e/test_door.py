"""The door on a real node: what it answers, questions that are asked again, and the last use that many ask for."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.conftest import Promise
from tests.e2e.rawhttp import RawConnection, request
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection

REPEATED = "Asked again is answered, not charged, twice"


def question(ticket: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"key": ticket["key"], "password": ticket["pass"], **more}


def test_the_answer_tells_what_is_left_of_the_ticket(account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, uses=2, expire="2040-02-29 12:34:56")
    answers = [connection.authorize(account, **question(ticket)) for _ in range(3)]

    assert [status for status, _ in answers] == [200, 200, 200]
    assert all(list(answer) == ["allow", "reason", "attempt_id", "ticket"] for _, answer in answers)
    told = [(answer["allow"], answer["reason"], answer["ticket"]["uses_left"]) for _, answer in answers]
    assert told == [(True, "", 1), (True, "", 0), (False, "Maximum uses exceeded", 0)]
    assert {answer["ticket"]["expires"] for _, answer in answers} == {2_214_131_696}
    ids = [int(answer["attempt_id"]) for _, answer in answers]
    logged = connection.call(account, "sevu.errorlog", key=ticket["key"])["attempts"]
    assert [row["id"] for row in logged] == sorted(ids, reverse=True)


def test_an_unlimited_ticket_has_null_left_and_no_ticket_tells_nothing(
    account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account, uses=0)
    assert connection.authorize(account, **question(ticket))[1]["ticket"]["uses_left"] is None
    for wrong in ({"key": "nosuch", "password": ticket["pass"]}, {"key": ticket["key"], "password": "x"}, {}):
        _, answer = connection.authorize(account, **wrong)
        assert (answer["allow"], answer["ticket"]) == (False, None)


@pytest.mark.parametrize("missing", ["key", "pass"])
@pytest.mark.parametrize("value", [None, "", ...])
def test_a_missing_ticket_is_a_recorded_attempt(
    missing: str, value: Any, account: Account, connection: Connection
) -> None:
    before = connection.count(account, reason="Missing Auth Token")
    asked = {"key": "k", "pass": "p", missing: value}
    _, answer = connection.authorize(account, **{name: given for name, given in asked.items() if given is not ...})

    assert answer["reason"] == "Missing Auth Token"
    assert connection.count(account, reason="Missing Auth Token") == before + 1


def test_what_is_too_long_is_cut_recorded_and_refused_where_it_matters(
    account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account)
    for member, length, reason in (
        ("key", 128, "Invalid Auth Token"),
        ("password", 256, "Invalid Auth Token"),
        ("app", 128, "Invalid Application"),
        ("video", 1_024, "Invalid Video"),
        ("pageurl", 2_048, ""),
        ("refurl", 2_048, ""),
        ("user_agent", 512, ""),
        ("appinst", 128, ""),
    ):
        # Cut in the middle of a character of two bytes.
        _, answer = connection.authorize(account, **{**question(ticket), member: "é" * length})
        assert answer["reason"] == reason, member
        row = connection.call(account, "sevu.errorlog", limit=1)["attempts"][0]
        assert row["pass" if member == "password" else member] == "é" * (length // 2)


def test_an_account_disabled_while_its_question_arrives_is_refused(node: Node) -> None:
    account = node.create_account("disabled in between")
    body = json.dumps({"app": "a", "video": "v", "ip": "192.0.2.1"}).encode()
    with RawConnection(node.url) as raw:
        asked = request("POST", "/v1/authorize", body, authorization=f"Bearer {account.edge_token}")
        raw.send(asked[: -len(body)], body[:5])
        disabled = usher("account", "disable", str(account.cdn), "--yes", "--data", str(node.data))
        raw.send(body[5:])
        answer = raw.answer()
        assert usher("account", "enable", str(account.cdn), "--data", str(node.data)).returncode == 0
    with node.connect() as connection:
        counted = connection.count(account)

    assert (disabled.returncode, answer.status, counted) == (0, 401, 0)


# The same question again


def test_a_repeated_question_gets_the_first_answer_and_takes_no_second_use(
    account: Account, connection: Connection, promise: Promise
) -> None:
    ticket = connection.issue(account, uses=2)
    attempt_id = str(uuid.uuid4())
    asked = question(ticket, attempt_id=attempt_id)
    first = connection.authorize(account, **asked)
    again = [connection.authorize(account, **asked) for _ in range(5)]
    in_capitals = connection.authorize(account, **{**asked, "attempt_id": attempt_id.upper()})

    assert first == (200, {**first[1], "allow": True, "attempt_id": attempt_id})
    assert again == [first] * 5
    # The same id, and as the edge wrote it this time: it may look for its own text.
    assert in_capitals == (200, {**first[1], "attempt_id": attempt_id.upper()})
    assert connection.count(account, key=ticket["key"]) == 1
    assert connection.call(account, "sevu.status", key=ticket["key"])["uses"] == "1"
    promise(REPEATED, repeats=6)


def test_a_refusal_is_repeated_too_and_recorded_once(account: Account, connection: Connection) -> None:
    asked = {"key": "refused", "password": "p", "attempt_id": str(uuid.uuid4())}
    answers = [connection.authorize(account, **asked) for _ in range(3)]

    assert answers[0][1]["reason"] == "Invalid Auth Token"
    assert answers == [answers[0]] * 3
    assert connection.count(account, key="refused") == 1


@pytest.mark.parametrize(
    "changed",
    [{"key": "x"}, {"password": "x"}, {"app": "x"}, {"video": "x"}, {"ip": "192.0.2.2"}, {"appinst": "x"},
     {"pageurl": "x"}, {"refurl": "x"}, {"server_ip": "192.0.2.2"}, {"user_agent": "x"}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_the_same_id_with_other_content_is_refused(
    changed: dict[str, str], account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account)
    asked = question(ticket, attempt_id=str(uuid.uuid4()))
    connection.authorize(account, **asked)
    status, answer = connection.authorize(account, **{**asked, **changed})

    assert (status, answer["error"]["field"]) == (409, "attempt_id")
    assert connection.count(account, key=ticket["key"]) == 1


@pytest.mark.parametrize(
    ("member", "bytes_max"),
    [("key", 128), ("password", 256), ("app", 128), ("video", 1_024), ("appinst", 128), ("pageurl", 2_048),
     ("refurl", 2_048), ("user_agent", 512)],
)  # fmt: skip
def test_the_same_id_with_other_content_beyond_a_cut_is_refused(
    member: str, bytes_max: int, account: Account, connection: Connection
) -> None:
    recorded = connection.count(account)
    asked = {"key": "k", "password": "p", "attempt_id": str(uuid.uuid4())}
    first, again, other = (
        connection.authorize(account, **{**asked, member: "é" * (bytes_max // 2) + end})
        for end in ("beyond", "beyond", "beyonD")
    )

    assert (first[0], again) == (200, first)
    assert (other[0], other[1]["error"]["field"]) == (409, "attempt_id")
    assert connection.count(account) == recorded + 1


def test_two_accounts_may_use_the_same_id(node: Node, account: Account, connection: Connection) -> None:
    other = node.create_account("another site")
    attempt_id = str(uuid.uuid4())
    for each, video in ((account, "v1"), (other, "v2")):
        assert connection.authorize(each, key="same", video=video, attempt_id=attempt_id)[0] == 200
        assert connection.count(each, key="same") == 1


def test_a_first_yes_is_not_repeated_past_a_revocation(account: Account, connection: Connection) -> None:
    ticket = connection.issue(account)
    asked = question(ticket, attempt_id=str(uuid.uuid4()))
    assert connection.authorize(account, **asked)[1]["allow"]
    connection.call(account, "sevu.revoke", key=ticket["key"])
    status, answer = connection.authorize(account, **asked)

    assert (status, answer["allow"], answer["reason"]) == (200, False, "Ticket Revoked")
    # The attempt itself was accepted, and the log goes on saying so.
    assert connection.count(account, key=ticket["key"], success=1) == connection.count(account, key=ticket["key"]) == 1


def test_a_first_yes_is_not_repeated_past_the_expiry(account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, expire="+2 seconds")
    asked = question(ticket, attempt_id=str(uuid.uuid4()))
    deadline = time.monotonic() + 20
    answer = connection.authorize(account, **asked)[1]
    assert answer["allow"]
    while answer["allow"] and time.monotonic() < deadline:
        answer = connection.authorize(account, **asked)[1]

    assert (answer["allow"], answer["reason"]) == (False, "Expiration date surpassed")
    assert connection.count(account, key=ticket["key"]) == 1


def test_answers_are_kept_through_a_kill_and_for_an_hour(tmp_path: Path, promise: Promise) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    account = node.create_account("site")
    with node.connect() as connection:
        ticket = connection.issue(account, uses=5)
        asked = question(ticket, attempt_id=str(uuid.uuid4()))
        first = connection.authorize(account, **asked)
    node.kill()
    node.start()
    with node.connect() as connection:
        assert connection.authorize(account, **asked) == first
    assert node.stop() == 0
    age_answers(node.data, by_s=3_590)
    with running_node(node.data, "--log", "ledger") as restarted, restarted.connect() as connection:
        assert connection.authorize(account, **asked) == first
        assert connection.count(account) == 1
    age_answers(node.data, by_s=20)
    with running_node(node.data, "--log", "ledger") as restarted, restarted.connect() as connection:
        assert connection.authorize(account, **asked)[1]["ticket"]["uses_left"] == 3
        assert connection.count(account) == 2
    promise(REPEATED, repeats_after_restarts=2)


def age_answers(data: Path, *, by_s: int) -> None:
    """Let the answers kept by a stopped node be so much older."""
    connection = apsw.Connection(str(data / "ledger.db"), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.execute("UPDATE answers SET at_ms = at_ms - ?", (by_s * 1000,))
    connection.close()


# Many at once


def test_twins_of_one_question_at_the_same_instant_are_one_attempt(
    node: Node, account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account, uses=5)
    asked = question(ticket, attempt_id=str(uuid.uuid4()))
    answers = at_once(node, account, [asked] * 16)

    assert len({json.dumps(answer) for answer in answers}) == 1
    assert connection.count(account, key=ticket["key"]) == 1
    assert connection.call(account, "sevu.status", key=ticket["key"])["uses"] == "4"


@pytest.mark.parametrize("uses", [1, 2, 7])
def test_a_ticket_opens_as_often_as_it_has_uses_when_sixteen_ask_at_once(
    uses: int, node: Node, account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account, uses=uses)
    answers = at_once(node, account, [question(ticket)] * 16)

    assert Counter(answer["reason"] for answer in answers) == {"": uses, "Maximum uses exceeded": 16 - uses}
    left = sorted(answer["ticket"]["uses_left"] for answer in answers if answer["allow"])
    assert left == list(range(uses))
    assert connection.count(account, key=ticket["key"], success=1) == uses


def test_one_of_sixteen_addresses_gets_the_one_auto_slot(node: Node, account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, ip="auto")
    answers = at_once(node, account, [question(ticket, ip=f"192.0.2.{number}") for number in range(16)])

    assert Counter(answer["reason"] for answer in answers) == {"": 1, "Invalid IP Address": 15}
    bound = connection.call(account, "sevu.status", key=ticket["key"])["ip"]
    assert connection.call(account, "sevu.errorlog", key=ticket["key"], success=1)["attempts"][0]["ip"] == bound


def at_once(node: Node, account: Account, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask all questions at one moment, each on its own connection; returns the answers."""
    gate = threading.Barrier(len(questions))
    answers: list[dict[str, Any]] = []

    def ask(asked: dict[str, Any]) -> None:
        with node.connect() as connection:
            connection.request("GET", "/healthz")
            gate.wait(20)
            status, answer = connection.authorize(account, **asked)
            assert status == 200, answer
            answers.append(answer)

    threads = [threading.Thread(target=ask, args=(asked,)) for asked in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(questions)
    return answers
