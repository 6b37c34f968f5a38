"""Two accounts with the same keys, passes, filters and attempt ids: nothing of one shows in the other or changes it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from openusher.ledger.folder import ADMIN_SOCKET, short_path
from tests.conftest import Promise
from tests.nodes import Node, running_node
from tests.sevuclient import Account, Connection

KEY, PASS = "shared.5f00c996dd39d5.39102367", "user1|the same pass"
IDS = [f"0192e4a8-7c3f-7d52-9f0a-{n:012x}" for n in range(20)]
# Different in each account, so that any mixture shows.
ACME_ASKS, ORBIT_ASKS = 11, 7
GROUPS = ("key", "user", "app", "video", "ip", "reason", "success", "server_ip", "hour", "day")


@dataclass(frozen=True, kw_only=True)
class Tenants:
    """Two accounts of a node that have done the same, one of them oftener; and a connection to the node."""

    site: Connection
    acme: Account
    orbit: Account

    def each(self) -> list[tuple[Account, int]]:
        return [(self.acme, ACME_ASKS), (self.orbit, ORBIT_ASKS)]

    def ask(self, account: Account, **question: Any) -> tuple[int, dict[str, Any]]:
        """An attempt that carries its account's name in `pageurl`."""
        return self.site.authorize(account, pageurl=f"of {account.name}", **{"key": KEY, "password": PASS, **question})


