"""A plain model of connections as media servers tell of them: lists and dictionaries, one question after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

REPEAT_MS = 60_000
HALVES_MS = 10_000
IDLE_MS = 300_000
HOLD_MS = 60_000


class Question(NamedTuple):
    """Who wants what: a ticket, whether its pass was right, the video and the address."""

    ticket: str
    is_right: bool
    video: str
    ip: str


@dataclass
class Ticket:
    """Its rules, 0 for any number; the uses taken; and whether it was revoked."""

    uses: int = 0
    sessions: int = 0
    taken: int = 0
    is_active: bool = True


@dataclass
class Session:
    """A connection by its server's name, and whether that was asked about half only."""

    client: str
    question: Question
    started_ms: int
    is_half: bool


@dataclass
class Model:
    """What must be true of an account after each question and word."""

    tickets: dict[str, Ticket]
    now_ms: int = 0
    accepted: int = 0
    refused: int = 0
    sessions: list[Session] = field(default_factory=list)
    # When a question about a connection was refused.
    refusals: dict[tuple[str, Question], int] = field(default_factory=dict)
    held_until_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def start(self, client: str, question: Question, *, repeats: bool = True, halves: bool = False) -> bool:
        known = [session for session in self.sessions if session.client == client]
        for session in known:
            if repeats and session.question == question and self.now_ms - session.started_ms <= REPEAT_MS:
                return True
        if halves:
            for session in self.sessions:
                is_other_half = session.is_half and session.question == question
                if is_other_half and self.now_ms - session.started_ms <= HALVES_MS:
                    self._end(known)
                    session.client, session.is_half = client, False
                    return True
        self._end(known)
        if repeats and self._was_refused(client, question):
            return False
        ticket = self.tickets[question.ticket]
        if not (self._opens(question) and self._has_room(ticket, question) and not self._is_held(question)):
            self.refused += 1
            if repeats:
                self.refusals[client, question] = self.now_ms
            return False
        self.accepted += 1
        ticket.taken += 1
        self.sessions.append(Session(client, question, self.now_ms, halves))
        return True

    def look(self, question: Question) -> bool:
        if self._opens(question):
            return True
        if not self._was_refused("", question):
            self.refused += 1
            self.refusals["", question] = self.now_ms
        return False

    def stop(self, client: str, video: str | None = None) -> None:
        self._end([each for each in self.sessions if each.client == client and video in (None, each.question.video)])

    def revoke(self, ticket: str) -> None:
        self.tickets[ticket].is_active = False
        self._end([session for session in self.sessions if session.question.ticket == ticket])

    def kick(self, ticket: str) -> None:
        kicked = [session for session in self.sessions if session.question.ticket == ticket]
        for session in kicked:
            self.held_until_ms[ticket, session.question.ip] = self.now_ms + HOLD_MS
        self._end(kicked)

    def _opens(self, question: Question) -> bool:
        ticket = self.tickets[question.ticket]
        return question.is_right and ticket.is_active and (not ticket.uses or ticket.taken < ticket.uses)

    def _has_room(self, ticket: Ticket, question: Question) -> bool:
        of_ticket = [session for session in self.sessions if session.question.ticket == question.ticket]
        there = [each for each in of_ticket if not each.is_half or self.now_ms - each.started_ms < IDLE_MS]
        return not ticket.sessions or len(there) < ticket.sessions

    def _is_held(self, question: Question) -> bool:
        return self.held_until_ms.get((question.ticket, question.ip), 0) > self.now_ms

    def _was_refused(self, client: str, question: Question) -> bool:
        at_ms = self.refusals.get((client, question))
        return at_ms is not None and self.now_ms - at_ms <= REPEAT_MS

    def _end(self, over: list[Session]) -> None:
        self.sessions = [session for session in self.sessions if not any(session is each for each in over)]
