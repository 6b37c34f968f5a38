"""Every code Usher answers, in one table. `code` and `message` of a reply come from here and nowhere else.

On the wire a code is a JSON integer; pages and people see four digits. Numbers are never reused: one that is retired
stays in the table.
"""

from __future__ import annotations

import msgspec


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """One code. `sentence` is the reply's `message`, or how it begins; `ours`: not known from ScaleEngine."""

    number: int
    name: str
    sentence: str
    ours: bool
    success: bool = False

    def display(self) -> str:
        """The form that ScaleEngine's pages print: four digits."""
        return f"{self.number:04d}"


def _theirs(number: int, name: str, sentence: str, *, success: bool = False) -> Code:
    return Code(number=number, name=name, sentence=sentence, ours=False, success=success)


def _ours(number: int, name: str, sentence: str, *, success: bool = False) -> Code:
    return Code(number=number, name=name, sentence=sentence, ours=True, success=success)


# ScaleEngine's general codes (SEVU facts, 1.7).
UNKNOWN_COMMAND = _theirs(0, "unknown command", "Unrecognized API Command")
NOT_AUTHORISED = _theirs(
    1, "not authorised", "CDN Authorization failed; invalid API key or not authorised for the account"
)
TIMESTAMP_OUTSIDE_RANGE = _theirs(2, "timestamp outside range", "Timestamp outside valid range")
WRONG_SIGNATURE = _theirs(3, "wrong signature", "Failed HMAC-SHA256 Signature (check private key)")
UNEXPECTED_ERROR = _theirs(4, "unexpected error", "An unexpected error occurred")
UNAUTHORIZED_ACCESS = _theirs(5, "unauthorized access", "Unauthorized access to API")
MISSING_FIELDS = _theirs(6, "missing fields", "One or more required fields are missing")
BUSY = _theirs(1000, "busy", "Servers are unusually busy; retry in a few minutes")

# Ours for each command: success and failures, in the range that ScaleEngine gives to SEVU.
TICKET_ISSUED = _ours(2011, "ticket issued", "ScaleEngine Virtual Usher ticket issued", success=True)
REQUEST_INVALID = _ours(2012, "sevu.request: invalid parameter", "Invalid parameter")
REQUEST_REPLAYED = _ours(
    2013,
    "sevu.request: replayed",
    "This signed request has already created a ticket; sign a new one with a new timestamp or pass",
)
TICKET_FOUND = _ours(2021, "ticket found", "ScaleEngine Virtual Usher ticket found", success=True)
STATUS_INVALID = _ours(2022, "sevu.status: invalid parameter", "Invalid parameter")
STATUS_UNKNOWN_TICKET = _ours(2023, "sevu.status: unknown ticket", "No ticket of this account has that key")
TICKET_REVOKED = _ours(2031, "ticket revoked", "ScaleEngine Virtual Usher ticket revoked", success=True)
REVOKE_INVALID = _ours(2032, "sevu.revoke: invalid parameter", "Invalid parameter")
REVOKE_UNKNOWN_TICKET = _ours(2033, "sevu.revoke: unknown ticket", "No ticket of this account has that key")
ATTEMPTS_LISTED = _ours(2041, "attempts listed", "ScaleEngine Virtual Usher ticket attempts listed", success=True)
ERRORLOG_INVALID = _ours(2042, "sevu.errorlog: invalid parameter", "Invalid parameter")
ERRORLOG_UNAVAILABLE = _ours(
    2043, "sevu.errorlog: unavailable", "The attempts cannot be listed exactly at the moment, so none are; retry later"
)
# The page's own number and words, whatever was counted: a client may compare them (SEVU rulings).
ATTEMPTS_COUNTED = _theirs(
    2051,
    "attempts counted",
    "ScaleEngine Virtual Usher unsuccessful tickets attempts found",
    success=True,
)
ERRORCOUNT_INVALID = _ours(2052, "sevu.errorcount: invalid parameter", "Invalid parameter")
ERRORCOUNT_UNAVAILABLE = _ours(
    2053, "sevu.errorcount: unavailable", "An exact count cannot be given at the moment, so none is; retry later"
)

SESSIONS_LISTED = _ours(2061, "sessions listed", "ScaleEngine Virtual Usher sessions listed", success=True)
SESSIONS_INVALID = _ours(2062, "sevu.sessions: invalid parameter", "Invalid parameter")
SESSIONS_KICKED = _ours(2071, "sessions kicked", "ScaleEngine Virtual Usher sessions kicked", success=True)
KICK_INVALID = _ours(2072, "sevu.kick: invalid parameter", "Invalid parameter")

# Ours for what no command is reached by, in a range of their own, far from any that ScaleEngine is known to use.
MALFORMED_REQUEST = _ours(9001, "malformed request", "Malformed request")
POST_NEEDED = _ours(9002, "POST needed", "Send a POST whose form field json holds the signed request")
TOO_LARGE = _ours(9003, "too large", "The request is larger than 65536 bytes")
TOO_SLOW = _ours(9004, "too slow", "The request did not arrive in time")
OUTCOME_UNKNOWN = _ours(
    9005, "outcome unknown", "The command may or may not have been carried out; look before sending it again"
)

CODES: tuple[Code, ...] = (
    UNKNOWN_COMMAND,
    NOT_AUTHORISED,
    TIMESTAMP_OUTSIDE_RANGE,
    WRONG_SIGNATURE,
    UNEXPECTED_ERROR,
    UNAUTHORIZED_ACCESS,
    MISSING_FIELDS,
    BUSY,
    TICKET_ISSUED,
    REQUEST_INVALID,
    REQUEST_REPLAYED,
    TICKET_FOUND,
    STATUS_INVALID,
    STATUS_UNKNOWN_TICKET,
    TICKET_REVOKED,
    REVOKE_INVALID,
    REVOKE_UNKNOWN_TICKET,
    ATTEMPTS_LISTED,
    ERRORLOG_INVALID,
    ERRORLOG_UNAVAILABLE,
    ATTEMPTS_COUNTED,
    ERRORCOUNT_INVALID,
    ERRORCOUNT_UNAVAILABLE,
    SESSIONS_LISTED,
    SESSIONS_INVALID,
    SESSIONS_KICKED,
    KICK_INVALID,
    MALFORMED_REQUEST,
    POST_NEEDED,
    TOO_LARGE,
    TOO_SLOW,
    OUTCOME_UNKNOWN,
)

# ScaleEngine's numbers for other products: never to be given a meaning of ours (0100: prime or purge queued).
RESERVED_NUMBERS = frozenset({100})