class Operator:
    """Does at the admin socket what an operator's commands do, without the second that each of them takes."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self._client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert isinstance(found, dict)
        return found

    def take_over(self, account: Account) -> None:
        """The same ticket under the same key, as for a site that moves."""
        rules = {"key": KEY, "pass": PASS, "app": "*", "video": "*", "ip": "0.0.0.0/0", "uses": 20}
        self.post(f"/accounts/{account.cdn}/tickets", **rules)


@pytest.fixture(
    scope="module",
    params=[("--log", "ledger"), ("--ship-rows", "5", "--ship-age-s", "0.2")],
    ids=["ledger only", "shipped"],
)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("tenants") / "data", *request.param) as started:
        yield started


@pytest.fixture(scope="module")
def operator(node: Node) -> Iterator[Operator]:
    with short_path(node.data) as folder:
        transport = httpx.HTTPTransport(uds=f"{folder}/{ADMIN_SOCKET}")
        with httpx.Client(transport=transport, base_url="http://admin", timeout=30) as client:
            yield Operator(client)


@pytest.fixture
def tenants(node: Node, operator: Operator) -> Iterator[Tenants]:
    number = next(_numbers)
    accounts = [Account(**operator.post("/accounts", name=f"{name} {number}")) for name in ("acme", "orbit")]
    with node.connect() as site:
        made = Tenants(site=site, acme=accounts[0], orbit=accounts[1])
        for account, asks in made.each():
            operator.take_over(account)
            for n in range(asks):
                status, answer = made.ask(account, attempt_id=IDS[n])
                assert (status, answer["allow"]) == (200, True)
            made.ask(account, password="wrong")
        yield made


_numbers = itertools.count(1)


@pytest.mark.parametrize(
    "filters",
    [{"key": KEY}, {"pass": PASS}, {"user": "user1"}, {"app": "live"}, {"video": "c*"}, {"ip": "192.0.2.0/24"},
     {"success": 1}, {"starttime": "2020-01-01"}, {"key": KEY, "success": 1, "video": "*"}],
    ids=lambda filters: "+".join(filters),
)  # fmt: skip
def test_a_count_is_of_its_account_alone(tenants: Tenants, filters: dict[str, Any], promise: Promise) -> None:
    for account, number in tenants.each():
        refused = 0 if "success" in filters or "pass" in filters or "user" in filters else 1

        assert tenants.site.count(account, **filters) == number + refused
    promise("Tenants are apart", counts_over_http=2)


@pytest.mark.parametrize("by", GROUPS)
def test_groups_sum_to_the_accounts_own_count(tenants: Tenants, by: str) -> None:
    for account, number in tenants.each():
        reply = tenants.site.call(account, "sevu.errorcount", group_by=by)

        assert sum(group["count"] for group in reply["groups"]) == reply["error_count"] == number + 1


def test_a_list_shows_its_account_alone(tenants: Tenants) -> None:
    for account, number in tenants.each():
        reply = tenants.site.call(account, "sevu.errorlog", limit=1_000)

        assert {attempt["pageurl"] for attempt in reply["attempts"]} == {f"of {account.name}"}
        assert len(reply["attempts"]) == number + 1


def test_paging_by_another_accounts_ids_shows_ones_own(tenants: Tenants) -> None:
    theirs = tenants.site.call(tenants.orbit, "sevu.errorlog", limit=1)["attempts"][0]["id"]
    reply = tenants.site.call(tenants.acme, "sevu.errorlog", before_id=theirs)

    assert {attempt["pageurl"] for attempt in reply["attempts"]} == {f"of {tenants.acme.name}"}


def test_the_same_attempt_id_is_another_question_in_another_account(tenants: Tenants) -> None:
    again = [tenants.ask(account, attempt_id=IDS[0])[1] for account in (tenants.acme, tenants.orbit)]
    assert [answer["ticket"]["uses_left"] for answer in again] == [19, 19]
    # Asked in the first account only: there, other content under it is refused.
    status, answer = tenants.ask(tenants.orbit, password="x", attempt_id=IDS[ORBIT_ASKS], video="other")

    assert (status, answer["reason"]) == (200, "Invalid Auth Token")
    assert tenants.ask(tenants.acme, password="x", attempt_id=IDS[ORBIT_ASKS], video="other")[0] == 409
    assert tenants.site.count(tenants.acme) == ACME_ASKS + 1
    assert tenants.site.count(tenants.orbit) == ORBIT_ASKS + 2


def test_uses_are_taken_from_the_accounts_own_ticket(tenants: Tenants) -> None:
    for account, number in tenants.each():
        assert tenants.site.call(account, "sevu.status", key=KEY)["uses"] == str(20 - number)


def test_another_accounts_ticket_is_one_that_nobody_issued(tenants: Tenants, promise: Promise) -> None:
    """Not a word may differ from the answers about a key that nobody ever had."""
    site = tenants.site
    ticket = site.issue(tenants.acme, password="only acme's")
    never = ticket["key"][:-8] + "00000000"
    for command in ("sevu.status", "sevu.revoke"):
        replies = [site.call(tenants.orbit, command, key=key) for key in (ticket["key"], never)]
        for reply in replies:
            del reply["handle_time"]

        assert replies[0] == replies[1]
        assert replies[0]["status"] == "failure"
    doors = [tenants.ask(tenants.orbit, key=key, password="only acme's")[1] for key in (ticket["key"], never)]
    for answer in doors:
        del answer["attempt_id"]

    assert doors[0] == doors[1]
    assert doors[0]["reason"] == "Invalid Auth Token"
    assert site.call(tenants.acme, "sevu.status", key=ticket["key"])["active"] == "1"
    assert site.count(tenants.acme, key=ticket["key"]) == 0
    promise("Tenants are apart", foreign_keys_tried=6)


def test_a_revocation_ends_the_accounts_own_ticket(tenants: Tenants) -> None:
    assert tenants.site.call(tenants.acme, "sevu.revoke", key=KEY)["status"] == "success"
    # The first of these repeats a yes that no longer holds.
    answers = [
        tenants.ask(account, attempt_id=attempt_id)[1]
        for attempt_id in (IDS[0], "")
        for account in (tenants.acme, tenants.orbit)
    ]

    assert [answer["reason"] for answer in answers] == ["Ticket Revoked", "", "Ticket Revoked", ""]


def test_a_key_of_one_account_signs_for_no_other(tenants: Tenants, promise: Promise) -> None:
    """Whatever is mixed up, the answer is that of an account and a key that never were, or of a wrong secret."""
    site, acme, orbit = tenants.site, tenants.acme, tenants.orbit
    mixed = {
        "orbit's cdn": replace(acme, cdn=orbit.cdn),
        "orbit's cdn and secret": replace(acme, cdn=orbit.cdn, secret=orbit.secret),
        "orbit's key": replace(acme, api_key=orbit.api_key),
        "orbit's key and secret": replace(acme, api_key=orbit.api_key, secret=orbit.secret),
        "nobody's cdn": replace(acme, cdn=77),
        "nobody's key": replace(acme, api_key="A" * 32),
    }
    replies = {name: site.call(account, "sevu.errorcount") for name, account in mixed.items()}
    for reply in replies.values():
        del reply["handle_time"]

    assert replies == dict.fromkeys(mixed, replies["nobody's cdn"])
    assert (replies["nobody's cdn"]["status"], replies["nobody's cdn"]["code"]) == ("failure", 1)
    wrong_secret = site.call(replace(acme, secret=orbit.secret), "sevu.errorcount")
    assert (wrong_secret["status"], wrong_secret["code"]) == ("failure", 3)
    promise("Tenants are apart", credentials_mixed_up=len(mixed) + 1)


def test_no_error_text_holds_anything_of_another_account(tenants: Tenants) -> None:
    site, acme, orbit = tenants.site, tenants.acme, tenants.orbit
    replies: list[Any] = [
        site.call(replace(acme, secret=orbit.secret), "sevu.errorcount"),
        site.call(replace(acme, cdn=orbit.cdn), "sevu.errorcount"),
        site.call(acme, "sevu.status", key="nobody's"),
        site.call(acme, "sevu.errorlog", limit="x"),
        site.call(acme, "sevu.request", app="*"),
        tenants.ask(replace(acme, edge_token="x")),
        tenants.ask(acme, ip="nonsense"),
        tenants.ask(acme, attempt_id=IDS[0], video="other"),
    ]
    text = json.dumps(replies)

    hidden = [PASS, orbit.secret, orbit.edge_token, orbit.name, str(orbit.cdn), acme.secret, acme.edge_token]
    assert [word for word in hidden if word in text] == []


def test_an_edge_token_asks_for_its_own_account(tenants: Tenants) -> None:
    """The token alone says whose: nothing in the question can name another account."""
    assert tenants.ask(tenants.acme, cdn=tenants.orbit.cdn)[0] == 400
    tenants.ask(tenants.acme)

    counts = [tenants.site.count(account) for account in (tenants.acme, tenants.orbit)]
    assert counts == [ACME_ASKS + 2, ORBIT_ASKS + 1]


def test_disabling_an_account_ends_it_alone(tenants: Tenants, operator: Operator) -> None:
    site = tenants.site
    operator.post(f"/accounts/{tenants.acme.cdn}/disable")
    assert site.call(tenants.acme, "sevu.errorcount")["code"] == 1
    assert tenants.ask(tenants.acme)[0] == 401
    assert tenants.ask(tenants.orbit)[1]["allow"]
    assert site.count(tenants.orbit) == ORBIT_ASKS + 2
    operator.post(f"/accounts/{tenants.acme.cdn}/enable")

    assert tenants.ask(tenants.acme)[1]["allow"]
    assert site.count(tenants.acme) == ACME_ASKS + 2
