"""Two hundred at once over real HTTP: never one use too many, one address a slot, one use a question."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Promise
from tests.nodes import Node, running_node
from tests.sevuclient import Account, Connection, signed_text

WAIT_S_MAX = 60.0
AT_ONCE = 200


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("race") / "data", "--log", "ledger") as started:
        yield started


@pytest.fixture(scope="module")
def account(node: Node) -> Account:
    return node.create_account("race")


@pytest.fixture
def connection(node: Node) -> Iterator[Connection]:
    with node.connect() as opened:
        yield opened


def ask_at_once(node: Node, account: Account, questions: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Open a connection for each question, then send them all, then read: status and body, in order."""
    return asyncio.run(_ask_at_once(node.url, account, questions))


async def _ask_at_once(url: str, account: Account, questions: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    where = urlsplit(url)
    opened = await asyncio.gather(*[asyncio.open_connection(where.hostname, where.port) for _ in questions])
    for (_, writer), question in zip(opened, questions, strict=True):
        body = json.dumps({"app": "live", "video": "cam1", "ip": "192.0.2.1", **question}).encode()
        head = (
            f"POST /v1/authorize HTTP/1.1\r\nHost: usher\r\nAuthorization: Bearer {account.edge_token}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
    answers = await asyncio.wait_for(asyncio.gather(*[reader.read() for reader, _ in opened]), WAIT_S_MAX)
    for _, writer in opened:
        writer.close()
    return [(int(raw[9:12]), json.loads(raw.partition(b"\r\n\r\n")[2])) for raw in answers]


def asking(ticket: dict[str, Any], **question: Any) -> dict[str, Any]:
    return {"key": ticket["key"], "pass": ticket["pass"], **question}


def accepted(answers: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The answers that said yes; every one must be an answer."""
    assert {status for status, _ in answers} == {200}, answers
    return [answer for _, answer in answers if answer["allow"]]


@pytest.mark.parametrize("uses", [1, 2, 50])
def test_a_ticket_opens_as_often_as_it_says_when_two_hundred_ask_at_once(
    node: Node, account: Account, connection: Connection, uses: int, promise: Promise
) -> None:
    ticket = connection.issue(account, uses=uses)
    answers = ask_at_once(node, account, [asking(ticket)] * AT_ONCE)

    yes = accepted(answers)
    assert sorted(answer["ticket"]["uses_left"] for answer in yes) == list(range(uses))
    assert Counter(answer["reason"] for _, answer in answers) == {"": uses, "Maximum uses exceeded": AT_ONCE - uses}
    assert len({answer["attempt_id"] for _, answer in answers}) == AT_ONCE
    assert connection.count(account, key=ticket["key"]) == AT_ONCE
    assert connection.count(account, key=ticket["key"], success=1) == uses
    status = connection.call(account, "sevu.status", key=ticket["key"])
    assert (status["uses"], status["uses_limit"]) == ("0", uses)
    promise("Never one use too many", attempts_at_once=AT_ONCE, uses_allowed=uses)


def test_one_auto_slot_goes_to_one_of_twenty_addresses(
    node: Node, account: Account, connection: Connection, promise: Promise
) -> None:
    ticket = connection.issue(account, ip="auto")
    addresses = [f"198.51.{n}.1" for n in range(20)]
    answers = ask_at_once(node, account, [asking(ticket, ip=addresses[n % 20]) for n in range(AT_ONCE)])

    let_in = {addresses[n % 20] for n, (_, answer) in enumerate(answers) if answer["allow"]}
    assert len(let_in) == 1
    assert len(accepted(answers)) == AT_ONCE // 20
    assert connection.call(account, "sevu.status", key=ticket["key"])["ip"] == let_in.pop()
    promise("Never one use too many", addresses_for_one_slot=20)


def test_two_auto_slots_go_to_two_of_twenty_nets(node: Node, account: Account, connection: Connection) -> None:
    ticket = connection.issue(account, ip="auto/24|auto/24")
    addresses = [f"198.51.{n % 20}.{1 + n // 20}" for n in range(AT_ONCE)]
    answers = ask_at_once(node, account, [asking(ticket, ip=address) for address in addresses])

    let_in = {
        f"{address.rpartition('.')[0]}.0/24"
        for address, (_, answer) in zip(addresses, answers, strict=True)
        if answer["allow"]
    }
    assert len(let_in) == 2
    assert len(accepted(answers)) == 2 * AT_ONCE // 20
    assert set(connection.call(account, "sevu.status", key=ticket["key"])["ip"].split("|")) == let_in


def test_the_same_question_twenty_times_at_once_is_one_attempt_and_one_use(
    node: Node, account: Account, connection: Connection, promise: Promise
) -> None:
    ticket = connection.issue(account, uses=20)
    attempt_id = "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01"
    answers = ask_at_once(node, account, [asking(ticket, attempt_id=attempt_id)] * 20)

    assert [answer for _, answer in answers] == [answers[0][1]] * 20
    assert answers[0][1]["allow"]
    assert connection.count(account, key=ticket["key"]) == 1
    assert connection.call(account, "sevu.status", key=ticket["key"])["uses"] == "19"
    promise("Never one use too many", repeats_of_one_question_at_once=20)


def test_one_attempt_id_for_two_questions_at_once_answers_one_of_them(
    node: Node, account: Account, connection: Connection
) -> None:
    ticket = connection.issue(account)
    attempt_id = "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f02"
    answers = ask_at_once(
        node, account, [asking(ticket, attempt_id=attempt_id, video=f"cam{n % 2}") for n in range(40)]
    )

    assert Counter(status for status, _ in answers) == {200: 20, 409: 20}
    assert connection.count(account, key=ticket["key"]) == 1


def test_nothing_that_begins_after_a_revocation_was_answered_is_let_in(
    node: Node, account: Account, connection: Connection, promise: Promise
) -> None:
    """Edges ask without pause while the ticket is revoked; each notes whether the revocation was answered before."""
    ticket = connection.issue(account)
    revoked, stop = threading.Event(), threading.Event()
    seen: list[tuple[bool, bool]] = []
    enough = threading.Semaphore(0)

    def keep_asking() -> None:
        with node.connect() as edge:
            while not stop.is_set():
                began_after = revoked.is_set()
                status, answer = edge.authorize(account, key=ticket["key"], password=ticket["pass"])
                assert status == 200
                seen.append((began_after, answer["allow"]))
                enough.release()

    threads = [threading.Thread(target=keep_asking, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_for(enough, 100)
    assert connection.call(account, "sevu.revoke", key=ticket["key"])["status"] == "success"
    revoked.set()
    wait_for(enough, 200)
    stop.set()
    for thread in threads:
        thread.join(WAIT_S_MAX)

    assert {(began_after, allowed) for began_after, allowed in seen if began_after} == {(True, False)}
    assert (False, True) in seen
    assert connection.count(account, key=ticket["key"]) == len(seen)
    assert connection.count(account, key=ticket["key"], success=1) == sum(allowed for _, allowed in seen)
    promise("Revoked means now", attempts_beside_a_revocation=len(seen))


def wait_for(enough: threading.Semaphore, number: int) -> None:
    for _ in range(number):
        assert enough.acquire(timeout=WAIT_S_MAX)


def test_one_signed_command_sent_at_once_by_twenty_creates_one_ticket(
    node: Node, account: Account, promise: Promise
) -> None:
    parameters: dict[str, Any] = {"app": "*", "video": "race-replay", "pass": "user1|x", "ip": "0.0.0.0/0", "uses": 1}
    text = signed_text(account, "sevu.request", **parameters)
    replies: list[str] = []

    def send() -> None:
        with node.connect() as site:
            replies.append(site.post_text(text)["status"])

    threads = [threading.Thread(target=send, daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S_MAX)

    assert Counter(replies) == {"success": 1, "failure": 19}
    promise("Never one use too many", replays_of_one_command_at_once=20)
