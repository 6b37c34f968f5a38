"""A whole Usher as dicts and lists: accounts that know nothing of each other, tickets, attempts, answers, a clock.

Tickets are those of admission.py, rows and searches those of attempt_rows.py. A question is a dict of `key pass app
appinst video ip pageurl refurl user_agent server_ip edge cut`.
"""

from __future__ import annotations

from collections import defaultdict

from tests.oracles import admission, attempt_rows
from tests.oracles.attempt_rows import Filter, Row

HOUR_MS = 3_600_000
NOT_REPEATED = ("edge",)

# How many; a page of them, newest first; a page of their groups, how many groups, and how many attempts these hold.
Answers = tuple[int, list[Row], tuple[list[tuple[str | int, int]], int, int]]


class Model:
    """What Usher must answer. `now_ms` is what the wall clock says; time never goes back past what was seen."""

    def __init__(self, *, last_attempt: int = 0) -> None:
        self.rows: list[Row] = []
        self.tickets: dict[int, dict[str, admission.Ticket]] = defaultdict(dict)
        self.used_s: dict[tuple[int, str], int] = {}
        self.clock_ms = 0
        self.kept_from_ms = self.anonymised_before_ms = 0
        self._last_attempt = last_attempt
        self._answers: dict[tuple[int, str], tuple[int, Row, Row]] = {}
        self._signatures: set[str] = set()

    def see(self, now_ms: int) -> None:
        self.clock_ms = max(self.clock_ms, now_ms)

    def forget(self, *, before_ms: int) -> None:
        """No answer knows an attempt from before `before_ms` any more, whatever is said later."""
        self.see(before_ms)
        self.kept_from_ms = max(self.kept_from_ms, before_ms)

    def anonymise(self, *, before_ms: int) -> None:
        """Every answer shows an attempt from before `before_ms` without what tells its viewer."""
        self.see(before_ms)
        self.anonymised_before_ms = max(self.anonymised_before_ms, before_ms)

    def issue(self, cdn: int, key: str, ticket: admission.Ticket, *, signature: str, until_ms: int, now_ms: int) -> str:
        """`issued`, `replayed` or `exists`."""
        self.see(now_ms)
        if signature and (signature in self._signatures or until_ms < self.clock_ms):
            return "replayed"
        if key in self.tickets[cdn]:
            return "exists"
        if signature:
            self._signatures.add(signature)
        self.tickets[cdn][key] = ticket
        self.used_s[cdn, key] = 0
        return "issued"

    def revoke(self, cdn: int, key: str, *, now_ms: int) -> str:
        """`revoked` or `unknown`."""
        self.see(now_ms)
        if key not in self.tickets[cdn]:
            return "unknown"
        self.tickets[cdn][key]["active"] = False
        return "revoked"

    def attempt(self, cdn: int, question: Row, *, attempt_id: str, now_ms: int) -> tuple[str, int]:
        """Reason and number; ("reused", 0) for an attempt_id that came with other content."""
        self.see(now_ms)
        asked = {name: value for name, value in question.items() if name not in NOT_REPEATED}
        kept = self._answers.get((cdn, attempt_id)) if attempt_id else None
        if kept is not None and kept[0] >= self.clock_ms - HOUR_MS:
            return self._repeated(cdn, asked, first=kept[1], row=kept[2])
        reason = admission.decide(self.tickets[cdn], question, now_ms=self.clock_ms)
        self._last_attempt += 1
        row = {**question, "id": self._last_attempt, "cdn": cdn, "at_ms": self.clock_ms, "reason": reason}
        self.rows.append(row)
        if reason == "":
            self.used_s[cdn, question["key"]] = self.clock_ms // 1000
        if attempt_id:
            self._answers[cdn, attempt_id] = (self.clock_ms, asked, row)
        return reason, self._last_attempt

    def _repeated(self, cdn: int, asked: Row, *, first: Row, row: Row) -> tuple[str, int]:
        if asked != first:
            return "reused", 0
        if row["reason"] == "":
            ticket = self.tickets[cdn][row["key"]]
            if not ticket["active"]:
                return "Ticket Revoked", 0
            if self.clock_ms >= ticket["expires_s"] * 1000:
                return "Expiration date surpassed", 0
        return row["reason"], row["id"]

    @property
    def last_attempt(self) -> int:
        return self._last_attempt

    def found(self, cdn: int, search: Filter, *, upto: int | None = None) -> list[Row]:
        """Matching attempts of an account, newest first; as they were when attempt `upto` was the newest of all."""
        found = []
        for row in reversed(self.rows):
            if row["cdn"] != cdn or row["at_ms"] < self.kept_from_ms or (upto is not None and row["id"] > upto):
                continue
            if row["at_ms"] >= self.anonymised_before_ms:
                found += [row] if attempt_rows.is_meant(row, search) else []
            elif attempt_rows.is_meant_anonymised(row, search):
                found.append(attempt_rows.anonymised(row))
        return found

    def answers(self, cdn: int, search: Filter, by: str, *, seek: int, limit: int, upto: int) -> Answers:
        """Count, list and groups as they were when attempt `upto` was the newest of all."""
        found = self.found(cdn, search, upto=upto)
        groups = attempt_rows.groups(found, by)
        page = slice(seek, seek + limit)
        return len(found), found[page], (groups[page], len(groups), len(found))
