"""Connections to media servers, as dicts: what a server names, repeats, follows up and ends. One edge, plain times.

After DESIGN, "Starts, follow-ups, sessions". Addresses and names are texts; all times are milliseconds.
"""

from __future__ import annotations

from typing import TypedDict

SAME_MS, IDLE_MS, WAKE_MS, HOLD_MS, ADDRESSES_MS = 60_000, 300_000, 21_600_000, 60_000, 600_000
CONNECTION_MS = 86_400_000
ADDRESSES_MAX = 3


class Question(TypedDict):
    """What a server asks about one of its connections."""

    client: str
    key: str
    password: str
    video: str
    ip: str


class Ticket(TypedDict):
    """Its rules, and what has become of it. It opens `video`, or all where that is `*`."""

    password: str
    video: str
    uses: int
    taken: int
    expires_ms: int
    active: bool
    most: int
    newest_wins: bool


class Session(TypedDict):
    """A connection that goes on. `asked` is whether its server has asked about it again."""

    number: int
    question: Question
    started_ms: int
    seen_ms: int
    asked: bool
    addresses: dict[str, int]


class Model:
    """A node as its servers see it."""

    def __init__(self, *, now_ms: int) -> None:
        self.now_ms = now_ms
        self.tickets: dict[str, Ticket] = {}
        self.sessions: list[Session] = []
        self.attempts: list[str] = []
        self.owed: set[int] = set()
        self._opened = 0
        self._refused: dict[tuple[str, ...], tuple[str, int]] = {}
        self._held: dict[tuple[str, str], int] = {}
        self._replaced: dict[tuple[str, ...], int] = {}

    # What servers ask

    def start(self, question: Question) -> str:
        """The reason against it; empty for yes."""
        ticket = self.tickets.get(question["key"])
        known = [each for each in self.sessions if each["question"]["client"] == question["client"]]
        same = [each for each in known if each["question"] == question and self.now_ms - each["started_ms"] <= SAME_MS]
        if same and ticket and ticket["active"] and self.now_ms < ticket["expires_ms"]:
            return ""
        for session in known:
            if session not in same:
                self._end(session)
        name = tuple(str(value) for value in question.values())
        if name in self._refused and self.now_ms - self._refused[name][1] <= SAME_MS:
            return self._refused[name][0]
        reason, leaving = self._decide(question, ticket)
        self.attempts.append(reason)
        if reason:
            self._refused[name] = (reason, self.now_ms)
            return reason
        assert ticket is not None
        ticket["taken"] += 1
        for session in leaving:
            self._replaced[_viewer(session["question"])] = self.now_ms
            self._end(session, owed=True)
        self._opened += 1
        self.sessions.append(
            {
                "number": self._opened,
                "question": question,
                "started_ms": self.now_ms,
                "seen_ms": self.now_ms,
                "asked": False,
                "addresses": {question["ip"]: self.now_ms},
            }
        )
        return ""

    def follow(self, question: Question) -> str:
        """Of a session by its client and ticket, from an address that may be another."""
        for session in self.sessions:
            told = session["question"]
            if all(told[name] == question[name] for name in ("client", "key", "password")):
                return self._goes_on(session, question["ip"])
        return "No Session"

    def end(self, client: str) -> None:
        for session in [each for each in self.sessions if each["question"]["client"] == client]:
            self._end(session)

    # What publishers and the node do

    def revoke(self, key: str) -> None:
        self.tickets[key]["active"] = False
        for session in self._of(key):
            self._end(session, owed=True)

    def kick(self, key: str) -> None:
        for session in self._of(key):
            if not self._is_over(session):
                for ip in {session["question"]["ip"], *self._lately(session)}:
                    self._held[key, ip] = self.now_ms + HOLD_MS
                self._end(session, owed=True)

    def sweep(self) -> None:
        for session in list(self.sessions):
            ticket = self.tickets[session["question"]["key"]]
            if self.now_ms >= ticket["expires_ms"]:
                self._end(session, owed=True)
            elif self._is_over(session):
                self._end(session, owed=not session["asked"])

    def restart(self) -> None:
        """What was in memory only is gone: from where each was used."""
        for session in self.sessions:
            session["addresses"] = {}

    def live(self) -> list[int]:
        """Their numbers, newest first."""
        return sorted((each["number"] for each in self.sessions if not self._is_over(each)), reverse=True)

    # How

    def _decide(self, question: Question, ticket: Ticket | None) -> tuple[str, list[Session]]:
        if ticket is None or question["password"] != ticket["password"]:
            return "Invalid Auth Token", []
        if not ticket["active"]:
            return "Ticket Revoked", []
        if self.now_ms >= ticket["expires_ms"]:
            return "Expiration date surpassed", []
        if ticket["video"] not in ("*", question["video"]):
            return "Invalid Video", []
        if ticket["uses"] and ticket["taken"] >= ticket["uses"]:
            return "Maximum uses exceeded", []
        there = [each for each in self._of(question["key"]) if self._has_place(each)]
        missing = len(there) + 1 - ticket["most"] if ticket["most"] else 0
        was_replaced = self._replaced.get(_viewer(question), -HOLD_MS) > self.now_ms - HOLD_MS
        if missing > 0 and (was_replaced or not ticket["newest_wins"]):
            return "Too many sessions", []
        if self._held.get((question["key"], question["ip"]), 0) > self.now_ms:
            return "Kicked", []
        there.sort(key=lambda each: (each["seen_ms"], each["number"]))
        return "", there[: max(0, missing)]

    def _goes_on(self, session: Session, ip: str) -> str:
        ticket = self.tickets[session["question"]["key"]]
        if self.now_ms >= ticket["expires_ms"]:
            return "Expiration date surpassed"
        if self._is_over(session):
            return "Session Ended"
        others = [each for each in self._of(session["question"]["key"]) if self._has_place(each) and each != session]
        if ticket["most"] and not self._has_place(session) and len(others) >= ticket["most"]:
            return "Too many sessions"
        lately = self._lately(session)
        if ip not in lately and len(lately) >= ADDRESSES_MAX:
            return "Too many addresses"
        session["addresses"] = {**lately, ip: self.now_ms}
        # A question in the very millisecond of the start tells nothing new.
        session["asked"] |= self.now_ms > session["seen_ms"]
        session["seen_ms"] = self.now_ms
        return ""

    def _has_place(self, session: Session) -> bool:
        return not session["asked"] or self.now_ms - session["seen_ms"] < IDLE_MS

    def _is_over(self, session: Session) -> bool:
        if self.now_ms >= self.tickets[session["question"]["key"]]["expires_ms"]:
            return True
        since_ms, for_ms = (session["seen_ms"], WAKE_MS) if session["asked"] else (session["started_ms"], CONNECTION_MS)
        return self.now_ms - since_ms > for_ms

    def _lately(self, session: Session) -> dict[str, int]:
        return {ip: at_ms for ip, at_ms in session["addresses"].items() if at_ms + ADDRESSES_MS > self.now_ms}

    def _of(self, key: str) -> list[Session]:
        return [each for each in self.sessions if each["question"]["key"] == key]

    def _end(self, session: Session, *, owed: bool = False) -> None:
        self.sessions.remove(session)
        if owed:
            self.owed.add(session["number"])


def _viewer(question: Question) -> tuple[str, ...]:
    return tuple(question[name] for name in ("key", "password", "video", "ip"))
