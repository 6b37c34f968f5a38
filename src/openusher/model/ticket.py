"""Tickets: a key and a pass, with the rules that say what they open."""

from __future__ import annotations

import hmac
import re
import secrets
from enum import StrEnum

from openusher.model.discreet import Discreet
from openusher.model.limits import KEY_BYTES_MAX

USES_MAX = 2**31 - 1
# Of each start all sessions of its ticket are looked at.
SESSIONS_MAX = 1_000
_UNSAFE = re.compile(r"[^A-Za-z0-9-]")
_NAME_CHARACTERS_MAX = 64


class NewTicket(Discreet, frozen=True, kw_only=True):
    """A ticket as asked for, already checked: texts within their limits, patterns and addresses readable.

    `uses_limit` and `max_sessions` 0 mean unlimited; at `max_sessions` a start is refused, or, with `newest_wins`, ends
    the session that was seen least lately. `key` is given only when a ticket sold elsewhere is taken over.
    """

    cdn: int
    password: str
    app: str
    video: str
    ip: str
    uses_limit: int
    expires_s: int
    key: str
    max_sessions: int = 0
    newest_wins: bool = False


class Ticket(Discreet, frozen=True, tag=True, array_like=True, kw_only=True):
    """A ticket as it stands. Times are unix seconds; `used_s` 0: never used. Uses are kept as allowed and taken, so
    that nothing is ever counted down past zero. `ip` is the text as given, its bound `auto` slots replaced. The order
    of the fields is that of the columns which the SQLite ledger reads."""

    number: int
    cdn: int
    key: str
    password: str
    app: str
    video: str
    ip: str
    uses_limit: int
    uses_taken: int
    active: bool
    created_s: int
    expires_s: int
    used_s: int
    max_sessions: int = 0
    newest_wins: bool = False

    def opens_with(self, password: str) -> bool:
        """Compare the pass in constant time."""
        return hmac.compare_digest(self.password.encode(), password.encode())

    @property
    def unlimited(self) -> bool:
        return self.uses_limit == 0

    @property
    def uses_left(self) -> int | None:
        """Starts left; None for an unlimited ticket."""
        return None if self.unlimited else self.uses_limit - self.uses_taken

    def state(self, now_s: int) -> TicketState:
        """What has become of it by then."""
        if not self.active:
            return TicketState.REVOKED
        if now_s >= self.expires_s:
            return TicketState.EXPIRED
        return TicketState.USED_UP if self.uses_left == 0 else TicketState.OPEN


class TicketState(StrEnum):
    """What becomes of a ticket: it opens what it is for, or the first of these that holds ended it."""

    OPEN = "open"
    REVOKED = "revoked"
    EXPIRED = "expired"
    USED_UP = "used-up"


class TicketFilter(Discreet, frozen=True, kw_only=True):
    """Which tickets are meant; all given members must hold, None means any. `key` is a pattern; `app` and `video` are
    what a ticket is to open."""

    key: str | None = None
    app: str | None = None
    video: str | None = None
    user: str | None = None
    state: TicketState | None = None


def new_ticket_key(video: str) -> str:
    """Make a key in SEVU's form, safe in URLs: sanitised first video name, 14 hex digits, 8 digits (82 random bits).

    Source: SEVU rulings, "key format".
    """
    # As in a pattern, an empty alternative names nothing.
    first = video.lstrip("|").split("|", 1)[0][:_NAME_CHARACTERS_MAX]
    # Drawn at once: to ask the kernel is half of what a key costs. Of 64 bits no eight digits come up more often than
    # others by more than one in a hundred thousand million.
    drawn = secrets.token_bytes(15)
    digits = int.from_bytes(drawn[7:], "big") % 10**8
    key = f"{_UNSAFE.sub('_', first)}.{drawn[:7].hex()}.{digits:08d}"
    assert len(key) <= KEY_BYTES_MAX
    return key
