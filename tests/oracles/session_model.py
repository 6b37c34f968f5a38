"""Who watches, as dicts and lists: tickets, live sessions, their addresses, their silence, holds, attempts, a clock.

After DESIGN, "Starts, follow-ups, sessions". Tickets are those of admission.py; addresses are text. What files mean to
an edge is told with each question, since path maps have oracles of their own.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from tests.oracles import addresses, admission

ADDRESSES_WINDOW_MS = 600_000
# The ledger may know as late as this that a session goes on.
KEPT_LATE_MS = 30_000
NO_PLACE = "Too many sessions"
# With the ticket's pass these make one viewer.
VIEWER: tuple[Literal["cdn", "edge", "key", "ip", "agent"], ...] = ("cdn", "edge", "key", "ip", "agent")


class Limits(TypedDict):
    """Milliseconds, but for `addresses`."""

    idle: int
    resume: int
    hop: int
    hold: int
    addresses: int


class File(TypedDict):
    """What a path means: whether a viewer starts with it, and `base`, with which all files of its video begin."""

    path: str
    starts: bool
    app: str
    video: str
    base: str


class Question(TypedDict):
    """What an edge is asked for, with the numbers of the sessions whose cookies come along."""

    cdn: int
    edge: int
    method: str
    file: File
    key: str
    password: str
    ip: str
    agent: str
    cookies: list[int]


class Session(TypedDict):
    """`kept` is what the ledger knows at least of when it was seen and for how long it was watched, and `kept_most_ms`
    when it may think that it was seen last; `addresses` says when each was used last."""

    number: int
    cdn: int
    edge: int
    key: str
    ip: str
    agent: str
    base: str
    started_ms: int
    seen_ms: int
    watched_ms: int
    kept: tuple[int, int]
    kept_most_ms: int
    addresses: dict[str, int]


# Reason ("" is yes), number of the session that was allowed, and whether it was opened by this.
Answer = tuple[str, int | None, bool]
# Account, key, address.
Held = tuple[int, str, str]
# What ended it, and the least and the most that it may be said to have been watched.
Ended = tuple[str, int, int]


class Model:
    """What Usher must answer. `wall_ms` is what the wall clock says; `clock_ms` the largest that was ever written."""

    def __init__(self, limits: Limits, *, wall_ms: int) -> None:
        self.limits = limits
        self.wall_ms = wall_ms
        self.clock_ms = 0
        self.tickets: dict[int, dict[str, admission.Ticket]] = {}
        # How many sessions a ticket may have at once, 0 for any number, and whether a new one ends an old one then.
        self.places: dict[tuple[int, str], tuple[int, bool]] = {}
        # Those that nothing has ended yet, in order of their numbers.
        self.sessions: list[Session] = []
        self.last_number = 0
        self.ended: dict[int, Ended] = {}
        self.held_until_ms: dict[Held, int] = {}
        # Whose session was replaced, until when he replaces nobody with that video.
        self.replaced_until_ms: dict[tuple[object, ...], int] = {}
        self.attempts: Counter[tuple[int, str]] = Counter()

    @property
    def now_ms(self) -> int:
        return max(self.wall_ms, self.clock_ms)

    def commit(self) -> None:
        """Something is written, and with it what time it is."""
        self.clock_ms = self.now_ms

    # Tickets

    def issue(self, cdn: int, key: str, ticket: admission.Ticket, *, sessions: int, newest_wins: bool) -> None:
        self.commit()
        self.tickets.setdefault(cdn, {})[key] = ticket
        self.places[cdn, key] = sessions, newest_wins

    def revoke(self, cdn: int, key: str) -> None:
        self.commit()
        self.tickets[cdn][key]["active"] = False
        self._end(self._of_ticket(cdn, key), "revoked")

    # What is asked

    def ask(self, question: Question) -> Answer:
        """One question on its own."""
        answer = self.answer_at_once(question)
        return self.start(question, self.seen_ms()) if answer is None else answer

    def seen_ms(self) -> dict[int, int]:
        """When each session was seen last, by its number."""
        return {session["number"]: session["seen_ms"] for session in self.sessions}

    def answer_at_once(self, question: Question) -> Answer | None:
        """The answer where none waits for the ledger; None for a start."""
        if question["method"] == "OPTIONS":
            return "", None, False
        reason = "No Session"
        viewers = self._watched_by(question, self.sessions)
        for session in self._named_by_cookies(question) + viewers:
            if not _belongs(question["file"], session["base"]):
                continue
            reason = self._follow(session, question["ip"])
            if reason == "":
                return "", session["number"], False
            is_his = session in viewers or (reason == NO_PLACE and session["key"] == question["key"])
            if is_his and not self.is_over(session):
                # He goes on where he can: to start anew would only pay for it twice.
                return reason, None, False
        # Who was somebody's viewer and brings no ticket is told what became of that.
        may_start = question["file"]["starts"] and (question["key"] != "" or reason == "No Session")
        if not may_start or question["method"] not in ("GET", "HEAD"):
            return reason, None, False
        if question["method"] == "HEAD":
            # By the ticket alone: nobody is counted, so nobody takes a place.
            return self._judged(question), None, False
        return None

    def start(self, question: Question, seen_ms: Mapping[int, int]) -> Answer:
        """It is an attempt, unless one before it in the same batch has opened the session already. `seen_ms` was when
        it was asked, which may be before others of its batch."""
        self.commit()
        for session in self._watched_by(question, self.live()):
            if session["base"] == question["file"]["base"]:
                return "", session["number"], False
        ended = self._ended_for(question, seen_ms)
        reason = self._decide(question, has_room=ended is not None)
        if reason:
            return reason, None, False
        for session in ended or []:
            self.replaced_until_ms[_video_of(session)] = self.now_ms + self.limits["hold"]
        self._end(ended or [], "replaced")
        self.last_number += 1
        self.sessions.append(
            {
                "number": self.last_number,
                "cdn": question["cdn"],
                "edge": question["edge"],
                "key": question["key"],
                "ip": question["ip"],
                "agent": question["agent"],
                "base": question["file"]["base"],
                "started_ms": self.now_ms,
                "seen_ms": self.now_ms,
                "watched_ms": 0,
                "kept": (self.now_ms, 0),
                "kept_most_ms": self.now_ms,
                "addresses": {question["ip"]: self.now_ms},
            }
        )
        return "", self.last_number, True

    def authorize(self, question: Question) -> str:
        """An attempt that opens no session and joins none."""
        self.commit()
        return self._decide(question, has_room=True)

    def _named_by_cookies(self, question: Question) -> list[Session]:
        named = [s for number in question["cookies"] for s in self.sessions if s["number"] == number]
        return [session for session in named if session["edge"] == question["edge"]]

    def _watched_by(self, question: Question, sessions: Sequence[Session]) -> list[Session]:
        """Those of the same ticket, address and player through the same edge."""
        ticket = self.tickets[question["cdn"]].get(question["key"])
        if ticket is None or ticket["pass"] != question["password"]:
            return []
        asked = [question[name] for name in VIEWER]
        return [session for session in sessions if [session[name] for name in VIEWER] == asked]

    def _follow(self, session: Session, ip: str) -> str:
        if self.is_over(session):
            return "Expiration date surpassed" if self._has_expired(session) else "Session Ended"
        if not self._may_go_on(session):
            return NO_PLACE
        lately = self._addresses(session)
        if ip not in lately:
            if not addresses.admits(self.tickets[session["cdn"]][session["key"]]["ip"], ip):
                return "Invalid IP Address"
            if len(lately) >= self.limits["addresses"]:
                return "Too many addresses"
        session["addresses"][ip] = self.now_ms
        silent_ms = self.now_ms - session["seen_ms"]
        if silent_ms > 0:
            # Who slept did not watch.
            if silent_ms < self.limits["idle"]:
                session["watched_ms"] += silent_ms
            session["seen_ms"] = self.now_ms
            session["kept_most_ms"] = max(session["kept_most_ms"], self.now_ms)
        return ""

    def _addresses(self, session: Session) -> list[str]:
        """From where it was used lately."""
        return [ip for ip, at_ms in session["addresses"].items() if self.now_ms - at_ms < ADDRESSES_WINDOW_MS]

    def _decide(self, question: Question, *, has_room: bool) -> str:
        reason = self._judged(question)
        if not reason and not has_room:
            reason = NO_PLACE
        held_until_ms = self.held_until_ms.get((question["cdn"], question["key"], question["ip"]), 0)
        if not reason and self.now_ms < held_until_ms:
            reason = "Kicked"
        if not reason:
            self._judged(question, takes_use=True)
        self.attempts[question["cdn"], reason] += 1
        return reason

    def _judged(self, question: Question, *, takes_use: bool = False) -> str:
        """What the ticket says."""
        tickets = self.tickets[question["cdn"]]
        asked = {"key": question["key"], "pass": question["password"], "ip": question["ip"]}
        asked |= {"app": question["file"]["app"], "video": question["file"]["video"]}
        return admission.decide(tickets if takes_use else copy.deepcopy(tickets), asked, now_ms=self.now_ms)

    # Places

    def _ended_for(self, question: Question, seen_ms: Mapping[int, int]) -> list[Session] | None:
        """Who must go so that there is room for a new session; None if nobody may be sent away."""
        sessions, newest_wins = self.places.get((question["cdn"], question["key"]), (0, False))
        if sessions == 0:
            return []
        taking = [
            session
            for session in self._of_ticket(question["cdn"], question["key"])
            if self._is_there(session, seen_ms)
            and not (_player(session) == _player(question) and self._silent_ms(session, seen_ms) >= self.limits["hop"])
        ]
        too_many = len(taking) + 1 - sessions
        if too_many <= 0:
            return []
        if self.now_ms < self.replaced_until_ms.get(_video_of({**question, "base": question["file"]["base"]}), 0):
            return None
        # Those that were seen least lately; of two alike the older, since the newest wins.
        taking.sort(key=lambda session: (-self._silent_ms(session, seen_ms), session["number"]))
        return taking[:too_many] if newest_wins else None

    def _may_go_on(self, session: Session) -> bool:
        """Who sleeps, or has left for another video, needs room to come back."""
        sessions, _ = self.places[session["cdn"], session["key"]]
        others = [other for other in self._of_ticket(session["cdn"], session["key"]) if other is not session]
        return sessions == 0 or self._is_there(session) or sum(map(self._is_there, others)) < sessions

    def _of_ticket(self, cdn: int, key: str) -> list[Session]:
        return [session for session in self.sessions if (session["cdn"], session["key"]) == (cdn, key)]

    def _is_there(self, session: Session, seen_ms: Mapping[int, int] | None = None) -> bool:
        """Whether it takes a place. Who starts another video has soon left the one before."""
        silent_ms = self._silent_ms(session, seen_ms)
        has_left = silent_ms >= self.limits["hop"] and any(
            _player(other) == _player(session)
            and other["number"] > session["number"]
            and other["started_ms"] >= self.now_ms - silent_ms
            for other in self._of_ticket(session["cdn"], session["key"])
        )
        return silent_ms < self.limits["idle"] and not has_left

    def _silent_ms(self, session: Session, seen_ms: Mapping[int, int] | None = None) -> int:
        return self.now_ms - (seen_ms or {}).get(session["number"], session["seen_ms"])

    # What becomes of sessions

    def live(self) -> list[Session]:
        return [session for session in self.sessions if not self.is_over(session)]

    def is_over(self, session: Session) -> bool:
        """Whether it can no more be woken, whoever has noticed."""
        return self._has_expired(session) or self._silent_ms(session) > self.limits["resume"]

    def _has_expired(self, session: Session) -> bool:
        return self.now_ms >= self.tickets[session["cdn"]][session["key"]]["expires_s"] * 1_000

    def is_asleep(self, session: Session) -> bool:
        return self._silent_ms(session) >= self.limits["idle"]

    def sweep(self) -> None:
        """Those that are over are ended, whatever the clock does after."""
        over = [session for session in self.sessions if self.is_over(session)]
        if over:
            self.commit()
            self._end([session for session in over if self._has_expired(session)], "expired")
            self._end([session for session in over if not self._has_expired(session)], "silence")

    def held_by_kick(self, numbers: Sequence[int]) -> list[Held]:
        """Where whoever is kicked now cannot start: at the start's address, and where it was used since, lately."""
        kicked = [session for session in self.live() if session["number"] in numbers]
        return [(s["cdn"], s["key"], ip) for s in kicked for ip in {s["ip"], *self._addresses(s)}]

    def kick(self, numbers: Sequence[int], held: Sequence[Held]) -> int:
        """How many were kicked."""
        if numbers:
            self.commit()
            self._end([session for session in self.sessions if session["number"] in numbers], "kicked")
            self.held_until_ms.update(dict.fromkeys(held, self.now_ms + self.limits["hold"]))
        return len(numbers)

    def _end(self, over: Sequence[Session], by: str) -> None:
        """How long they were watched is written at last, but of those that must make room at once."""
        for session in over:
            watched_ms = session["watched_ms"]
            least_ms = session["kept"][1] if by == "replaced" else watched_ms
            self.ended[session["number"]] = by, least_ms, watched_ms
        self.sessions = [session for session in self.sessions if session not in over]

    # What the ledger knows of sessions that go on. When that is written is left to it, within `KEPT_LATE_MS`

    def keep(self, *, late_ms: int = KEPT_LATE_MS) -> None:
        """What was seen is written, but for what is newer than `late_ms`."""
        for session in self.sessions:
            seen_ms, watched_ms = session["seen_ms"] - late_ms, session["watched_ms"] - late_ms
            session["kept"] = max(session["kept"][0], seen_ms), max(session["kept"][1], watched_ms)

    def clock_was(self, clock_ms: int) -> bool:
        """Take over the clock that the ledger has; whether it is one that may have been written."""
        may_be, self.clock_ms = self.clock_ms <= clock_ms <= self.now_ms, clock_ms
        return may_be

    def began(self, found: Mapping[int, tuple[int, int]]) -> bool:
        """The node is back, and has `found` when each session was seen and for how long it was watched. Take that over;
        whether it may be so. What has passed since the last clock that was written was its own silence, not the
        viewers', and stays that when it goes away again. Addresses were in its memory only."""
        away_ms = self.now_ms - self.clock_ms
        may_be = sorted(found) == [session["number"] for session in self.sessions]
        for session in self.sessions:
            (least_ms, least_watched_ms), most_ms = session["kept"], session["kept_most_ms"]
            seen_ms, watched_ms = session["kept"] = found.get(session["number"], (0, 0))
            may_be &= min(least_ms + away_ms, self.now_ms) <= seen_ms <= min(most_ms + away_ms, self.now_ms)
            may_be &= least_watched_ms <= watched_ms <= session["watched_ms"]
            session["seen_ms"], session["watched_ms"], session["addresses"] = seen_ms, watched_ms, {}
            session["kept_most_ms"] = max(most_ms, seen_ms)
        return may_be

    # When something changes by itself

    def moments_ms(self) -> list[int]:
        """The instants to come at which an answer may change though nobody does anything."""
        limits = self.limits
        seen = [session["seen_ms"] for session in self.sessions]
        used = [at_ms for session in self.sessions for at_ms in session["addresses"].values()]
        found = {at_ms + after for at_ms in seen for after in (limits["hop"], limits["idle"], limits["resume"])}
        found |= {at_ms + ADDRESSES_WINDOW_MS for at_ms in used} | set(self.held_until_ms.values())
        found |= {ticket["expires_s"] * 1_000 for tickets in self.tickets.values() for ticket in tickets.values()}
        return sorted(at_ms for at_ms in found if at_ms > self.now_ms)


def _belongs(file: File, base: str) -> bool:
    """Whether it lies in the session's folder; or, where the video is named by its files' names, whether by its own."""
    return file["path"].startswith(base) if base.endswith("/") else file["base"] == base


def _player(one: Session | Question) -> tuple[int, str, str, str]:
    """Who watches, whatever the video and the edge."""
    return one["cdn"], one["key"], one["ip"], one["agent"]


def _video_of(session: Mapping[str, object]) -> tuple[object, ...]:
    """Who watches which video."""
    return (*[session[name] for name in VIEWER], session["base"])
