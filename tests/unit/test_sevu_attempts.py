"""sevu.errorlog and sevu.errorcount: parameters in, members out."""

from __future__ import annotations

import pytest

from openusher.errors import InvalidParameter
from openusher.model.address import parse_address, parse_net
from openusher.model.attempt import Attempt, Reason
from openusher.model.pattern import parse_pattern
from openusher.model.search import AttemptFilter, Group, GroupBy
from openusher.sevu.attempts import (
    CountAttempts,
    GroupAttempts,
    ListAttempts,
    attempts_members,
    count_members,
    groups_members,
    read_errorcount,
    read_errorlog,
)
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.parameters import Parameters

_NOW_S = 1_700_000_000


def _parameters(members: dict[str, JsonValue]) -> Parameters:
    return Parameters(members, {name: name for name in members})


def _listed(**members: JsonValue) -> ListAttempts:
    return read_errorlog(_parameters(members), cdn=158, now_s=_NOW_S)


def _counted(**members: JsonValue) -> CountAttempts | GroupAttempts:
    return read_errorcount(_parameters(members), cdn=158, now_s=_NOW_S)


def test_the_pages_own_request_is_read() -> None:
    page: dict[str, JsonValue] = {
        "key": "mystream.53ffc996dd39d5.39102367",
        "app": "demo-origin",
        "video": "mystream",
        "ip": "192.168.0.0",
        "pass": "unique_random_string_per_request",
        "success": 1,
        "limit": "25",
        "seek": "0",
    }
    asked = _counted(**page)

    search = AttemptFilter(
        key="mystream.53ffc996dd39d5.39102367",
        app="demo-origin",
        video="mystream",
        ip=parse_net("192.168.0.0"),
        password="unique_random_string_per_request",
        accepted=True,
    )
    assert CountAttempts(search=search, limit=25, seek=0) == asked


FILTERS: list[tuple[dict[str, JsonValue], AttemptFilter]] = [
    ({}, AttemptFilter()),
    (
        dict.fromkeys(
            ("key", "pass", "user", "app", "video", "ip", "success", "reason", "server_ip", "starttime", "datetime"), ""
        ),
        AttemptFilter(),
    ),
    (
        dict.fromkeys(("key", "app", "video", "ip", "pass", "success", "limit", "seek", "endtime"), None),
        AttemptFilter(),
    ),
    ({"key": "a*|b"}, AttemptFilter(key="a*|b")),
    ({"key": 5}, AttemptFilter(key="5")),
    ({"key": "0"}, AttemptFilter(key="0")),
    ({"pass": "u|*"}, AttemptFilter(password="u|*")),
    ({"pass": 0}, AttemptFilter(password="0")),
    ({"user": "u*"}, AttemptFilter(user="u*")),
    ({"app": "a"}, AttemptFilter(app="a")),
    ({"app": "a*"}, AttemptFilter(app=parse_pattern("app", "a*"))),
    ({"video": "a|b"}, AttemptFilter(video=parse_pattern("video", "a|b"))),
    ({"video": "a%_b"}, AttemptFilter(video="a%_b")),
    ({"ip": "::ffff:192.0.2.1"}, AttemptFilter(ip=parse_net("192.0.2.1"))),
    ({"ip": "2001:DB8:0::1"}, AttemptFilter(ip=parse_net("2001:db8::1"))),
    ({"ip": "192.0.2.77/24"}, AttemptFilter(ip=parse_net("192.0.2.0/24"))),
    ({"server_ip": "2001:db8::/32"}, AttemptFilter(server_ip=parse_net("2001:db8::/32"))),
    ({"success": 1}, AttemptFilter(accepted=True)),
    ({"success": "1"}, AttemptFilter(accepted=True)),
    ({"success": True}, AttemptFilter(accepted=True)),
    ({"success": 0}, AttemptFilter(accepted=False)),
    ({"success": "0"}, AttemptFilter(accepted=False)),
    ({"success": False}, AttemptFilter(accepted=False)),
    ({"reason": "Invalid IP Address"}, AttemptFilter(reason=Reason.INVALID_IP)),
    ({"starttime": "2014-09-16"}, AttemptFilter(from_ms=1_410_825_600_000)),
    ({"datetime": "2014-09-16 13:00:00"}, AttemptFilter(from_ms=1_410_872_400_000)),
    ({"starttime": "2014-09-16", "datetime": "2014-09-16 13:00:00"}, AttemptFilter(from_ms=1_410_872_400_000)),
    ({"starttime": 0}, AttemptFilter(from_ms=0)),
    ({"starttime": "-1 hour"}, AttemptFilter(from_ms=(_NOW_S - 3_600) * 1000)),
    ({"endtime": "2014-09-16"}, AttemptFilter(before_ms=1_410_825_600_000)),
    ({"endtime": "0"}, AttemptFilter(before_ms=0)),
]


@pytest.mark.parametrize(("members", "search"), FILTERS)
def test_both_commands_take_the_same_filters(members: dict[str, JsonValue], search: AttemptFilter) -> None:
    counted = _counted(**members)

    assert CountAttempts(search=search, limit=None, seek=0) == counted
    assert ListAttempts(search=search, limit=100, seek=0) == _listed(**members)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason])
def test_every_reason_is_a_filter(reason: Reason) -> None:
    assert reason == _listed(reason=str(reason)).search.reason


def test_ids_bound_a_listing() -> None:
    asked = _listed(before_id="20", after_id=10)

    assert AttemptFilter(before_id=20, after_id=10) == asked.search


