"""A ticket that was sold elsewhere, as a line of a file has it: the members that are shown of a ticket."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from openusher.errors import InvalidParameter
from openusher.model.limits import KEY_BYTES_MAX
from openusher.model.ticket import USES_MAX, Ticket
from openusher.sevu.jsontext import JsonValue
from openusher.sevu.parameters import Parameters
from openusher.sevu.tickets import read_rules

_NEVER = "0000-00-00 00:00:00"
_REQUIRED = ("key", "pass", "app", "video", "ip", "uses")
_EXPIRY = ("expire_date", "expire", "expires")


class _Uses(NamedTuple):
    limit: int
    taken: int


def read_sold_ticket(members: dict[str, JsonValue], *, cdn: int, now_s: int) -> Ticket:
    """Read a ticket by the rules of sevu.request, with the key that it has; its number is given out by the ledger.

    `key`, `pass`, `app`, `video`, `ip`, `uses` and `expire_date` are required: the week that sevu.request gives where
    no expiry is said would end what was sold for a year. `uses` are those left, 0 for any number; of a ticket that
    has none left `uses_limit` tells, or `unlimited` that is false. `active`, `created_date` and `used_date` may be
    given, and what sevu.request takes besides. Raises InvalidParameter naming the member.
    """
    parameters = Parameters(members, {name: name for name in members})
    missing = [name for name in _REQUIRED if members.get(name) in (None, "")]
    if missing:
        raise InvalidParameter(missing[0], "is missing")
    if all(members.get(name) in (None, "") for name in _EXPIRY):
        raise InvalidParameter("expire_date", "is missing; give YYYY-MM-DD hh:mm:ss (UTC) or unix seconds")
    rules = read_rules(parameters, cdn=cdn, now_s=now_s)
    expires_s = parameters.instant("expire_date", now_s=now_s)
    uses = _read_uses(parameters, left=rules.uses_limit)
    ticket = Ticket(
        number=0,
        cdn=cdn,
        key=parameters.text("key", bytes_max=KEY_BYTES_MAX) or "",
        password=rules.password,
        app=rules.app,
        video=rules.video,
        ip=rules.ip,
        uses_limit=uses.limit,
        uses_taken=uses.taken,
        active=parameters.flag("active") is not False,
        created_s=_read_past(parameters, "created_date", now_s=now_s) or now_s,
        expires_s=rules.expires_s if expires_s is None else expires_s,
        used_s=_read_past(parameters, "used_date", now_s=now_s),
        max_sessions=rules.max_sessions,
        newest_wins=rules.newest_wins,
    )
    # Ours, when they are shown: it follows from the others.
    parameters.know("state")
    if unknown := parameters.ignored():
        raise InvalidParameter(unknown[0], "is no member of a ticket; is it mistyped?")
    return ticket


def _read_uses(parameters: Parameters, *, left: int) -> _Uses:
    limit = parameters.whole("uses_limit", most=USES_MAX) or 0
    unlimited = parameters.flag("unlimited")
    if unlimited:
        if left or limit:
            raise InvalidParameter("unlimited", "is said of a ticket that has uses; leave it out, or make uses 0")
        return _Uses(0, 0)
    if not left and not limit:
        # Used up, of a ticket for we do not know how many.
        return _Uses(0, 0) if unlimited is None else _Uses(1, 1)
    if limit and left > limit:
        raise InvalidParameter("uses", "more are left than uses_limit has")
    return _Uses(limit, limit - left) if limit else _Uses(left, 0)


def _read_past(parameters: Parameters, name: str, *, now_s: int) -> int:
    """A date, 0 where it is left out or never was."""
    if parameters.text_is(name, _NEVER):
        return 0
    return parameters.instant(name, now_s=now_s) or 0


def read_line(line: bytes) -> dict[str, JsonValue]:
    """The members of a line's JSON object. Raises InvalidParameter."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidParameter("", "is no JSON object in UTF-8") from None


_decoder: msgspec.json.Decoder[dict[str, JsonValue]] = msgspec.json.Decoder(dict)
