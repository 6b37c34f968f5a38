"""A line of a file of tickets sold elsewhere: what it says of a ticket, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from openusher.errors import InvalidParameter
from openusher.model.ticket import Ticket
from openusher.sevu.sold import read_line, read_sold_ticket
from openusher.sevu.tickets import ticket_members

_NOW_S = 1_800_000_000
# As ScaleEngine shows one: texts.
SOLD: dict[str, Any] = {
    "active": "1",
    "app": "acme-vod",
    "created_date": "2026-05-01 12:00:00",
    "ip": "auto",
    "key": "films__.154d3ce7c75f98.40022036",
    "pass": "user123|k3v9x2m8q1",
    "used_date": "0000-00-00 00:00:00",
    "uses": "2",
    "video": "films/*",
    "expire_date": "2027-05-01 00:00:00",
}


def read(**changed: Any) -> Ticket:
    members = {name: value for name, value in {**SOLD, **changed}.items() if value is not ...}
    return read_sold_ticket(members, cdn=158, now_s=_NOW_S)


def test_a_ticket_is_what_scaleengine_shows_of_it() -> None:
    assert read() == Ticket(
        number=0,
        cdn=158,
        key="films__.154d3ce7c75f98.40022036",
        password="user123|k3v9x2m8q1",
        app="acme-vod",
        video="films/*",
        ip="auto",
        uses_limit=2,
        uses_taken=0,
        active=True,
        created_s=1_777_636_800,
        expires_s=1_809_129_600,
        used_s=0,
    )


@pytest.mark.parametrize(
    ("given", "uses"),
    [
        ({"uses": "0"}, (0, 0)),
        ({"uses": 0, "unlimited": True}, (0, 0)),
        ({"uses": 3, "uses_limit": 5}, (5, 2)),
        # 0 that are left and any number look alike: these say which.
        ({"uses": 0, "uses_limit": 5}, (5, 5)),
        ({"uses": "0", "unlimited": False}, (1, 1)),
        ({"uses": "0", "unlimited": 0, "uses_limit": "0"}, (1, 1)),
        ({"uses": 4, "unlimited": "0"}, (4, 0)),
    ],
)
def test_uses_are_those_left(given: dict[str, Any], uses: tuple[int, int]) -> None:
    ticket = read(**given)

    assert (ticket.uses_limit, ticket.uses_taken) == uses


@pytest.mark.parametrize("state", [{}, {"uses_taken": 5}, {"active": False}, {"uses_limit": 0, "uses_taken": 0},
                                   {"max_sessions": 2, "newest_wins": True}, {"used_s": 1_790_000_000}])  # fmt: skip
def test_what_we_show_of_a_ticket_is_taken_over_as_it_was(state: dict[str, Any]) -> None:
    fields = {name: getattr(read(uses=3, uses_limit=5), name) for name in Ticket.__struct_fields__}
    ticket = Ticket(**{**fields, **state})

    assert read_sold_ticket({**ticket_members(ticket), "state": "open"}, cdn=158, now_s=_NOW_S) == ticket


def test_what_is_left_out_is_as_of_a_ticket_that_is_issued_now() -> None:
    ticket = read(active=..., created_date=..., used_date=...)

    assert (ticket.active, ticket.created_s, ticket.used_s) == (True, _NOW_S, 0)
    assert (ticket.max_sessions, ticket.newest_wins) == (0, False)


@pytest.mark.parametrize("name", ["expire", "expires", "expire_date"])
def test_an_expiry_may_be_called_as_in_a_request(name: str) -> None:
    assert read(**{"expire_date": ..., name: 1_800_000_001}).expires_s == 1_800_000_001


@pytest.mark.parametrize(
    ("given", "member"),
    [
        *(({name: ...}, name) for name in ("key", "pass", "app", "video", "ip", "uses", "expire_date")),
        *(({name: ""}, name) for name in ("key", "pass", "app", "video", "ip", "uses", "expire_date")),
        ({"key": "k" * 129}, "key"),
        ({"key": ["k"]}, "key"),
        ({"pass": 1.5}, "pass"),
        ({"pass": "p" * 257}, "pass"),
        ({"app": "\0"}, "app"),
        ({"video": "|"}, "video"),
        ({"video": "*" * 17}, "video"),
        ({"ip": "192.0.2.300"}, "ip"),
        ({"uses": -1}, "uses"),
        ({"uses": 2**31}, "uses"),
        ({"uses": 6, "uses_limit": 5}, "uses"),
        ({"uses": 6, "unlimited": 1}, "unlimited"),
        ({"expire_date": "tomorow"}, "expire_date"),
        ({"expires": "20300101"}, "expires"),
        ({"active": "yes"}, "active"),
        ({"created_date": "never"}, "created_date"),
        ({"max_sessions": "many"}, "max_sessions"),
        ({"expiry": 1}, "expiry"),
    ],
)
def test_what_is_wrong_is_named_by_its_member(given: dict[str, Any], member: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        read(**given)

    assert raised.value.field == member
    assert SOLD["pass"] not in str(raised.value)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'"k"', b"null", b"\xff", b'{"a":1}{}', b"[" * 60_000, b"{'a': 1}"])
def test_a_line_that_is_no_object_is_told_so(line: bytes) -> None:
    with pytest.raises(InvalidParameter, match="is no JSON object"):
        read_line(line)
