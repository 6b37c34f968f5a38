"""What a ledger is asked to carry out, in batches, and what comes of it. Nothing here runs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openusher.errors import CallerError
from openusher.model.attempt import AttemptRequest, Decision, Reason
from openusher.model.discreet import Discreet
from openusher.model.session import SessionWish, Started
from openusher.model.ticket import NewTicket, Ticket

# 512 keeps a commit near its fsync's time, and the JSON texts that carry it far below what SQLite takes.
BATCH_OPERATIONS_MAX = 512
# How long an attempt_id gets its first answer again.
ANSWER_KEPT_MS = 3_600_000
# What an `attempt_id` begins with that a door has made of a media server's question, and for how long it is the same.
HOOK, HOOK_KEPT_MS = "hook:", 60_000


class Decide(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Decide and record one attempt. With a `refusal` it was refused before, and is recorded so; for that reason where
    the rules know none themselves."""

    request: AttemptRequest
    refusal: Reason = Reason.NONE


class Issue(Discreet, frozen=True, tag=True, array_like=True, kw_only=True):
    """Create a ticket. `replay_digest` with `api_key` must be new; it is kept until `replay_until_ms` has passed."""

    ticket: NewTicket
    api_key: str = ""
    replay_digest: str = ""
    replay_until_ms: int = 0


class Revoke(msgspec.Struct, frozen=True, tag=True, array_like=True, kw_only=True):
    """Revoke a ticket for ever. One already revoked is no error; one unknown is."""

    cdn: int
    key: str


class Start(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Decide and record one attempt, and open a session if it is accepted; or join the live session of the same viewer
    and video, which is then no attempt."""

    request: AttemptRequest
    wish: SessionWish


class SeeSessions(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Keep number, `seen_ms` and `watched_ms` of sessions, of which neither goes back."""

    seen: list[tuple[int, int, int]]


class EndSessions(msgspec.Struct, frozen=True, tag=True, array_like=True, kw_only=True):
    """End these sessions; one that has ended stays as it ended. `held` are tickets' numbers and addresses whose starts
    are refused for `hold_ms` from now."""

    numbers: list[int]
    by: str
    held: tuple[tuple[int, int], ...] = ()
    hold_ms: int = 0


class PayKicks(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The servers of these sessions have dropped their connections, or never will."""

    numbers: list[int]


class Done(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """It was carried out, and there is nothing to tell."""


Operation = Decide | Start | Issue | Revoke | SeeSessions | EndSessions | PayKicks
Outcome = Decision | Started | Ticket | Done | CallerError


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """A batch: at most `BATCH_OPERATIONS_MAX` operations in order, and the clock, in unix milliseconds, that decides
    them. It may be empty."""

    operations: Sequence[Operation]
    now_ms: int
