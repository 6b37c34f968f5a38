"""sevu.request, sevu.status and sevu.revoke: parameters in, members out."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
import pytest

from openusher.errors import CommandRefused, InvalidParameter
from openusher.model.ticket import NewTicket, Ticket
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.parameters import Parameters
from openusher.sevu.tickets import (
    issued_members,
    read_request,
    read_revoke,
    read_status,
    status_members,
)

_NOW_S = 1_700_000_000
_GOOD: dict[str, JsonValue] = {
    "app": "foo*",
    "video": "foo*",
    "pass": "secret",
    "ip": "auto/24",
    "uses": 10,
    "expire": "2030-01-01",
}


def _parameters(members: dict[str, JsonValue]) -> Parameters:
    return Parameters(members, {name: name for name in members})


def _ticket(**changed: JsonValue) -> NewTicket:
    return read_request(_parameters({**_GOOD, **changed}), cdn=158, now_s=_NOW_S).ticket


def test_a_ticket_is_what_was_asked_for() -> None:
    ticket = _ticket()

    expected = (158, "foo*", "foo*", "secret", "auto/24", 10, 1_893_456_000)
    assert expected == (
        ticket.cdn,
        ticket.app,
        ticket.video,
        ticket.password,
        ticket.ip,
        ticket.uses_limit,
        ticket.expires_s,
    )
    # What FloSports' own integration test expects of a key.
    assert re.fullmatch(r"foo_*\.[a-f0-9]+\.\d+", ticket.key)


@pytest.mark.parametrize(
    ("changed", "expires_s"),
    [
        ({"expire": None}, _NOW_S + 604_800),
        ({"expire": ""}, _NOW_S + 604_800),
        ({"expire": None, "expires": "2031-01-01"}, 1_924_992_000),
        ({"expire": "", "expires": "2031-01-01"}, 1_924_992_000),
        ({"expires": "2031-01-01"}, 1_893_456_000),
        ({"expires": "no date"}, 1_893_456_000),
        ({"expire": "+1 day"}, _NOW_S + 86_400),
        ({"expire": 1_893_456_000}, 1_893_456_000),
        ({"expire": "2001-01-01"}, 978_307_200),
        ({"expire": 0}, 0),
        ({"expire": "0"}, 0),
    ],
)
def test_expire_wins_over_expires_and_a_week_is_the_default(changed: dict[str, JsonValue], expires_s: int) -> None:
    assert expires_s == _ticket(**changed).expires_s


@pytest.mark.parametrize(
    ("uses", "limit"),
    [(0, 0), ("0", 0), (1, 1), ("99", 99), ("007", 7), (2**31 - 1, 2**31 - 1), (str(2**31 - 1), 2**31 - 1)],
)
def test_uses_are_a_number_or_digits_and_0_is_a_value(uses: JsonValue, limit: int) -> None:
    assert limit == _ticket(uses=uses).uses_limit


def test_whole_numbers_stand_for_texts() -> None:
    """PHP and Perl clients send digits without quotes."""
    ticket = _ticket(**{"pass": 12345, "app": 0, "video": -7})

    assert (ticket.password, ticket.app, ticket.video) == ("12345", "0", "-7")


@pytest.mark.parametrize("ip", ["0.0.0.0/0", "::/0", "auto", "AUTO/0", "auto/24|auto/24", "192.0.2.7/24|2001:db8::1"])
def test_ip_rules_are_echoed_as_given(ip: str) -> None:
    assert ip == _ticket(ip=ip).ip


def test_texts_may_be_as_long_as_their_limits() -> None:
    ticket = _ticket(**{"app": "é" * 64, "video": "v" * 1_024, "pass": "p" * 256})

    assert (len(ticket.app), len(ticket.video), len(ticket.password)) == (64, 1_024, 256)
    assert len(ticket.key) <= 128


def test_all_that_is_missing_is_named_at_once_before_anything_wrong_is() -> None:
    members: dict[str, JsonValue] = {**_GOOD, "video": "", "uses": None, "ip": "nonsense"}
    with pytest.raises(CommandRefused) as caught:
        read_request(_parameters(members), cdn=158, now_s=_NOW_S)

    assert caught.value.code == 6
    assert caught.value.message == "One or more required fields are missing: video, uses"


@pytest.mark.parametrize("read", [read_status, read_revoke])
def test_status_and_revoke_take_a_key(read: object) -> None:
    assert callable(read)
    assert read(_parameters({"key": "a.1.2"}), cdn=158, now_s=0).key == "a.1.2"
    assert read(_parameters({"key": 5}), cdn=158, now_s=0).key == "5"
    assert read(_parameters({"key": "0"}), cdn=158, now_s=0).key == "0"
    with pytest.raises(InvalidParameter, match="key: a list was given"):
        read(_parameters({"key": ["a"]}), cdn=158, now_s=0)


_TICKET = Ticket(
    number=1,
    cdn=158,
    key="vid.53ffc996dd39d5.39102367",
    password="secret",
    app="foo",
    video="vid",
    ip="auto/24",
    uses_limit=1000,
    uses_taken=0,
    active=True,
    created_s=1_457_459_561,
    expires_s=1_893_456_000,
    used_s=0,
)


def test_a_ticket_is_shown_as_in_the_recorded_reply() -> None:
    """FloSports' fixture (SEVU facts, 2.1), member for member, then five of ours."""
    fixture = {
        "active": "1",
        "app": "foo",
        "created_date": "2016-03-08 17:52:41",
        "ip": "auto/24",
        "key": "vid.53ffc996dd39d5.39102367",
        "pass": "secret",
        "used_date": "0000-00-00 00:00:00",
        "uses": "1000",
        "video": "vid",
    }
    ours = {"expire_date": "2030-01-01 00:00:00", "uses_limit": 1000, "unlimited": False}
    ours |= {"max_sessions": 0, "newest_wins": False}

    assert {"ticket": {**fixture, **ours}} == issued_members(_TICKET)
    assert {**fixture, **ours, "ticket": {**fixture, **ours}} == status_members(_TICKET)


@pytest.mark.parametrize(
    ("limit", "taken", "uses", "unlimited"),
    [(0, 7, "0", True), (5, 0, "5", False), (5, 2, "3", False), (5, 5, "0", False)],
)
def test_uses_are_starts_left_and_unlimited_tells_two_zeros_apart(
    limit: int, taken: int, uses: str, unlimited: bool
) -> None:
    shown = status_members(msgspec.structs.replace(_TICKET, uses_limit=limit, uses_taken=taken))

    assert (uses, limit, unlimited) == (shown["uses"], shown["uses_limit"], shown["unlimited"])


def test_php_casts_read_the_ticket_right() -> None:
    """FloSports: (bool)active, (int)uses, dates by Y-m-d H:i:s, zeros for never."""
    used = status_members(msgspec.structs.replace(_TICKET, active=False, used_s=1_457_459_561))

    assert used["active"] in ("0", "", 0, False)
    assert int(str(used["uses"])) == 1000
    assert datetime(2016, 3, 8, 17, 52, 41) == datetime.strptime(str(used["used_date"]), "%Y-%m-%d %H:%M:%S")
