"""sevu.errorlog and sevu.errorcount on a real node: filters, windows, groups, and pages while attempts arrive."""

from __future__ import annotations

import calendar
import time
from collections import Counter
from typing import Any

import pytest

from tests.nodes import Node
from tests.sevuclient import Account, Connection

ROW = [
    "id", "datetime", "key", "pass", "ip", "video", "app", "appinst", "pageurl", "refurl", "success", "reason",
    "server_ip", "user", "user_agent",
]  # fmt: skip
GROUPS = ("key", "user", "app", "video", "ip", "reason", "success", "server_ip", "hour", "day")


class Played:
    """Sixty attempts of one account, and the plain rows that say what they were."""

    def __init__(self, node: Node) -> None:
        self.account = node.create_account("site")
        self.rows: list[dict[str, Any]] = []
        with node.connect() as connection:
            tickets = [
                connection.issue(self.account, password=f"user{number}|x%_{number}", ip="192.0.2.0/24|2001:db8::/32")
                for number in range(3)
            ]
            for number in range(60):
                self._play(connection, tickets[number % 3], number)

    def _play(self, connection: Connection, ticket: dict[str, Any], number: int) -> None:
        question: dict[str, Any] = {
            "key": ticket["key"],
            "pass": ticket["pass"] if number % 5 else "a guess",
            "app": ("live", "Live", "vod_1")[number % 3],
            "video": f"films/{number % 7}.mp4" if number % 4 else "a*b|c",
            "ip": ("192.0.2.1", "192.0.2.200", "2001:db8::5", "203.0.113.1")[number % 4],
            "server_ip": ("10.0.0.1", "10.0.0.2")[number % 2],
            "appinst": "_definst_",
            "pageurl": "https://shop.example/é",
            "refurl": "https://search.example/?q=%20",
            "user_agent": "TV/1.0",
        }
        _, answer = connection.authorize(self.account, **question)
        found = {**question, "user": question["pass"].split("|")[0], "reason": answer["reason"]}
        self.rows.append({**found, "success": int(answer["allow"]), "id": int(answer["attempt_id"])})

    def matching(self, **wanted: Any) -> int:
        return sum(all(row[name] == value for name, value in wanted.items()) for row in self.rows)


@pytest.fixture(scope="module")
def played(node: Node) -> Played:
    return Played(node)


def test_every_filter_counts_what_a_plain_list_has(played: Played, connection: Connection) -> None:
    rows = played.rows
    for name in ("key", "user", "app", "ip", "reason", "success", "server_ip", "pass"):
        for value in {row[name] for row in rows if row[name] != ""}:
            assert connection.count(played.account, **{name: value}) == played.matching(**{name: value}), (name, value)
    expected = {
        ("video", "films/1.mp4"): played.matching(video="films/1.mp4"),
        ("video", "films/*"): sum(row["video"].startswith("films/") for row in rows),
        ("video", "*b|films/1.mp4"): played.matching(video="films/1.mp4"),
        ("app", "*ive"): played.matching(app="live") + played.matching(app="Live"),
        ("app", "vod_*"): played.matching(app="vod_1"),
        ("app", "v%"): 0,
        ("key", "*"): 0,
        ("user", "user_"): 0,
        ("ip", "192.0.2.0/24"): played.matching(ip="192.0.2.1") + played.matching(ip="192.0.2.200"),
        ("ip", "::ffff:192.0.2.1"): played.matching(ip="192.0.2.1"),
        ("ip", "2001:0db8:0000::/33"): played.matching(ip="2001:db8::5"),
        ("ip", "0.0.0.0/0"): 60,
        ("server_ip", "10.0.0.0/31"): played.matching(server_ip="10.0.0.1"),
        ("starttime", "2014-09-16"): 60,
        ("datetime", "+1 hour"): 0,
        ("endtime", "+1 hour"): 60,
        ("endtime", "2014-09-16 13:00:00"): 0,
    }
    for (name, value), count in expected.items():
        assert connection.count(played.account, **{name: value}) == count, (name, value)
    both = connection.count(played.account, app="live", success="0", ip="192.0.2.0/24")
    assert both == sum(row["app"] == "live" and not row["success"] and row["ip"][0] == "1" for row in rows)


def test_a_count_has_the_pages_five_members_until_its_window_hides_attempts(
    played: Played, connection: Connection
) -> None:
    five = ["code", "message", "status", "error_count", "handle_time"]
    for window, shown in (({}, 60), ({"limit": 60}, 60), ({"limit": "0", "seek": "0"}, 60), ({"limit": 1_000}, 60)):
        reply = connection.call(played.account, "sevu.errorcount", **window)
        assert (list(reply), reply["error_count"]) == (five, shown), window
    for window, shown in (
        ({"limit": 25}, 25),
        ({"seek": 50}, 10),
        ({"limit": "25", "seek": "50"}, 10),
        ({"seek": 99}, 0),
    ):
        reply = connection.call(played.account, "sevu.errorcount", **window)
        assert list(reply) == [*five[:4], "total_count", five[4]], window
        assert (reply["error_count"], reply["total_count"]) == (shown, 60), window


