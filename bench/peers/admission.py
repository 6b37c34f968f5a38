"""The admission rules as a publisher's own service would have them: Usher's, in its order, written anew.

Nothing here is of `openusher`: what the peers do must not get faster or slower with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from hmac import compare_digest
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple, TypedDict

Asked = dict[str, str]


class TicketState(TypedDict):
    """What an answer tells of a ticket: starts left (None: unlimited) and expiry in unix seconds."""

    uses_left: int | None
    expires: int


class Answer(TypedDict):
    """What an edge is answered, in the form of Usher's own door."""

    allow: bool
    reason: str
    attempt_id: str
    ticket: TicketState | None


class Ticket(NamedTuple):
    """A row of `tickets`; `uses_limit` 0 means unlimited."""

    key: str
    password: str
    app: str
    video: str
    ip: str
    uses_limit: int
    uses_taken: int
    active: bool
    expires_s: int


def refusal(ticket: Ticket | None, asked: Asked, *, now_ms: int) -> tuple[str, str | None]:
    """The first reason against a start, empty for none; and the ticket's new `ip` where an `auto` slot is bound."""
    if not asked.get("key") or not asked.get("pass"):
        return "Missing Auth Token", None
    if ticket is None or not compare_digest(ticket.password.encode(), asked["pass"].encode()):
        return "Invalid Auth Token", None
    if not ticket.active:
        return "Ticket Revoked", None
    if now_ms >= 1000 * ticket.expires_s:
        return "Expiration date surpassed", None
    if not _matches(ticket.app, asked["app"]):
        return "Invalid Application", None
    if not _matches(ticket.video, asked["video"]):
        return "Invalid Video", None
    bound = None
    if not _admits(ticket.ip, asked["ip"]):
        bound = _bound(ticket.ip, asked["ip"])
        if bound is None:
            return "Invalid IP Address", None
    if ticket.uses_limit and ticket.uses_taken >= ticket.uses_limit:
        return "Maximum uses exceeded", None
    return "", bound


def answer_of(ticket: Ticket | None, reason: str, attempt: int) -> Answer:
    """The answer once it is committed. Of a ticket that the pass did not open nothing is told."""
    state: TicketState | None = None
    if ticket is not None and reason not in ("Missing Auth Token", "Invalid Auth Token"):
        left = ticket.uses_limit - ticket.uses_taken - (not reason) if ticket.uses_limit else None
        state = {"uses_left": left, "expires": ticket.expires_s}
    return {"allow": not reason, "reason": reason, "attempt_id": str(attempt), "ticket": state}


def attempt_row(
    asked: Asked, reason: str, *, now_ms: int, keep: Callable[[IPv4Address | IPv6Address], object]
) -> tuple[object, ...]:
    """What is recorded of an attempt, but for its number, in the order of the table; addresses as the store `keep`s
    them."""
    password, server_ip = asked.get("pass", ""), asked.get("server_ip")
    return (
        now_ms,
        asked.get("key", ""),
        password,
        password.split("|", 1)[0],
        asked["app"],
        asked.get("appinst", ""),
        asked["video"],
        keep(read_address(asked["ip"])),
        asked.get("pageurl", ""),
        asked.get("refurl", ""),
        asked.get("user_agent", ""),
        keep(read_address(server_ip)) if server_ip else None,
        not reason,
        reason,
    )


def _matches(patterns: str, name: str) -> bool:
    return patterns == name or _expression(patterns).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _expression(patterns: str) -> re.Pattern[str]:
    alternatives = [re.escape(part).replace(r"\*", ".*") for part in patterns.split("|") if part]
    return re.compile("|".join(alternatives), re.DOTALL)


def _admits(rule: str, address: str) -> bool:
    if rule == address:
        return True
    viewer = read_address(address)
    for entry in rule.split("|"):
        if entry.startswith("auto"):
            continue
        net = ip_network(entry, strict=False)
        # Any address, of either kind.
        if net.prefixlen == 0 or (net.version == viewer.version and viewer in net):
            return True
    return False


def _bound(rule: str, address: str) -> str | None:
    entries = rule.split("|")
    free = next((place for place, entry in enumerate(entries) if entry.startswith("auto")), None)
    if free is None:
        return None
    viewer = read_address(address)
    bits = entries[free].partition("/")[2]
    if viewer.version == 4:
        entries[free] = str(ip_network((viewer, int(bits or 32)), strict=False)) if bits else str(viewer)
    else:
        entries[free] = str(IPv6Network((viewer, 2 * int(bits or 32)), strict=False))
    return "|".join(entries)


@lru_cache(maxsize=65_536)
def read_address(text: str) -> IPv4Address | IPv6Address:
    """IPv4 in IPv6 is IPv4."""
    address = ip_address(text)
    return address if address.version == 4 else address.ipv4_mapped or address
