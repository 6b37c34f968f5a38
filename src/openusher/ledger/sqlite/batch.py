"""One batch of operations: read what it names, decide in order, write what changed.

A handful of statements whatever its size. What it names is read by one, which takes and returns JSON texts: half of the
time of a statement a ticket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec
from msgspec.structs import replace

from openusher.errors import AlreadyExists, AttemptIdReused, ReplayedCommand, UnknownTicket
from openusher.ledger.base import (
    ANSWER_KEPT_MS,
    HOOK,
    HOOK_KEPT_MS,
    Decide,
    Done,
    EndSessions,
    Issue,
    Operation,
    Outcome,
    PayKicks,
    Revoke,
    SeeSessions,
    Start,
)
from openusher.ledger.sqlite.sessions import THERE, TICKET_COLUMNS, Room, SessionBatch
from openusher.model.attempt import AttemptRequest, Decision, Reason, Verdict
from openusher.model.session import EndedBy, SessionWish, Started, viewer_digest
from openusher.model.ticket import NewTicket, Ticket
from openusher.rules import decide, has_expired

# What SQLite hands out and takes: columns are typed by the schema, which is STRICT.
Row = tuple[Any, ...]
_encoder = msgspec.json.Encoder()
_row_decoder = msgspec.json.Decoder(list[Row])
# Not strict: SQLite says 1 for true.
_ticket_decoder = msgspec.json.Decoder(list[Ticket], strict=False)

# More than a batch can add, so that what expires never piles up.
_PRUNED_ROWS_MAX = 1_000

TICKET = f"SELECT {TICKET_COLUMNS} FROM tickets WHERE cdn = ? AND key = ? AND {THERE}"
# Each takes a JSON array of the names it looks for. CROSS JOIN: the names come first, whatever the planner thinks.
_READ = f"""
SELECT
  (SELECT json_group_array(json_array(
      'Ticket', number, cdn, t.key, pass, app, video, ip, uses_limit, uses_taken, active, created_s, expires_s, used_s,
      max_sessions, newest_wins))
    FROM jsonb_each(?1) AS name CROSS JOIN tickets AS t ON cdn = name.value ->> 0 AND t.key = name.value ->> 1
    WHERE {THERE}),
  (SELECT json_group_array(json_array(cdn, attempt_id, digest, at_ms, attempt, reason, uses_left, expires_s))
    FROM jsonb_each(?2) AS name CROSS JOIN answers ON cdn = name.value ->> 0 AND attempt_id = name.value ->> 1),
  (SELECT json_group_array(json_array(api_key, digest))
    FROM jsonb_each(?3) AS name CROSS JOIN replays ON api_key = name.value ->> 0 AND digest = name.value ->> 1)
