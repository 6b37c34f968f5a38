"""What an edge asks, as any door puts it, and the question that both stores can hold."""

from __future__ import annotations

import re

import msgspec

from openusher.errors import InvalidParameter
from openusher.model.account import Edge
from openusher.model.address import NOT_SAID, parse_address
from openusher.model.attempt import AttemptRequest, Cut, Decision, text_digest
from openusher.model.discreet import Discreet
from openusher.model.limits import (
    APP_BYTES_MAX,
    KEY_BYTES_MAX,
    PASS_BYTES_MAX,
    URL_BYTES_MAX,
    USER_AGENT_BYTES_MAX,
    VIDEO_BYTES_MAX,
    cut_text,
    is_storable,
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


class Question(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body as it comes. `key` and `pass` may be missing or null: that is an attempt without a ticket. `app`,
    `video` and `ip` are missing where it is about a connection that has begun.

    Unknown members are refused: a mistyped `attempt_id` would silently cost a second use.
    """

    key: str | None = None
    password: str | None = msgspec.field(name="pass", default=None)
    app: str | None = None
    video: str | None = None
    ip: str | None = None
    appinst: str | None = None
    pageurl: str | None = None
    refurl: str | None = None
    server_ip: str | None = None
    user_agent: str | None = None
    attempt_id: str | None = None
    action: str | None = None
    client_id: str | None = None
    session_id: str | None = None


# field, its limit, and how a cut one is marked
_LIMITS = (
    ("key", KEY_BYTES_MAX, Cut.KEY),
    ("password", PASS_BYTES_MAX, Cut.PASS),
    ("app", APP_BYTES_MAX, Cut.APP),
    ("video", VIDEO_BYTES_MAX, Cut.VIDEO),
    ("appinst", APP_BYTES_MAX, Cut.APPINST),
    ("pageurl", URL_BYTES_MAX, Cut.PAGEURL),
    ("refurl", URL_BYTES_MAX, Cut.REFURL),
    ("user_agent", USER_AGENT_BYTES_MAX, Cut.USER_AGENT),
)


def request_of(question: Question, edge: Edge) -> AttemptRequest:
    """The question with its texts cut to their limits and its addresses read.

    Raises InvalidParameter naming the member.
    """
    texts, cut, uncut = _bounded(question)
    server_ip = NOT_SAID
    if question.server_ip:
        server_ip = read_address("server_ip", question.server_ip)
        if server_ip == NOT_SAID:
            raise InvalidParameter("server_ip", "is no server's address; leave it out where that is not known")
    return AttemptRequest(
        cdn=edge.cdn,
        edge=edge.number,
        ip=read_address("ip", question.ip or ""),
        server_ip=server_ip,
        attempt_id=_attempt_id(question.attempt_id),
        cut=cut,
        # The same id may come with a text that differs beyond the cut, and is then another question.
        uncut=text_digest("\0".join(uncut)) if uncut else "",
        **texts,
    )


def _bounded(question: Question) -> tuple[dict[str, str], int, list[str]]:
    """The texts within their limits, which of them were cut, and what these were before."""
    texts: dict[str, str] = {}
    cut, uncut = 0, []
    for field, bytes_max, mark in _LIMITS:
        text = getattr(question, field) or ""
        # Most texts are settled here, without the two calls.
        if not text.isascii() or len(text) > bytes_max or "\0" in text:
            if not is_storable(text):
                raise InvalidParameter("pass" if field == "password" else field, "holds a NUL character")
            whole = text
            text, was_cut = cut_text(whole, bytes_max=bytes_max)
            if was_cut:
                cut |= mark
                uncut.append(whole)
        texts[field] = text
    return texts, cut, uncut


def read_address(field: str, text: str) -> int:
    try:
        return parse_address(text)
    except ValueError:
        raise InvalidParameter(field, "is not an IPv4 or IPv6 address") from None


def complete(question: Question) -> Question:
    """A question about a start, which has all that one needs. Raises InvalidParameter naming what is missing."""
    for name, value in (("app", question.app), ("video", question.video), ("ip", question.ip)):
        if value is None:
            raise InvalidParameter(name, "is missing; give a text")
    return question


class TicketState(msgspec.Struct):
    """What an answer tells of the ticket: starts left (null: unlimited) and expiry in unix seconds."""

    uses_left: int | None
    expires: int


def ticket_state(decision: Decision) -> TicketState | None:
    """None where no ticket was opened."""
    return None if decision.expires_s is None else TicketState(decision.uses_left, decision.expires_s)


def _attempt_id(text: str | None) -> str:
    if not text:
        return ""
    if not _UUID.fullmatch(text):
        raise InvalidParameter("attempt_id", "is not a UUID such as 0192e4a8-7c3f-7d52-9f0a-3b1c5d7e9f01")
    return text.lower()
