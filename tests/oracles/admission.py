"""May this ticket start this video? Naive code over dicts, after SEVU rulings "order of checks" and "uses"."""

from __future__ import annotations

from typing import TypedDict

from tests.oracles import addresses, matching

LONGEST_BYTES = {"key": 128, "pass": 256, "app": 128, "video": 1024}


# The member is called `pass` everywhere outside Python, so the dict cannot be a class.
Ticket = TypedDict(
    "Ticket",
    {
        "pass": str,
        "app": str,
        "video": str,
        "ip": str,
        "uses": int,
        "used": int,
        "active": bool,
        "expires_s": int,
    },
)


def decide(tickets: dict[str, Ticket], attempt: dict[str, str], *, now_ms: int) -> str:
    """Return the first reason against `attempt` (key, pass, app, video, ip), or "" when it starts.

    An accepted attempt takes its use and binds its slot in `tickets`, as the ledger would; a refused one changes
    nothing.
    """
    long = {field for field, most in LONGEST_BYTES.items() if len(attempt[field].encode()) > most}
    if attempt["key"] == "" or attempt["pass"] == "":
        return "Missing Auth Token"
    ticket = tickets.get(attempt["key"])
    if ticket is None or "key" in long or "pass" in long or attempt["pass"] != ticket["pass"]:
        return "Invalid Auth Token"
    if not ticket["active"]:
        return "Ticket Revoked"
    if now_ms / 1000 >= ticket["expires_s"]:
        return "Expiration date surpassed"
    if "app" in long or not matching.matches(ticket["app"], attempt["app"]):
        return "Invalid Application"
    if "video" in long or not matching.matches(ticket["video"], attempt["video"]):
        return "Invalid Video"
    new_ip = ticket["ip"]
    if not addresses.admits(ticket["ip"], attempt["ip"]):
        bound = addresses.bound(ticket["ip"], attempt["ip"])
        if bound is None:
            return "Invalid IP Address"
        new_ip = bound
    if ticket["uses"] > 0 and ticket["used"] >= ticket["uses"]:
        return "Maximum uses exceeded"
    ticket["used"] += 1
    ticket["ip"] = new_ip
    return ""
