"""sevu.request, sevu.status and sevu.revoke: what is asked, and the members of the answers (SEVU facts, 2.1 to 2.3)."""

from __future__ import annotations

import msgspec

from openusher.model.iprule import parse_ip_rule
from openusher.model.limits import APP_BYTES_MAX, IP_RULE_BYTES_MAX, KEY_BYTES_MAX, PASS_BYTES_MAX, VIDEO_BYTES_MAX
from openusher.model.pattern import parse_pattern
from openusher.model.ticket import SESSIONS_MAX, USES_MAX, NewTicket, Ticket, new_ticket_key
from openusher.sevu.dates import format_instant, format_instant_or_never
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.parameters import Parameters

LIFETIME_DEFAULT_S = 604_800


class IssueTicket(msgspec.Struct, frozen=True):
    """Create `ticket`; all in it has been checked."""

    ticket: NewTicket


class ShowTicket(msgspec.Struct, frozen=True):
    """Look a ticket up by its key."""

    key: str


class RevokeTicket(msgspec.Struct, frozen=True):
    """End a ticket for ever."""

    key: str


def read_request(parameters: Parameters, *, cdn: int, now_s: int) -> IssueTicket:
    """Read sevu.request: app, video, pass, ip and uses are required, the expiry is a week from `now_s` if left out.

    `expire` wins over FloSports' spelling `expires`, which is then not even read. A date already past is taken: the
    ticket is simply expired. Raises CommandRefused (0006, all that is missing) and InvalidParameter.
    """
    ticket = read_rules(parameters, cdn=cdn, now_s=now_s)
    return IssueTicket(msgspec.structs.replace(ticket, key=new_ticket_key(ticket.video)))


def read_rules(parameters: Parameters, *, cdn: int, now_s: int) -> NewTicket:
    """As `read_request`, of a ticket that has no key yet."""
    parameters.require("app", "video", "pass", "ip", "uses")
    app = parameters.text("app", bytes_max=APP_BYTES_MAX) or ""
    video = parameters.text("video", bytes_max=VIDEO_BYTES_MAX) or ""
    password = parameters.text("pass", bytes_max=PASS_BYTES_MAX) or ""
    ip = parameters.text("ip", bytes_max=IP_RULE_BYTES_MAX) or ""
    parse_pattern("app", app)
    parse_pattern("video", video)
    parse_ip_rule(ip)
    uses_limit = parameters.whole("uses", most=USES_MAX) or 0
    return NewTicket(
        cdn=cdn,
        key="",
        password=password,
        app=app,
        video=video,
        ip=ip,
        uses_limit=uses_limit,
        expires_s=_read_expiry(parameters, now_s),
        max_sessions=parameters.whole("max_sessions", most=SESSIONS_MAX) or 0,
        newest_wins=parameters.flag("newest_wins") or False,
    )


def _read_expiry(parameters: Parameters, now_s: int) -> int:
    parameters.know("expire", "expires")
    expires_s = parameters.instant("expire", now_s=now_s)
    if expires_s is None:
        expires_s = parameters.instant("expires", now_s=now_s)
    return now_s + LIFETIME_DEFAULT_S if expires_s is None else expires_s


def read_status(parameters: Parameters, *, cdn: int, now_s: int) -> ShowTicket:
    """Read sevu.status: `key`. Raises CommandRefused (0006) and InvalidParameter."""
    return ShowTicket(_read_key(parameters))


def read_revoke(parameters: Parameters, *, cdn: int, now_s: int) -> RevokeTicket:
    """Read sevu.revoke: `key`. Raises CommandRefused (0006) and InvalidParameter."""
    return RevokeTicket(_read_key(parameters))


def _read_key(parameters: Parameters) -> str:
    parameters.require("key")
    return parameters.text("key", bytes_max=KEY_BYTES_MAX) or ""


def issued_members(ticket: Ticket) -> dict[str, JsonValue]:
    """What the answer to sevu.request carries: the ticket under `ticket`."""
    return {"ticket": ticket_members(ticket)}


def status_members(ticket: Ticket) -> dict[str, JsonValue]:
    """What the answer to sevu.status carries: the ticket's members at the top level, where FloSports looks for them,
    and again under `ticket`, where the answer to sevu.request has them."""
    members = ticket_members(ticket)
    return {**members, "ticket": members}


def ticket_members(ticket: Ticket) -> dict[str, JsonValue]:
    """A ticket as ScaleEngine shows one, then five members of ours.

    The nine are texts, `active` and `uses` too, as in the one reply of theirs that is known. `uses` are starts left,
    0 for an unlimited ticket; since 0 left and unlimited look alike, `uses_limit` and `unlimited` tell them apart.
    """
    return {
        "active": "1" if ticket.active else "0",
        "app": ticket.app,
        "created_date": format_instant(ticket.created_s),
        "ip": ticket.ip,
        "key": ticket.key,
        "pass": ticket.password,
        "used_date": format_instant_or_never(ticket.used_s),
        "uses": str(ticket.uses_left or 0),
        "video": ticket.video,
        "expire_date": format_instant(ticket.expires_s),
        "uses_limit": ticket.uses_limit,
        "unlimited": ticket.unlimited,
        "max_sessions": ticket.max_sessions,
        "newest_wins": ticket.newest_wins,
    }
