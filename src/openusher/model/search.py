"""Which attempts are meant: the filter of a count, a search or a grouping."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from openusher.model.address import NOT_SAID, Net
from openusher.model.attempt import Attempt, Reason, user_of
from openusher.model.discreet import Discreet
from openusher.model.pattern import Pattern


class GroupBy(StrEnum):
    """What attempts may be grouped by; hours and days are UTC."""

    KEY = "key"
    USER = "user"
    APP = "app"
    VIDEO = "video"
    IP = "ip"
    REASON = "reason"
    SUCCESS = "success"
    SERVER_IP = "server_ip"
    HOUR = "hour"
    DAY = "day"


class AttemptFilter(Discreet, frozen=True, kw_only=True):
    """All given members must hold; None means any. `app` and `video` as text are exact. Times are unix milliseconds,
    `from_ms` included, `before_ms` not; ids likewise exclude the one named. An attempt whose server was not said is
    never meant by a `server_ip`, not even by one that holds every address."""

    key: str | None = None
    password: str | None = None
    user: str | None = None
    app: str | Pattern | None = None
    video: str | Pattern | None = None
    ip: Net | None = None
    accepted: bool | None = None
    reason: Reason | None = None
    server_ip: Net | None = None
    from_ms: int | None = None
    before_ms: int | None = None
    after_id: int | None = None
    before_id: int | None = None

    def means(self, attempt: Attempt) -> bool:
        """Whether every given member holds. Both stores search by statements of their own, which find the same."""
        return all(
            (
                self.key is None or attempt.key == self.key,
                self.password is None or attempt.password == self.password,
                self.user is None or user_of(attempt.password) == self.user,
                self.app is None or is_named(attempt.app, self.app),
                self.video is None or is_named(attempt.video, self.video),
                self.ip is None or self.ip.holds(attempt.ip),
                self.accepted is None or (attempt.reason == "") == self.accepted,
                self.reason is None or attempt.reason == self.reason,
                self.server_ip is None or (attempt.server_ip != NOT_SAID and self.server_ip.holds(attempt.server_ip)),
                self.from_ms is None or attempt.at_ms >= self.from_ms,
                self.before_ms is None or attempt.at_ms < self.before_ms,
                self.after_id is None or attempt.id > self.after_id,
                self.before_id is None or attempt.id < self.before_id,
            )
        )


def is_named(name: str, wanted: str | Pattern) -> bool:
    """Whether an app or a video of this name is meant."""
    return wanted.matches(name) if isinstance(wanted, Pattern) else name == wanted


# How a group's value is held until it is shown: addresses as numbers, success 1 or 0, hour and day as unix seconds of
# their start, the rest as text. Both stores order values the same way: numbers by size, texts by their bytes.
GroupValue = str | int


class Total(NamedTuple):
    """How many attempts there are of one app, video and reason."""

    app: str
    video: str
    reason: str
    attempts: int


class Group(msgspec.Struct, frozen=True):
    """One group and how many attempts it has."""

    value: GroupValue
    count: int


def in_order(groups: list[Group]) -> list[Group]:
    """Largest first, ties by value (SEVU rulings, `group_by`). All values must be of one type."""
    return sorted(sorted(groups, key=lambda group: group.value), key=lambda group: -group.count)
