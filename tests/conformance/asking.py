"""Between the oracles' plain dicts and Usher's own nouns; and values that have caught out searches before."""

from __future__ import annotations

from typing import Any

from openusher.ledger.base import NewAccount
from openusher.model.account import ApiKey, Secret, token_digest
from openusher.model.address import format_address, parse_address, parse_net
from openusher.model.attempt import Attempt, AttemptRequest, Reason
from openusher.model.pattern import is_pattern, parse_pattern
from openusher.model.search import AttemptFilter
from openusher.model.ticket import NewTicket

# 2026-03-10 12:00:00 UTC, in milliseconds.
NOON_MS = 1_773_144_000_000

# Wild cards and quotes of SQL, escapes, letters that fold or normalise alike, line ends, what JSON and shells escape.
NASTY = (
    "a%b_c",
    "axbyc",
    "%",
    "_",
    "\\",
    "a\\%",
    "it's",
    '"quoted"',
    "é",
    "e\u0301",
    "É",
    "straße",
    "😀",
    "\ud7ff\ue000\uffff",
    "line\nbreak\r\n",
    "tab\tbell\x07",
    "\u2028",
    "A",
    "a",
    " a",
    "a ",
    "NULL",
    "--",
    "{x:String}",
)
IN_NAMES_ONLY = ("", "star*", "pipe|pipe", "*", "a?c", "[a]")
PATTERNS = (
    "*",
    "a*",
    "*a",
    "a*c",
    "a*a",
    "a%*",
    "*\\*",
    "*_*",
    "É|é",
    "x|",
    "*😀*",
    "a*b*c",
    "it's|NULL*",
    "**",
    "*\n*",
    "pipe|*",
)
IPS = (
    "192.0.2.1",
    "192.0.2.200",
    "192.0.3.1",
    "203.0.113.7",
    "2001:db8::1",
    "2001:db8:0:1::1",
    "::",
    "::1",
    "255.255.255.255",
)
NETS = ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.0/24", "192.0.2.77/23", "2001:db8::/32", "2001:db8::/64", "::/1",
        "::ffff:0:0/96", "0.0.0.0/0", "::/0", "128.0.0.0/1", "::", "10.0.0.0/8")  # fmt: skip
REASONS = tuple(reason.value for reason in Reason)


def request(cdn: int, **asked: Any) -> AttemptRequest:
    """A question; `password` stands for `pass`, addresses are text, the rest is as in AttemptRequest."""
    texts = {"key": "k", "password": "user1|secret-1", "app": "live", "video": "cam1", **asked}
    texts["ip"] = parse_address(texts.get("ip", "192.0.2.1"))
    texts["server_ip"] = parse_address(texts.get("server_ip", "::"))
    return AttemptRequest(**{"cdn": cdn, "edge": 1, **texts})


def ticket(cdn: int, key: str = "k", **rules: Any) -> NewTicket:
    """A ticket that opens everything unless told otherwise."""
    wanted = {"password": "user1|secret-1", "app": "*", "video": "*", "ip": "0.0.0.0/0", "uses_limit": 0}
    return NewTicket(**{"cdn": cdn, "key": key, "expires_s": 4_000_000_000, **wanted, **rules})


def new_account(cdn: int, name: str = "") -> NewAccount:
    key = ApiKey(api_key=f"KEY{cdn}", cdn=cdn, secret=Secret(f"secret of {cdn}"))
    return NewAccount(
        name=name or f"account {cdn}",
        cdn=cdn,
        key=key,
        edge_name="default",
        edge_token_digest=token_digest(f"token of {cdn}"),
    )


def attempt_filter(search: dict[str, Any]) -> AttemptFilter:
    """The oracle's filter as Usher's own: names and nets are there as a client writes them."""
    given: dict[str, Any] = dict(search)
    for name in ("app", "video"):
        if name in given and is_pattern(given[name]):
            given[name] = parse_pattern(name, given[name])
    for name in ("ip", "server_ip"):
        if name in given:
            given[name] = parse_net(given[name])
    if "reason" in given:
        given["reason"] = Reason(given["reason"])
    return AttemptFilter(**given)


def row(attempt: Attempt) -> dict[str, Any]:
    """An attempt as the oracle's row."""
    fields = {name: getattr(attempt, name) for name in attempt.__struct_fields__}
    fields["pass"] = fields.pop("password")
    fields["ip"] = format_address(attempt.ip)
    fields["server_ip"] = format_address(attempt.server_ip)
    return fields


def row_of(asked: AttemptRequest, *, number: int, at_ms: int, reason: str) -> dict[str, Any]:
    """The row that must be recorded of a question."""
    fields = {name: getattr(asked, name) for name in asked.__struct_fields__ if name not in ("attempt_id", "uncut")}
    fields["pass"] = fields.pop("password")
    fields["ip"] = format_address(asked.ip)
    fields["server_ip"] = format_address(asked.server_ip)
    return {**fields, "id": number, "at_ms": at_ms, "reason": reason}
