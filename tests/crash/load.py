"""A load that remembers exactly what it asked and what it was told, so that a count can be held against it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from tests.sevuclient import Account, Connection

_THREADS = 6
# The door may be dead or gone: every one of these says that no answer came.
NO_ANSWER = (OSError, HTTPException, json.JSONDecodeError)


@dataclass
class Asked:
    """One attempt. `attempt_id` is empty where the edge sends none; `answered` once an answer came."""

    video: str
    key: str
    password: str
    attempt_id: str
    answered: bool = False
    allowed: bool = False


@dataclass
class Load:
    """Several edges asking at once until told to stop. Each attempt has a video of its own, by which it is found."""

    account: Account
    tickets: list[dict[str, Any]]
    name: str
    asked: list[Asked] = field(default_factory=list)
    # By key, as answered; and those of which a revocation was asked for, or answered.
    issued: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoking: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    wrong_counts: list[str] = field(default_factory=list)
    counts: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, url: str) -> None:
        targets = [*([self._ask_attempts] * _THREADS), self._issue_tickets, self._count]
        for number, target in enumerate(targets):
            thread = threading.Thread(target=target, args=(url, number), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "the load hangs"

    def await_answers(self, number: int) -> None:
        """Return once `number` more attempts were answered; within a minute they must be."""
        deadline = time.monotonic() + 60
        goal = self.answered() + number
        while (missing := goal - self.answered()) > 0:
            assert time.monotonic() < deadline, f"{missing} of {number} attempts were not answered within a minute"
            self._stop.wait(0.005)

    def answered(self) -> int:
        with self._lock:
            return sum(asked.answered for asked in self.asked)

    def _ask_attempts(self, url: str, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            ticket = self.tickets[number % len(self.tickets)]
            asked = Asked(
                video=f"{self.name}/{thread}/{number}",
                key=ticket["key"],
                password=ticket["pass"],
                attempt_id=str(uuid.uuid4()) if number % 2 else "",
            )
            number += 1
            with self._lock:
                self.asked.append(asked)
            try:
                with Connection(url, timeout_s=20) as connection:
                    # A few on one connection, as an edge does.
                    self._ask(connection, asked)
            except NO_ANSWER:
                self._stop.wait(0.02)

    def _ask(self, connection: Connection, asked: Asked) -> None:
        question = {"key": asked.key, "password": asked.password, "video": asked.video}
        if asked.attempt_id:
            question["attempt_id"] = asked.attempt_id
        status, answer = connection.authorize(self.account, **question)
        if status == 200:
            asked.allowed = answer["allow"]
            asked.answered = True

    def repeat_unanswered(self, url: str) -> int:
        """Ask again, as an edge would, what had an id and got no answer; returns how many."""
        repeated = [asked for asked in self.asked if asked.attempt_id and not asked.answered]
        with Connection(url) as connection:
            for asked in repeated:
                self._ask(connection, asked)
                assert asked.answered
        return len(repeated)

    def _issue_tickets(self, url: str, thread: int) -> None:
        number = 0
        while not self._stop.wait(0.01):
            number += 1
            try:
                with Connection(url, timeout_s=20) as connection:
                    reply = connection.call(
                        self.account,
                        "sevu.request",
                        app="*",
                        video="*",
                        ip="auto",
                        uses=3,
                        password=f"{self.name}-{thread}-{number}",
                    )
                    if reply["status"] != "success":
                        continue
                    ticket = reply["ticket"]
                    self.issued[ticket["key"]] = ticket
                    if number % 2:
                        self._revoke(connection, ticket["key"])
            except NO_ANSWER:
                continue

    def _revoke(self, connection: Connection, key: str) -> None:
        self.revoking.add(key)
        if connection.call(self.account, "sevu.revoke", key=key)["status"] == "success":
            self.revoked.add(key)

    def wrong_tickets(self, connection: Connection) -> list[str]:
        """Tickets that are gone, or active after a revocation was answered, or inactive though none was asked for."""
        wrong = []
        for key in self.issued:
            reply = connection.call(self.account, "sevu.status", key=key)
            if reply["code"] != 2021:
                wrong.append(f"{key} is gone: {reply}")
            elif key in self.revoked and reply["active"] != "0":
                wrong.append(f"{key} is active again")
            elif key not in self.revoking and reply["active"] != "1":
                wrong.append(f"{key} is not active")
        return wrong

    def _count(self, url: str, thread: int) -> None:
        """Count all the time: a number must lie between what was answered before and what was asked by then."""
        while not self._stop.wait(0.02):
            before = self.answered()
            try:
                with Connection(url, timeout_s=20) as connection:
                    reply = connection.call(self.account, "sevu.errorcount", video=f"{self.name}/*")
            except NO_ANSWER:
                continue
            if reply["status"] != "success":
                continue
            with self._lock:
                after = len(self.asked)
            self.counts += 1
            if not before <= reply["error_count"] <= after:
                self.wrong_counts.append(f"{reply['error_count']} is not within {before} and {after}")


def times_counted(connection: Connection, account: Account, videos: str) -> dict[str, int]:
    """How often each video that matches the pattern was attempted, by the node's own count."""
    found: dict[str, int] = {}
    while True:
        reply = connection.call(
            account, "sevu.errorcount", video=videos, group_by="video", limit=10_000, seek=len(found)
        )
        assert reply["status"] == "success", reply
        page = {group["value"]: group["count"] for group in reply["groups"]}
        found.update(page)
        if len(found) >= reply["group_count"] or not page:
            assert reply["error_count"] == sum(found.values())
            return found


def discrepancies(asked: Iterable[Asked], counted: dict[str, int]) -> tuple[list[str], list[str]]:
    """Videos lost (answered, not counted) and counted twice."""
    lost, twice = [], []
    for attempt in asked:
        times = counted.get(attempt.video, 0)
        if times > 1:
            twice.append(attempt.video)
        if attempt.answered and times == 0:
            lost.append(attempt.video)
    return lost, twice