@pytest.mark.parametrize(
    ("members", "limit", "seek"),
    [
        ({}, 100, 0),
        ({"limit": 0}, 100, 0),
        ({"limit": "0", "seek": "0"}, 100, 0),
        ({"limit": None, "seek": ""}, 100, 0),
        ({"limit": "25", "seek": "25"}, 25, 25),
        ({"limit": 10_000, "seek": 990_000}, 10_000, 990_000),
        ({"seek": 999_900}, 100, 999_900),
    ],
)
def test_a_page_of_attempts_or_groups(members: dict[str, JsonValue], limit: int, seek: int) -> None:
    assert ListAttempts(search=AttemptFilter(), limit=limit, seek=seek) == _listed(**members)
    grouped = GroupAttempts(search=AttemptFilter(), by=GroupBy.KEY, limit=limit, seek=seek)
    assert grouped == _counted(group_by="key", **members)


@pytest.mark.parametrize("members", [{"limit": 10_001}, {"seek": 1_000_001}, {"limit": 10_000, "seek": 990_001}])
def test_a_page_may_not_be_larger_or_deeper(members: dict[str, JsonValue]) -> None:
    with pytest.raises(InvalidParameter):
        _listed(**members)
    with pytest.raises(InvalidParameter):
        _counted(group_by="key", **members)
    assert isinstance(_counted(**members), CountAttempts)


@pytest.mark.parametrize("by", list(GroupBy))
def test_every_group_can_be_asked_for(by: GroupBy) -> None:
    asked = _counted(group_by=str(by), success=0)

    assert GroupAttempts(search=AttemptFilter(accepted=False), by=by, limit=100, seek=0) == asked


@pytest.mark.parametrize(
    ("limit", "seek", "total", "members"),
    [
        (None, 0, 4, {"error_count": 4}),
        (None, 0, 0, {"error_count": 0}),
        (25, 0, 4, {"error_count": 4}),
        (25, 0, 25, {"error_count": 25}),
        (25, 0, 26, {"error_count": 25, "total_count": 26}),
        (25, 25, 30, {"error_count": 5, "total_count": 30}),
        (25, 25, 100, {"error_count": 25, "total_count": 100}),
        (25, 25, 10, {"error_count": 0, "total_count": 10}),
        (None, 3, 10, {"error_count": 7, "total_count": 10}),
        (25, 25, 0, {"error_count": 0}),
    ],
)
def test_limit_and_seek_bound_the_count_and_the_whole_is_told_when_they_hid_some(
    limit: int | None, seek: int, total: int, members: dict[str, int]
) -> None:
    assert members == count_members(CountAttempts(search=AttemptFilter(), limit=limit, seek=seek), total)


def test_limit_0_counts_all() -> None:
    assert CountAttempts(search=AttemptFilter(), limit=None, seek=0) == _counted(limit=0)
    assert CountAttempts(search=AttemptFilter(), limit=None, seek=0) == _counted(limit="0")


@pytest.mark.parametrize(
    ("by", "value", "shown"),
    [
        (GroupBy.KEY, "a.1.2", "a.1.2"),
        (GroupBy.USER, "", ""),
        (GroupBy.REASON, "", ""),
        (GroupBy.SUCCESS, 1, 1),
        (GroupBy.SUCCESS, 0, 0),
        (GroupBy.IP, parse_address("192.0.2.1"), "192.0.2.1"),
        (GroupBy.IP, parse_address("2001:db8::1"), "2001:db8::1"),
        (GroupBy.IP, parse_address("::"), "::"),
        (GroupBy.SERVER_IP, 0, ""),
        (GroupBy.SERVER_IP, parse_address("::1"), "::1"),
        (GroupBy.HOUR, 1_410_872_400, "2014-09-16 13:00:00"),
        (GroupBy.DAY, 1_410_825_600, "2014-09-16"),
    ],
)
def test_groups_are_shown_as_people_read_them(by: GroupBy, value: str | int, shown: str | int) -> None:
    asked = GroupAttempts(search=AttemptFilter(), by=by, limit=100, seek=0)
    members = groups_members(asked, [Group(value, 3)], group_count=7, total=12)

    assert {"error_count": 12, "groups": [{"value": shown, "count": 3}], "group_count": 7} == members
    assert list(members) == ["error_count", "groups", "group_count"]


def test_an_attempt_is_shown_in_scaleengines_fields_and_two_of_ours() -> None:
    attempt = Attempt(
        id=9,
        cdn=158,
        at_ms=1_410_872_400_999,
        key="k",
        password="user1|rnd",
        app="demo",
        appinst="play",
        video="v.mp4",
        ip=parse_address("192.0.2.1"),
        pageurl="my.domain.com",
        refurl="r",
        user_agent="UA",
        server_ip=0,
        edge=1,
        cut=0,
        reason="Invalid IP Address",
    )
    row = {
        "id": 9,
        "datetime": "2014-09-16 13:00:00",
        "key": "k",
        "pass": "user1|rnd",
        "ip": "192.0.2.1",
        "video": "v.mp4",
        "app": "demo",
        "appinst": "play",
        "pageurl": "my.domain.com",
        "refurl": "r",
        "success": 0,
        "reason": "Invalid IP Address",
        "server_ip": "",
        "user": "user1",
        "user_agent": "UA",
    }

    assert {"count": 1, "attempts": [row], "data": [row]} == attempts_members([attempt])
    assert attempts_members([]) == {"count": 0, "attempts": [], "data": []}