"""
_ISSUE = f"INSERT INTO tickets ({TICKET_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CHANGE = "UPDATE tickets SET ip = ?, uses_taken = ?, active = ?, used_s = ? WHERE number = ?"
_RECORD = """
INSERT INTO attempts (id, cdn, at_ms, key, pass, app, appinst, video, ip, pageurl, refurl, user_agent, server_ip, edge,
  cut, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# REPLACE: an answer older than its hour may not have been pruned yet.
_KEEP_ANSWER = """
INSERT OR REPLACE INTO answers (cdn, attempt_id, digest, at_ms, attempt, key, reason, uses_left, expires_s)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KEEP_REPLAY = "INSERT INTO replays (api_key, digest, until_ms) VALUES (?, ?, ?)"
# Only whoever adds has to make room.
_PRUNE_ANSWERS = f"""
DELETE FROM answers WHERE (cdn, attempt_id) IN (
  SELECT cdn, attempt_id FROM answers WHERE at_ms < ? - {ANSWER_KEPT_MS} LIMIT {_PRUNED_ROWS_MAX})
"""
_PRUNE_REPLAYS = f"""
DELETE FROM replays WHERE (api_key, digest) IN (
  SELECT api_key, digest FROM replays WHERE until_ms < ? LIMIT {_PRUNED_ROWS_MAX})
"""
_NUMBER = "UPDATE node SET clock_ms = ?, last_batch = ?, last_attempt = ?, last_session = ?"

# Members of an enumeration are looked up anew wherever they are named, which is a tenth of a decision.
_ACCEPTED = Reason.NONE
_WITHOUT_TICKET = (Reason.INVALID_TOKEN, Reason.MISSING_TOKEN)


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that only rise; those of a batch become the ledger's once it is committed."""

    clock_ms: int
    last_batch: int
    last_attempt: int
    last_ticket: int
    last_session: int


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    at_ms: int
    decision: Decision


class Batch:
    """What one transaction reads, decides and writes. Used once."""

    def __init__(self, connection: apsw.Connection, counters: Counters, *, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = max(now_ms, counters.clock_ms)
        self._last_batch = counters.last_batch + 1
        self._last_attempt = counters.last_attempt
        self._last_ticket = counters.last_ticket
        self._sessions = SessionBatch(connection, now_ms=self._now_ms, last_session=counters.last_session)
        self._tickets: dict[tuple[int, str], Ticket] = {}
        self._answers: dict[tuple[int, str], _Answer] = {}
        self._replays: set[tuple[str, str]] = set()
        self._issued: dict[int, tuple[int, str]] = {}
        self._changed: dict[int, tuple[int, str]] = {}
        self._attempt_rows: list[Row] = []
        self._answer_rows: list[Row] = []
        self._replay_rows: list[Row] = []

    @property
    def counters(self) -> Counters:
        """The ledger's counters once this batch is committed."""
        return Counters(
            clock_ms=self._now_ms,
            last_batch=self._last_batch,
            last_attempt=self._last_attempt,
            last_ticket=self._last_ticket,
            last_session=self._sessions.last_session,
        )

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carry out `operations` in order, in memory: `write` puts into the file what they change.

        Raises apsw.Error, and ValueError for a ticket whose rules cannot be read.
        """
        self._read(operations)
        return [self._carry_out(operation) for operation in operations]

    def write(self) -> None:
        """Write what changed inside the open transaction; the caller commits.

        Raises apsw.Error, and what apsw raises for values that no column takes.
        """
        write_all = self._connection.executemany
        write_all(_ISSUE, [_ticket_row(self._tickets[name]) for name in self._issued.values()])
        changed = (self._tickets[name] for name in self._changed.values())
        write_all(_CHANGE, [(t.ip, t.uses_taken, int(t.active), t.used_s, t.number) for t in changed])
        write_all(_RECORD, self._attempt_rows)
        if self._answer_rows:
            write_all(_KEEP_ANSWER, self._answer_rows)
            self._connection.execute(_PRUNE_ANSWERS, (self._now_ms,))
        if self._replay_rows:
            write_all(_KEEP_REPLAY, self._replay_rows)
            self._connection.execute(_PRUNE_REPLAYS, (self._now_ms,))
        self._sessions.write()
        numbers = (self._now_ms, self._last_batch, self._last_attempt, self._sessions.last_session)
        self._connection.execute(_NUMBER, numbers)

    def _read(self, operations: Sequence[Operation]) -> None:
        ticket_names: set[tuple[int, str]] = set()
        answer_names: set[tuple[int, str]] = set()
        replay_names: set[tuple[str, str]] = set()
        asked: list[AttemptRequest] = []
        starts: list[Start] = []
        for operation in operations:
            if isinstance(operation, Decide | Start):
                request = operation.request
                asked.append(request)
                ticket_names.add((request.cdn, request.key))
                if request.attempt_id:
                    answer_names.add((request.cdn, request.attempt_id))
                if isinstance(operation, Start):
                    starts.append(operation)
            elif isinstance(operation, Issue):
                ticket_names.add((operation.ticket.cdn, operation.ticket.key))
                if operation.replay_digest:
                    replay_names.add((operation.api_key, operation.replay_digest))
            elif isinstance(operation, Revoke):
                ticket_names.add((operation.cdn, operation.key))
        ((tickets, answers, replays),) = self._connection.execute(
            _READ, (_json(ticket_names), _json(answer_names), _json(replay_names))
        )
        self._tickets = {(ticket.cdn, ticket.key): ticket for ticket in _ticket_decoder.decode(tickets)}
        for cdn, attempt_id, digest, at_ms, attempt, reason, uses_left, expires_s in _rows(answers):
            if at_ms >= self._now_ms - (HOOK_KEPT_MS if attempt_id.startswith(HOOK) else ANSWER_KEPT_MS):
                decision = Decision(reason=Reason(reason), attempt=attempt, uses_left=uses_left, expires_s=expires_s)
                self._answers[cdn, attempt_id] = _Answer(digest=digest, at_ms=at_ms, decision=decision)
        self._sessions.read(asked, starts, self._tickets)
        self._replays = {(api_key, digest) for api_key, digest in _rows(replays)}

    def _carry_out(self, operation: Operation) -> Outcome:
        if isinstance(operation, Decide):
            return self._decide(operation.request, refusal=operation.refusal)
        if isinstance(operation, Start):
            return self._start(operation.request, operation.wish)
        if isinstance(operation, Issue):
            return self._issue(operation)
        if isinstance(operation, Revoke):
            return self._revoke(operation)
        return self._see_to_sessions(operation)

    def _decide(self, request: AttemptRequest, *, refusal: Reason = Reason.NONE) -> Outcome:
        """Decide and record. `refusal` is a reason against it that the rules do not know of."""
        ticket = self._tickets.get((request.cdn, request.key))
        digest = ""
        if request.attempt_id:
            digest = request.digest()
            answer = self._answers.get((request.cdn, request.attempt_id))
            if answer is not None:
                if answer.digest != digest:
                    return AttemptIdReused("attempt_id: was asked before with other content; give each attempt its own")
                return self._repeated(answer.decision, ticket, request)
        verdict = decide(ticket, request, now_ms=self._now_ms)
        if verdict.reason is _ACCEPTED and refusal is not _ACCEPTED:
            verdict = Verdict(refusal)
        if verdict.reason is _ACCEPTED and ticket is not None and self._sessions.is_held(ticket, request.ip):
            verdict = Verdict(Reason.KICKED)
        self._last_attempt += 1
        if verdict.reason is _ACCEPTED:
            assert ticket is not None
            ticket = self._change(
                ticket,
                uses_taken=ticket.uses_taken + 1,
                used_s=self._now_ms // 1000,
                ip=verdict.bound_ip or ticket.ip,
            )
        # Whoever cannot name the ticket's pass learns nothing of the ticket.
        known = None if verdict.reason in _WITHOUT_TICKET else ticket
        decision = Decision(
            reason=verdict.reason,
            attempt=self._last_attempt,
            uses_left=known.uses_left if known else None,
            expires_s=known.expires_s if known else None,
            bound_ip=verdict.bound_ip,
        )
        self._attempt_rows.append(_attempt_row(request, decision, at_ms=self._now_ms))
        # What a server's accepted question is answered when it comes again is its session's to say.
        if request.attempt_id and not (decision.accepted and request.attempt_id.startswith(HOOK)):
            self._keep_answer(request, decision, digest)
        return decision

    def _start(self, request: AttemptRequest, wish: SessionWish) -> Outcome:
        viewer = viewer_digest(request, wish.base)
        name = (request.cdn, request.key)
        ticket = self._tickets.get(name)
        joined = self._sessions.joined(viewer, wish)
        self._sessions.end(wish.ends, EndedBy.STOPPED)
        if joined is not None and ticket is not None and ticket.active and not has_expired(ticket, now_ms=self._now_ms):
            first = Decision(
                reason=_ACCEPTED, attempt=joined.attempt, uses_left=ticket.uses_left, expires_s=ticket.expires_s
            )
            return Started(decision=first, session=joined, ticket=ticket, is_new=False)
        room = self._sessions.room(ticket, request, wish, viewer=viewer) if ticket else Room()
        decision = self._decide(request, refusal=_ACCEPTED if room.is_there else Reason.TOO_MANY_SESSIONS)
        if not isinstance(decision, Decision) or not decision.accepted:
            return decision
        ticket = self._tickets[name]
        self._sessions.end(room.taken_from, EndedBy.REPLACED)
        session = self._sessions.open(wish, request, viewer=viewer, ticket=ticket, attempt=decision.attempt)
        return Started(decision=decision, session=session, ticket=ticket, is_new=True, replaced=room.taken_from)

    def _see_to_sessions(self, operation: SeeSessions | EndSessions | PayKicks) -> Done:
        if isinstance(operation, SeeSessions):
            self._sessions.see(operation.seen)
        elif isinstance(operation, PayKicks):
            self._sessions.pay(operation.numbers)
        else:
            self._sessions.end(operation.numbers, operation.by)
            self._sessions.hold(operation.held, operation.hold_ms)
        return Done()

    def _repeated(self, first: Decision, ticket: Ticket | None, request: AttemptRequest) -> Decision:
        """The first answer again; a "yes" only while it still holds (DESIGN, promise 4)."""
        if not first.accepted or ticket is None:
            return first
        # No number then: the attempt that the first answer named stands in the log as accepted.
        if not ticket.active:
            return replace(first, reason=Reason.REVOKED, attempt=0)
        if has_expired(ticket, now_ms=self._now_ms):
            return replace(first, reason=Reason.EXPIRED, attempt=0)
        if self._sessions.is_held(ticket, request.ip):
            return replace(first, reason=Reason.KICKED, attempt=0)
        return first

    def _keep_answer(self, request: AttemptRequest, decision: Decision, digest: str) -> None:
        name = (request.cdn, request.attempt_id)
        self._answers[name] = _Answer(digest=digest, at_ms=self._now_ms, decision=decision)
        said = (decision.attempt, request.key, decision.reason, decision.uses_left, decision.expires_s)
        self._answer_rows.append((*name, digest, self._now_ms, *said))

    def _issue(self, issue: Issue) -> Outcome:
        replay = (issue.api_key, issue.replay_digest)
        # One whose record may have been pruned is refused by its age instead.
        if issue.replay_digest and (replay in self._replays or issue.replay_until_ms < self._now_ms):
            return ReplayedCommand("this signature has already created something; sign a new command")
        wanted = issue.ticket
        if (wanted.cdn, wanted.key) in self._tickets:
            return AlreadyExists(f"key: a ticket with this key exists in account {wanted.cdn}")
        if issue.replay_digest:
            self._replays.add(replay)
            # Up to a second longer than it has to be kept: so those of a batch lie side by side in the index by time,
            # where those signed in one second would lie in no order, a page to be written for each.
            self._replay_rows.append((*replay, issue.replay_until_ms + self._now_ms % 1_000))
        self._last_ticket += 1
        ticket = _new_ticket(wanted, number=self._last_ticket, now_s=self._now_ms // 1000)
        self._tickets[ticket.cdn, ticket.key] = ticket
        self._issued[ticket.number] = (ticket.cdn, ticket.key)
        return ticket

    def _revoke(self, revoke: Revoke) -> Outcome:
        ticket = self._tickets.get((revoke.cdn, revoke.key))
        if ticket is None:
            return UnknownTicket(f"key: account {revoke.cdn} has no such ticket")
        if not ticket.active:
            return ticket
        self._sessions.end_ticket(ticket)
        return self._change(ticket, active=False)

    def _change(self, ticket: Ticket, **changes: object) -> Ticket:
        changed = replace(ticket, **changes)
        name = (changed.cdn, changed.key)
        self._tickets[name] = changed
        if changed.number not in self._issued:
            self._changed[changed.number] = name
        return changed


def _json(rows: Iterable[Row]) -> str:
    return _encoder.encode(rows).decode()


def _rows(text: str) -> list[Row]:
    return _row_decoder.decode(text)


def ticket_of_row(row: Row) -> Ticket:
    """A ticket from the columns of `tickets`, in their order."""
    ticket = Ticket(**dict(zip(Ticket.__struct_fields__, row, strict=True)))
    return replace(ticket, active=bool(ticket.active), newest_wins=bool(ticket.newest_wins))


def _new_ticket(wanted: NewTicket, *, number: int, now_s: int) -> Ticket:
    return Ticket(
        number=number,
        cdn=wanted.cdn,
        key=wanted.key,
        password=wanted.password,
        app=wanted.app,
        video=wanted.video,
        ip=wanted.ip,
        uses_limit=wanted.uses_limit,
        uses_taken=0,
        active=True,
        created_s=now_s,
        expires_s=wanted.expires_s,
        used_s=0,
        max_sessions=wanted.max_sessions,
        newest_wins=wanted.newest_wins,
    )


def _ticket_row(t: Ticket) -> Row:
    rules = (t.key, t.password, t.app, t.video, t.ip, t.uses_limit, t.uses_taken, int(t.active))
    return (t.number, t.cdn, *rules, t.created_s, t.expires_s, t.used_s, t.max_sessions, int(t.newest_wins))


def _attempt_row(request: AttemptRequest, decision: Decision, *, at_ms: int) -> Row:
    return (
        decision.attempt,
        request.cdn,
        at_ms,
        request.key,
        request.password,
        request.app,
        request.appinst,
        request.video,
        request.ip.to_bytes(16, "big"),
        request.pageurl,
        request.refurl,
        request.user_agent,
        request.server_ip.to_bytes(16, "big"),
        request.edge,
        int(request.cut),
        decision.reason,
    )
