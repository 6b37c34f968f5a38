"""Attempts: one try at starting a video with a ticket, as asked, as decided, as recorded."""

from __future__ import annotations

from enum import IntFlag, StrEnum
from hashlib import blake2b

import msgspec

from openusher.model.address import NOT_SAID
from openusher.model.discreet import Discreet


class Reason(StrEnum):
    """Why an attempt was refused; empty for an accepted one. The first three texts are ScaleEngine's own
    (SEVU facts, section 4), which players compare; the others are ours."""

    NONE = ""
    INVALID_IP = "Invalid IP Address"
    EXPIRED = "Expiration date surpassed"
    INVALID_TOKEN = "Invalid Auth Token"
    MISSING_TOKEN = "Missing Auth Token"
    REVOKED = "Ticket Revoked"
    INVALID_APP = "Invalid Application"
    INVALID_VIDEO = "Invalid Video"
    USES_EXCEEDED = "Maximum uses exceeded"
    TOO_MANY_SESSIONS = "Too many sessions"
    KICKED = "Kicked"

    # That of Enum takes longer than all else that counting by it does.
    __hash__ = str.__hash__


class Cut(IntFlag):
    """Which fields of an attempt were longer than their limit and were cut."""

    NONE = 0
    KEY = 1
    PASS = 2
    APP = 4
    VIDEO = 8
    APPINST = 16
    PAGEURL = 32
    REFURL = 64
    USER_AGENT = 128


class AttemptRequest(Discreet, frozen=True, array_like=True, kw_only=True):
    """The question an edge asks. Texts are storable and within their limits (`cut` says which had to be shortened, and
    `uncut` is then a digest of what these were), addresses are numbers of 128 bits (`server_ip` may be NOT_SAID).
    `attempt_id` is the edge's own UUID or empty."""

    cdn: int
    edge: int
    key: str
    password: str
    app: str
    video: str
    ip: int
    appinst: str = ""
    pageurl: str = ""
    refurl: str = ""
    server_ip: int = NOT_SAID
    user_agent: str = ""
    attempt_id: str = ""
    cut: int = 0
    uncut: str = ""

    def digest(self) -> str:
        """Tell this question from any other under the same `attempt_id`; the edge that asks does not matter."""
        parts = (self.key, self.password, self.app, self.video, self.appinst, self.pageurl, self.refurl)
        text = "\0".join((*parts, self.user_agent, f"{self.ip:x}.{self.server_ip:x}.{int(self.cut)}"))
        return text_digest(f"{text}.{self.uncut}" if self.uncut else text)


class Verdict(msgspec.Struct, frozen=True):
    """What the rules say: a reason against, or none; and the ticket's new `ip` if accepting binds an `auto` slot."""

    reason: Reason
    bound_ip: str | None = None


class Decision(msgspec.Struct, frozen=True, tag=True, array_like=True, kw_only=True):
    """What Usher answers an attempt. `attempt` is its number in the log; 0 for a repeat that could not be confirmed.
    `bound_ip` is the ticket's `ip` where this has bound a slot of it. `expires_s` and `uses_left` are None where no
    ticket was opened (and `uses_left` for an unlimited one)."""

    reason: Reason
    attempt: int
    uses_left: int | None = None
    expires_s: int | None = None
    bound_ip: str | None = None

    @property
    def accepted(self) -> bool:
        return self.reason is Reason.NONE


class Attempt(Discreet, frozen=True, kw_only=True):
    """A recorded attempt. `id` rises in commit order and is the order; `at_ms` is unix time in milliseconds."""

    id: int
    cdn: int
    at_ms: int
    key: str
    password: str
    app: str
    appinst: str
    video: str
    ip: int
    pageurl: str
    refurl: str
    user_agent: str
    server_ip: int
    edge: int
    cut: int
    reason: str


def text_digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def user_of(password: str) -> str:
    """Who a pass names: what stands before its first `|` (ScaleEngine's own advice for tracing); the whole without."""
    return password.split("|", 1)[0]
