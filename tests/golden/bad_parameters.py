"""Bad requests, third part: signed commands whose parameters are missing or wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.golden.signed_requests import (
    INVALID,
    MISSING,
    URLENCODED,
    Account,
    BadRequest,
    good_parameters,
    members,
    posted,
    signed,
    values,
)


def _command_row(account: Account, name: str, command: str, code: int, part: str, **changed: object) -> BadRequest:
    parameters = {key: value for key, value in {**good_parameters(command), **changed}.items() if value is not ...}
    text = json.dumps(members(account, command, **parameters), ensure_ascii=False).encode()
    return BadRequest(f"{command}: {name}", posted(signed(text, account.secret)), URLENCODED, code, part)


def missing_parameters(account: Account) -> Iterator[BadRequest]:
    for command, required in (
        ("sevu.request", ("app", "video", "pass", "ip", "uses")),
        ("sevu.status", ("key",)),
        ("sevu.revoke", ("key",)),
    ):
        for name in required:
            for shown, value in (("left out", ...), ("null", None), ("empty", "")):
                part = f"One or more required fields are missing: {name}"
                yield _command_row(account, f"{name} {shown}", command, MISSING, part, **{name: value})
        nothing: dict[str, object] = dict.fromkeys(required, ...)
        part = f"missing: {', '.join(required)}"
        yield _command_row(account, "nothing given", command, MISSING, part, **nothing)
    several: dict[str, object] = {"video": None, "uses": ""}
    yield _command_row(account, "two missing", "sevu.request", MISSING, "missing: video, uses", **several)


# Each command's parameters by type; a text is followed by the bytes it may have.
_TEXTS: dict[str, dict[str, int]] = {
    "sevu.request": {"app": 128, "video": 1_024, "pass": 256, "ip": 4_096},
    "sevu.status": {"key": 128},
    "sevu.revoke": {"key": 128},
    "sevu.errorlog": {"key": 128, "pass": 256, "user": 256, "app": 128, "video": 1_024},
    "sevu.errorcount": {"key": 128, "pass": 256, "user": 256, "app": 128, "video": 1_024},
}
_DATES = {
    "sevu.request": ("expire", "expires"),
    "sevu.errorlog": ("starttime", "datetime", "endtime"),
    "sevu.errorcount": ("starttime", "datetime", "endtime"),
}
_SEARCHES = ("sevu.errorlog", "sevu.errorcount")
_BAD_DATES: tuple[object, ...] = (
    "tomorow",
    "2030-13-01",
    "2030-02-30 00:00:00",
    "2030-01-01 25:00:00",
    "2030-01-01 00:60:00",
    "2030-01-01x00:00:00",
    "0000-00-00 00:00:00",
    "01/02/2030",
    # A day, or unix seconds of 1970.
    "20300101",
    "1969-12-31 23:59:59",
    "-1",
    -1,
    10**12,
    "9" * 400,
    "+1 parsec",
    "+ week",
    "+99999 years",
    "+1 week or so",
    "Tue, 32 Jan 2030 00:00:00 +0000",
    "Tue, 01 Foo 2030 00:00:00 +0000",
    " ",
    True,
    1.5,
    ["2030-01-01"],
    {"date": "2030-01-01"},
)
_BAD_TICKET_RULES = (
    "auto/33",
    "auto/-1",
    "auto/",
    "auto/x",
    "automatic",
    "192.0.2.1|auto/99",
    "192.0.2.256",
    "192.0.2",
    "192.0.2.0/33",
    "192.0.2.0/-1",
    "192.0.2.0/24/24",
    "192.0.2.0/255.255.255.0",
    "192.0.2.01",
    "192.0.2.1-192.0.2.9",
    "2001:db8::/129",
    "2001:db8:::1",
    "fe80::1%eth0",
    "localhost",
    "1.2.3.4,5.6.7.8",
    "|",
    " ",
    "*",
    "|".join(["192.0.2.1"] * 65),
)
_BAD_NETS = (
    "x",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.0/33",
    "2001:db8::/129",
    "fe80::1%1",
    "auto",
    "1.1.1.1|2.2.2.2",
    "*",
    " ",
)
_BAD_WHOLES: tuple[object, ...] = (
    -1,
    "-1",
    1.0,
    "1.5",
    "1e3",
    "ten",
    " 1",
    "+1",
    "1\n",
    "٣",
    True,
    False,
    [1],
    {"n": 1},
)


def bad_parameters(account: Account) -> Iterator[BadRequest]:
    def row(command: str, name: str, value: object, part: str = "") -> BadRequest:
        shown = json.dumps(value, ensure_ascii=False)
        if len(shown) > 70:
            shown = f"{len(shown.encode())} bytes of {shown[:10]}"
        label = f"{name} = {shown}"
        return _command_row(account, label, command, INVALID[command], f"{name}: {part}", **{name: value})

    for command, texts in _TEXTS.items():
        for name, bytes_max in texts.items():
            for value in (True, False, 1.5, [], ["x"], {}, {"x": "x"}):
                yield row(command, name, value)
            yield row(command, name, "x" * (bytes_max + 1), f"longer than {bytes_max} bytes")
            yield row(command, name, "é" * (bytes_max // 2) + "x", f"longer than {bytes_max} bytes")
    for command, names in _DATES.items():
        for name in names:
            for date in _BAD_DATES:
                changed: dict[str, object] = {"expire": ...} if name == "expires" else {}
                made = row(command, name, date)
                yield _command_row(
                    account,
                    made.name.partition(": ")[2],
                    command,
                    made.code,
                    made.message_part,
                    **changed,
                    **{name: date},
                )
    for rule in _BAD_TICKET_RULES:
        yield row("sevu.request", "ip", rule)
    for name in ("app", "video"):
        for command in INVALID:
            if command in _TEXTS and name in _TEXTS[command]:
                yield row(command, name, "|", "names nothing")
                yield row(command, name, "*a" * 17, "has more than 16 *")
                # 65 of two bytes each still fit into app's 128 bytes only as a bare list.
                if name == "video":
                    yield row(command, name, "|".join("ab" for _ in range(65)), "has more than 64 alternatives")
    for uses in (*_BAD_WHOLES, 2**31, str(2**31), 2**63):
        yield row("sevu.request", "uses", uses)
    for command in _SEARCHES:
        for name in ("ip", "server_ip"):
            for net in values(*_BAD_NETS, True, 1.5, [], {}, "1" * 65):
                yield row(command, name, net)
        for name in ("limit", "seek"):
            for whole in (*_BAD_WHOLES, 2**63, str(2**63), "9" * 21):
                yield row(command, name, whole)
        for success in values(2, -1, "2", "yes", "true", "TRUE", "00", " 1", 1.0, [], [1], {}):
            yield row(command, "success", success, "neither yes nor no")
        for reason in values("x", "invalid ip address", "Invalid IP Address ", "accepted", 1, True, [], {}):
            yield row(command, "reason", reason)
    for name in ("before_id", "after_id"):
        for whole in (*_BAD_WHOLES, 2**63):
            yield row("sevu.errorlog", name, whole)
    yield row("sevu.errorlog", "limit", 10_001, "larger than 10000")
    yield row("sevu.errorlog", "limit", "10001", "larger than 10000")
    yield row("sevu.errorlog", "seek", 1_000_001, "larger than 1000000")
    yield row("sevu.errorlog", "seek", 999_901, "seek and limit together")
    for by in values("pass", "viewer", "KEY", "key,app", "*", "minute", 1, True, ["key"], {}):
        yield row("sevu.errorcount", "group_by", by)
    count = "sevu.errorcount"
    for name, value, part in (
        ("limit", 10_001, "limit: larger than 10000"),
        ("seek", 1_000_001, "seek: larger than 1000000"),
        ("seek", 999_901, "seek: seek and limit together"),
    ):
        label = f"group_by with {name} {value}"
        yield _command_row(account, label, count, INVALID[count], part, group_by="key", **{name: value})