@pytest.mark.parametrize("by", GROUPS)
def test_groups_are_those_of_a_plain_list_and_their_pages_sum_to_the_count(
    by: str, played: Played, connection: Connection
) -> None:
    pages: list[dict[str, Any]] = []
    while True:
        reply = connection.call(played.account, "sevu.errorcount", group_by=by, limit=3, seek=len(pages))
        assert reply["error_count"] == 60
        pages += reply["groups"]
        if not reply["groups"]:
            break

    assert list(reply) == ["code", "message", "status", "error_count", "groups", "group_count", "handle_time"]
    assert len(pages) == reply["group_count"]
    assert sum(group["count"] for group in pages) == 60
    assert [group["count"] for group in pages] == sorted((group["count"] for group in pages), reverse=True)
    if by not in ("hour", "day"):
        assert {group["value"]: group["count"] for group in pages} == Counter(row[by] for row in played.rows)


def test_the_log_shows_every_field_newest_first(played: Played, connection: Connection) -> None:
    reply = connection.call(played.account, "sevu.errorlog")

    assert list(reply) == ["code", "message", "status", "count", "attempts", "data", "handle_time"]
    assert (reply["code"], reply["count"]) == (2041, 60)
    assert reply["attempts"] == reply["data"]
    for row, known in zip(reply["attempts"], reversed(played.rows), strict=True):
        assert list(row) == ROW
        assert {name: row[name] for name in known} == known
        assert abs(calendar.timegm(time.strptime(row["datetime"], "%Y-%m-%d %H:%M:%S")) - time.time()) < 600


def test_the_log_pages_by_seek_and_limit(played: Played, connection: Connection) -> None:
    ids = [row["id"] for row in reversed(played.rows)]
    for seek, limit, expected in ((0, 0, ids), (0, 7, ids[:7]), (25, 25, ids[25:50]), (55, 25, ids[55:]), (60, 5, [])):
        rows = connection.call(played.account, "sevu.errorlog", seek=seek, limit=limit)["attempts"]
        assert [row["id"] for row in rows] == expected


def test_pages_by_id_neither_skip_nor_repeat_while_attempts_arrive(node: Node, connection: Connection) -> None:
    account = node.create_account("busy site")
    ids = [arrive(connection, account) for _ in range(30)]
    seen: list[int] = []
    page = connection.call(account, "sevu.errorlog", limit=7)["attempts"]
    while page:
        seen += [row["id"] for row in page]
        late = arrive(connection, account)
        page = connection.call(account, "sevu.errorlog", limit=7, before_id=seen[-1])["attempts"]

    assert seen == sorted(ids, reverse=True)
    newer = [row["id"] for row in connection.call(account, "sevu.errorlog", after_id=seen[0])["attempts"]]
    assert (len(newer), newer[0]) == (5, late)
    assert [row["id"] for row in newer_than(connection, account, newer[2], limit=1)] == [late]
    assert newer_than(connection, account, late, limit=100) == []


def test_following_the_log_as_its_page_says_neither_skips_nor_repeats_while_attempts_arrive(
    node: Node, connection: Connection
) -> None:
    account = node.create_account("followed site")
    arrived = [arrive(connection, account)]
    followed = list(arrived)
    # Less than a page, a page, and several come between two looks; one more comes before each further page is asked.
    for coming in (0, 1, 4, 5, 6, 23, 10, 2):
        arrived += [arrive(connection, account) for _ in range(coming)]
        largest = max(followed)
        page = newer_than(connection, account, largest, limit=5)
        found = page
        while len(page) == 5:
            arrived.append(arrive(connection, account))
            page = newer_than(connection, account, largest, limit=5, before_id=page[-1]["id"])
            found = found + page
        followed += [row["id"] for row in reversed(found)]
    followed += [row["id"] for row in reversed(newer_than(connection, account, max(followed), limit=100))]

    assert followed == arrived


def arrive(connection: Connection, account: Account) -> int:
    _, answer = connection.authorize(account, key="k", password="p")
    return int(answer["attempt_id"])


def newer_than(connection: Connection, account: Account, attempt: int, **page: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.call(account, "sevu.errorlog", after_id=attempt, **page)["attempts"]
    return rows


def test_a_mistyped_filter_is_named_in_the_reply(played: Played, connection: Connection) -> None:
    reply = connection.call(played.account, "sevu.errorcount", Vidoe="x", key="nosuch", _="y")

    assert (reply["error_count"], reply["ignored"]) == (0, ["Vidoe", "_"])
    assert list(reply)[-2:] == ["ignored", "handle_time"]
