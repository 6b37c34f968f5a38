"""A session that has not ended, as a node has it in memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from openusher.model.session import Session
from openusher.model.ticket import Ticket

# An address counts for so long after it was used.
ADDRESSES_WINDOW_MS = 600_000

_NOWHERE: Mapping[int, int] = MappingProxyType({})


class OfTicket:
    """The live sessions of one ticket, by number, and the ticket as it stands."""

    __slots__ = ("lives", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.lives: dict[int, Live] = {}


class Live:
    """A session that has not ended, as it stands now. Where its ticket limits sessions it watches while it has its
    place, which it loses to others when it is silent, or its viewer goes to another video."""

    __slots__ = ("address", "cookie", "elsewhere", "of_ticket", "seen_ms", "session", "watched_ms", "written_ms")

    def __init__(self, session: Session, of_ticket: OfTicket, *, seen_ms: int) -> None:
        self.session = session
        self.of_ticket = of_ticket
        self.seen_ms = seen_ms
        self.watched_ms = session.watched_ms
        self.written_ms = seen_ms
        # From where it was seen last, if at all since the node is up; and when it was last seen from others.
        self.address: int | None = None
        self.elsewhere: Mapping[int, int] = _NOWHERE
        self.cookie = ""

    @property
    def ticket(self) -> Ticket:
        return self.of_ticket.ticket

    @property
    def is_held_open(self) -> bool:
        """Whether only its server can say when its viewer goes."""
        return self.session.is_held_open(self.seen_ms)

    def seen_at(self, now_ms: int) -> int:
        """When it was seen last: a connection that is held open is seen all the time."""
        return now_ms if self.is_held_open else self.seen_ms

    def watched_at(self, now_ms: int) -> int:
        """For how long it was watched by now."""
        return now_ms - self.session.started_ms if self.is_held_open else self.watched_ms

    def addresses(self, now_ms: int) -> dict[int, int]:
        """From where it was used lately, and when last."""
        used = dict(self.elsewhere)
        if self.address is not None:
            used[self.address] = self.seen_ms
        return {each: at for each, at in used.items() if at + ADDRESSES_WINDOW_MS > now_ms}

    def move_to(self, ip: int, lately: Mapping[int, int]) -> None:
        """It is used from there now, and was `lately` used from these `addresses`."""
        self.elsewhere = {each: at for each, at in lately.items() if each != ip} or _NOWHERE
        self.address = ip
