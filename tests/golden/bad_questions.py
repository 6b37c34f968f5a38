"""Malformed questions to the door, each with the member that the answer must name. All are answered with status 400."""

from __future__ import annotations

import json
from typing import NamedTuple


class BadQuestion(NamedTuple):
    """One row: the body, and the `field` of the answer ("" where it is not one member's fault)."""

    name: str
    body: bytes
    field: str


_GOOD: dict[str, object] = {"key": "k", "pass": "p", "app": "live", "video": "cam1", "ip": "192.0.2.1"}
_TEXTS = ("key", "pass", "app", "video", "ip", "appinst", "pageurl", "refurl", "server_ip", "user_agent", "attempt_id")
_REQUIRED = ("app", "video", "ip")
_NO_ADDRESSES = (
    "",
    " ",
    "x",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.01",
    "192.0.2.1/32",
    "192.0.2.1:443",
    "192.0.2.1, 192.0.2.2",
    "3221225985",
    "0x7f.1",
    "localhost",
    "auto",
    "*",
    "fe80::1%eth0",
    "[2001:db8::1]",
    "2001:db8:::1",
    "1:2:3:4:5:6:7:8:9",
    "١٩٢.٠.٢.١",
    "192.0.2.1" + " " * 5_000 + "x",
)
_NO_UUIDS = (
    "1",
    "x",
    "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f0",
    "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f011",
    "0192e4a87c3f7d529f0a3b1c5d7e9f01",
    "{0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01}",
    "urn:uuid:0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01",
    "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f0g",
    "0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01\n",
    " 0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01",
    "٠192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01",
)
_NOT_JSON: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("spaces", b"   "),
    ("a form", b"key=k&pass=p&app=live&video=cam1&ip=192.0.2.1"),
    ("cut short", json.dumps(_GOOD).encode()[:-1]),
    ("something after it", json.dumps(_GOOD).encode() + b"x"),
    ("two objects", json.dumps(_GOOD).encode() * 2),
    ("byte order mark", b"\xef\xbb\xbf" + json.dumps(_GOOD).encode()),
    ("UTF-16", json.dumps(_GOOD).encode("utf-16")),
    ("single quotes", str(_GOOD).encode()),
    ("NaN", b'{"app":NaN,"video":"v","ip":"192.0.2.1"}'),
    ("a name without quotes", b'{app:"a","video":"v","ip":"192.0.2.1"}'),
    ("a comma at the end", b'{"app":"a","video":"v","ip":"192.0.2.1",}'),
    ("half a surrogate pair", rb'{"app":"\ud800","video":"v","ip":"192.0.2.1"}'),
    ("a byte that is not UTF-8", b'{"app":"\xff","video":"v","ip":"192.0.2.1"}'),
    ("a slash in too many bytes", b'{"app":"\xc0\xaf","video":"v","ip":"192.0.2.1"}'),
    ("a line feed in a text", b'{"app":"a\nb","video":"v","ip":"192.0.2.1"}'),
    ("random bytes", bytes(range(256))),
    ("depth 30,000", b"[" * 30_000 + b"]" * 30_000),
    ("depth 30,000, never closed", b"[" * 30_000),
]


def _question(**changed: object) -> bytes:
    """The good question but for some members; Ellipsis leaves one out."""
    return json.dumps({name: value for name, value in {**_GOOD, **changed}.items() if value is not ...}).encode()


def bad_questions() -> list[BadQuestion]:
    """The whole table; names are unique."""
    rows = [BadQuestion(f"not JSON: {name}", body, "") for name, body in _NOT_JSON]
    shapes = [json.dumps(shape) for shape in ([], [_GOOD], "text", 1, None, True)]
    rows += [BadQuestion(f"not an object: {shape[:20]}", shape.encode(), "") for shape in shapes]
    for name in _REQUIRED:
        rows.append(BadQuestion(f"{name} left out", _question(**{name: ...}), name))
        rows.append(BadQuestion(f"{name} null", _question(**{name: None}), name))
    rows.append(BadQuestion("nothing in it", b"{}", "app"))
    for name in _TEXTS:
        values = (1, 1.5, True, ["x"], {"x": "x"})
        rows += [BadQuestion(f"{name} {json.dumps(value)}", _question(**{name: value}), name) for value in values]
        if name not in ("ip", "server_ip", "attempt_id"):
            rows.append(BadQuestion(f"NUL in {name}", _question(**{name: "a\0b"}), name))
    for address in _NO_ADDRESSES:
        rows.append(BadQuestion(f"ip {address[:30]!r}", _question(ip=address), "ip"))
        if address:
            rows.append(BadQuestion(f"server_ip {address[:30]!r}", _question(server_ip=address), "server_ip"))
    for address in ("::", "0::0", "0:0:0:0:0:0:0:0", "::0.0.0.0", " :: "):
        rows.append(
            BadQuestion(f"server_ip that no server has: {address!r}", _question(server_ip=address), "server_ip")
        )
    rows += [BadQuestion(f"attempt_id {text!r}", _question(attempt_id=text), "attempt_id") for text in _NO_UUIDS]
    for name in ("x", "Key", "password", "user", "attempt-id", "", "é", "a`b", "two\nlines", " - at `$.key`"):
        rows.append(BadQuestion(f"unknown member {name!r}", _question(**{name: "x"}), name))
    rows.append(BadQuestion("unknown member of 5,000 letters", _question(**{"n" * 5_000: "x"}), "n" * 64))
    return rows
