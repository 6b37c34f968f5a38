"""sevu.sessions and sevu.kick, which are ours: who watches now, and who shall no longer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openusher.model.address import format_address
from openusher.model.attempt import user_of
from openusher.model.limits import KEY_BYTES_MAX, PASS_BYTES_MAX
from openusher.model.session import SessionFilter, Watched
from openusher.sevu.dates import format_instant
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.parameters import Parameters
from openusher.sevu.refusal import missing_fields
from openusher.sevu.search import read_name, read_net, read_page

_ID_BYTES_MAX = 64
# A kick without any of these would end every session of the account.
_NAMES_WHOM = ("session", "key", "user", "ip", "pass")


class ListSessions(msgspec.Struct, frozen=True, kw_only=True):
    """The live sessions that match, newest first: `limit` of them after the first `seek`."""

    search: SessionFilter
    limit: int
    seek: int


class KickSessions(msgspec.Struct, frozen=True, kw_only=True):
    """End all live sessions that match."""

    search: SessionFilter


def read_sessions(parameters: Parameters, *, cdn: int, now_s: int) -> ListSessions:
    """Read sevu.sessions: filters, `limit` (100 if left out or 0) and `seek`. Raises InvalidParameter."""
    search = _read_filter(parameters)
    limit, seek = read_page(parameters)
    return ListSessions(search=search, limit=limit, seek=seek)


def read_kick(parameters: Parameters, *, cdn: int, now_s: int) -> KickSessions:
    """Read sevu.kick: at least one of `session`, `key`, `user`, `ip` and `pass`.

    Raises CommandRefused (0006) where none is given, and InvalidParameter.
    """
    search = _read_filter(parameters)
    if all(named is None for named in (search.id, search.key, search.user, search.ip, search.password)):
        raise missing_fields([" or ".join(_NAMES_WHOM)])
    return KickSessions(search=search)


def _read_filter(parameters: Parameters) -> SessionFilter:
    return SessionFilter(
        id=parameters.text("session", bytes_max=_ID_BYTES_MAX),
        key=parameters.text("key", bytes_max=KEY_BYTES_MAX),
        password=parameters.text("pass", bytes_max=PASS_BYTES_MAX),
        user=parameters.text("user", bytes_max=PASS_BYTES_MAX),
        app=read_name(parameters, "app"),
        video=read_name(parameters, "video"),
        ip=read_net(parameters, "ip"),
    )


def sessions_members(found: Sequence[Watched], *, total: int) -> dict[str, JsonValue]:
    """What the answer to sevu.sessions carries."""
    return {"session_count": total, "sessions": [session_members(each) for each in found]}


def kick_members(kicked: int) -> dict[str, JsonValue]:
    """What the answer to sevu.kick carries."""
    return {"kicked": kicked}


def ended_members(watched: Watched) -> dict[str, JsonValue]:
    """An ended session as reports show it."""
    session = watched.session
    members = {name: value for name, value in session_members(watched).items() if name != "asleep"}
    return {**members, "end_date": format_instant(session.ended_ms // 1_000), "ended_by": session.ended_by}


def session_members(watched: Watched) -> dict[str, JsonValue]:
    """A session as it is shown. Dates are UTC, `watched` is in seconds."""
    session, ticket = watched.session, watched.ticket
    return {
        "session": session.id,
        "key": ticket.key,
        "user": user_of(ticket.password),
        "app": session.app,
        "appinst": session.appinst,
        "video": session.video,
        "ip": format_address(session.ip),
        "user_agent": session.user_agent,
        "edge": watched.edge,
        "client": session.client_name,
        "start_date": format_instant(session.started_ms // 1_000),
        "seen_date": format_instant(watched.seen_ms // 1_000),
        "watched": watched.watched_ms // 1_000,
        "asleep": watched.is_asleep,
        "attempt": session.attempt,
    }
