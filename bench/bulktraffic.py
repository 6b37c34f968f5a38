"""The viewers of a bulk fill: who has asked what, worked out from the number of an attempt.

Accounts take turns. Of an account's attempts every run of as many as it has tickets asks with each ticket once: a
*turn*. What a question has wrong changes from turn to turn, so that how many attempts match a filter can be worked out
without asking Usher: by the tickets that it names, or by classes of tickets that are asked with alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import gcd

import msgspec
import typer

from bench import traffic
from openusher.model.attempt import Reason

# Prime, so that it meets each ticket once a turn, and neighbours not one after the other.
STEP = 7_919
# Of so many turns of a ticket each has its own number, and these the faults in this order; the others are in order.
PERIOD = 30
WRONG_PASS, NO_PASS, WRONG_KEY, WRONG_IP, WRONG_VIDEO, WRONG_APP, FAULTS = range(7)
GUESSED = {
    WRONG_PASS: "visitor|guessed",
    NO_PASS: "",
    WRONG_KEY: "cam1.00000000000000.99999999",
    WRONG_IP: "198.51.100.7",
    WRONG_VIDEO: "live/another",
    WRONG_APP: "initech-live",
}
TITLES = 2_000
# Each with the version of a browser in it.
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/%d.0 Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/140.0",
    "VLC/3.0.%d LibVLC/3.0.21",
)
VERSIONS, FIRST_VERSION = 40, 101

Holds = Callable[["Asked"], bool]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt asked, as far as filters of the bench go, and the reason against it."""

    key: str
    password: str
    app: str
    video: str
    ip: str
    reason: Reason

    @property
    def user(self) -> str:
        return self.password.partition("|")[0]


class BulkTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """So many attempts with so many tickets of so many accounts, numbered from 0. Both others are multiples of the
    number of accounts."""

    attempts: int
    tickets: int
    accounts: int

    def __post_init__(self) -> None:
        assert self.attempts % self.accounts == self.tickets % self.accounts == 0
        assert gcd(STEP, self.tickets_each) == 1

    @property
    def tickets_each(self) -> int:
        return self.tickets // self.accounts

    @property
    def attempts_each(self) -> int:
        return self.attempts // self.accounts

    @property
    def unstep(self) -> int:
        """What takes a ticket's place to its place within a turn."""
        return pow(STEP, -1, self.tickets_each)

    def ticket(self, account: int, place: int) -> int:
        """The number of an account's ticket at `place`; what it is follows from that as in traffic.py."""
        return account * self.tickets_each + place

    def asked(self, account: int, place: int, turn: int) -> Asked:
        """What was asked with that ticket in that turn."""
        n = self.ticket(account, place)
        fault = (place + 7 * turn) % PERIOD
        title = f"vod/title-{(31 * n + 17 * turn) % TITLES}.mp4"
        video = f"live/cam{n % traffic.CAMERAS}" if (place + 3 * turn) % 10 < 7 else title

        def said(right: str, *faults: int) -> str:
            return GUESSED[fault] if fault in faults else right

        return Asked(
            key=said(traffic.key(n), WRONG_KEY),
            password=said(traffic.password(n), WRONG_PASS, NO_PASS),
            app=said(traffic.APPS[n % len(traffic.APPS)], WRONG_APP),
            video=said(video, WRONG_VIDEO),
            ip=said(traffic.address(n), WRONG_IP),
            reason=_reason(n, fault),
        )

    def count(self, account: int, holds: Holds, *, places: Iterable[int]) -> int:
        """How many attempts of an account's tickets at `places` hold."""
        return sum(holds(self.asked(account, place, turn)) for place in places for turn in range(self._turns_of(place)))

    def count_all(self, account: int, holds: Holds) -> int:
        """How many of all attempts of an account hold. Not to ask for what only some ticket has, nor for a title: these
        are not alike in a class."""
        return sum(tickets * self.count(account, holds, places=[place]) for place, tickets in self._classes(account))

    def by_reason(self, account: int) -> dict[str, int]:
        """How many attempts of an account were refused for each reason; those that were not, as ""."""
        found: Counter[str] = Counter()
        for place, tickets in self._classes(account):
            for turn in range(self._turns_of(place)):
                found[self.asked(account, place, turn).reason.value] += tickets
        return dict(found)

    def places_of_user(self, account: int, user: str) -> Iterator[int]:
        """Where the tickets lie that an account has sold to `user`."""
        return (place for place in range(self.tickets_each) if traffic.user(self.ticket(account, place)) == user)

    def _turns_of(self, place: int) -> int:
        slot = place * self.unstep % self.tickets_each
        turns, rest = divmod(self.attempts_each, self.tickets_each)
        return turns + (slot < rest)

    def _classes(self, account: int) -> Iterator[tuple[int, int]]:
        """One ticket of those that are asked with alike, and how many there are."""
        first: dict[tuple[int, int, int], int] = {}
        sizes: Counter[tuple[int, int, int]] = Counter()
        for place in range(self.tickets_each):
            alike = (self.ticket(account, place) % traffic.CAMERAS, place % PERIOD, self._turns_of(place))
            first.setdefault(alike, place)
            sizes[alike] += 1
        return ((place, sizes[alike]) for alike, place in first.items())


def bulk_traffic(attempts: int, *, tickets: int | None = None, accounts: int = 20) -> BulkTraffic:
    """So many attempts, with a ticket for a hundred of them where that is not said. Raises typer.BadParameter."""
    tickets = attempts // 100 // accounts * accounts if tickets is None else tickets
    if attempts % accounts or tickets % accounts or not tickets // accounts % STEP:
        raise typer.BadParameter(f"give attempts and tickets that {accounts} accounts can share, such as 20k, 1m, 100m")
    return BulkTraffic(attempts=attempts, tickets=tickets, accounts=accounts)


def _reason(n: int, fault: int) -> Reason:
    if fault == NO_PASS:
        return Reason.MISSING_TOKEN
    if fault in (WRONG_PASS, WRONG_KEY):
        return Reason.INVALID_TOKEN
    if traffic.is_revoked(n):
        return Reason.REVOKED
    if traffic.is_expired(n):
        return Reason.EXPIRED
    return {WRONG_APP: Reason.INVALID_APP, WRONG_VIDEO: Reason.INVALID_VIDEO, WRONG_IP: Reason.INVALID_IP}.get(
        fault, Reason.NONE
    )
