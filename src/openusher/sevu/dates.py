"""Dates as SEVU's clients write them, read into unix seconds and written back in ScaleEngine's form. All are UTC."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from openusher.errors import InvalidParameter

# The first second of 1970 and the one after the last of 9999.
INSTANT_MIN_S = 0
INSTANT_END_S = 253_402_300_800
NEVER = "0000-00-00 00:00:00"
TAKEN = 'give YYYY-MM-DD hh:mm:ss (UTC), ISO 8601, RFC 2822, unix seconds or "+1 week"'

_SHOWN_CHARACTERS_MAX = 40
# Of those that are kept once they are read.
_OFTEN_CHARACTERS_MAX = 40
# Eight digits with a later year are nobody's day.
_YEAR_OF_A_DAY_MAX = 2199
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_CLOCK = r"(?P<hour>[0-9]{2}):?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:[.,][0-9]{1,9})?)?"
_OFFSET = r"(?P<zone>Z|UTC|GMT|UT|[+-][0-9]{2}(?::?[0-9]{2})?)"
_DAY = r"(?P<year>[0-9]{4})-?(?P<month>[0-9]{2})-?(?P<day>[0-9]{2})"
_ISO = re.compile(rf"{_DAY}(?:(?:T|\ +){_CLOCK}\ ?{_OFFSET}?)?", re.IGNORECASE)
_MAIL = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\ +)?(?P<day>[0-9]{1,2})\ +(?P<month>[A-Z]{3})\ +(?P<year>[0-9]{4})"
    r"\ +(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    r"(?:\ +(?P<zone>Z|UTC|GMT|UT|EST|EDT|CST|CDT|MST|MDT|PST|PDT|[+-][0-9]{4})(?:\ +\([A-Z ]*\))?)?",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"\ *(?P<sign>[+-]?)\ *(?P<count>[0-9]{1,9})\ *"
    r"(?P<unit>sec|second|min|minute|hour|day|week|fortnight|month|year)s?(?![a-z])",
    re.IGNORECASE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AMERICAN_ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
_UNIT_SECONDS = {
    "sec": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 604_800,
    "fortnight": 1_209_600,
}
_UNIT_MONTHS = {"month": 1, "year": 12}


class _Step(NamedTuple):
    """A date that is so far from now."""

    months: int
    seconds: int


def read_instant(field: str, given: str | int, *, now_s: int) -> int:
    """Read a date into unix seconds, from 1970 to 9999; fractions of a second are dropped.

    Forms: `YYYY-MM-DD` with or without `hh:mm[:ss]`, ISO 8601 (a missing zone is UTC), RFC 2822, unix seconds as a
    number or digits, and steps from `now_s` such as `+1 week`, `-90 minutes`, `+1 day 2 hours`. Months and years are
    calendar ones that spill over as PHP's do: 31 January `+1 month` is 2 or 3 March.

    Raises InvalidParameter naming `field`, what was given and which forms are taken; also for a text such as
    `20300101`, which may be a day or unix seconds.
    """
    if isinstance(given, str):
        _refuse_two_readings(field, given.strip(" "))
    instant = _seconds(given, now_s)
    if instant is not None and INSTANT_MIN_S <= instant < INSTANT_END_S:
        return instant
    shown = str(given)
    if len(shown) > _SHOWN_CHARACTERS_MAX:
        shown = shown[:_SHOWN_CHARACTERS_MAX] + "…"
    problem = "cannot read" if instant is None else "not within the years 1970 to 9999:"
    raise InvalidParameter(field, f'{problem} "{shown}"; {TAKEN}')


# Tickets are made, and end, by the hundred in one second.
@lru_cache(maxsize=1_024)
def format_instant(instant_s: int) -> str:
    """`YYYY-MM-DD hh:mm:ss`, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(instant_s))


def format_instant_or_never(instant_s: int) -> str:
    """As `format_instant`; zeros for 0, which is how a date that never was is kept."""
    return format_instant(instant_s) if instant_s else NEVER


def _refuse_two_readings(field: str, text: str) -> None:
    """Raise InvalidParameter for eight digits that are a day: ISO 8601 takes them for that, and whoever means the
    seconds means 1970. A wrong guess would be a ticket that is dead from the first."""
    if not (len(text) == 8 and text.isascii() and text.isdigit() and 1970 <= int(text[:4]) <= _YEAR_OF_A_DAY_MAX):
        return
    match = _ISO.fullmatch(text)
    day = _calendar_seconds(match, int(match["month"])) if match else None
    if day is not None:
        readings = f"the day {format_instant(day)[:10]} or, in unix seconds, {format_instant(int(text))}"
        raise InvalidParameter(field, f'"{text}" may be {readings}; write it as one of these')


def _seconds(given: str | int, now_s: int) -> int | None:
    """Unix seconds, perhaps out of bounds; None for what cannot be read."""
    if isinstance(given, int):
        return given
    text = given.strip(" ")
    read = _read_often(text) if len(text) <= _OFTEN_CHARACTERS_MAX else _read(text)
    return _months_later(now_s, read.months) + read.seconds if isinstance(read, _Step) else read


def _read(text: str) -> int | _Step | None:
    """Unix seconds, or how far from now; None for what cannot be read."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= 20 else INSTANT_END_S
    if (match := _ISO.fullmatch(text)) is not None:
        return _calendar_seconds(match, int(match["month"]))
    if (match := _MAIL.fullmatch(text)) is not None:
        month = match["month"].lower()
        return _calendar_seconds(match, _MONTHS.index(month) + 1) if month in _MONTHS else None
    return _read_step(text)


# A site says "+24 hours" with every ticket, and all sites the same date within one second.
_read_often = lru_cache(maxsize=1_024)(_read)


def _calendar_seconds(match: re.Match[str], month: int) -> int | None:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    try:
        moment = datetime(int(match["year"]), month, int(match["day"]), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    offset = _offset_seconds((match["zone"] or "Z").upper())
    # Years before 1970 have negative seconds and fail the bounds.
    return None if offset is None else int((moment - _EPOCH).total_seconds()) - offset


def _offset_seconds(zone: str) -> int | None:
    if zone in _AMERICAN_ZONES:
        return _AMERICAN_ZONES[zone] * 3_600
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 15 or minutes > 59:
        return None
    return (hours * 3_600 + minutes * 60) * (-1 if zone[0] == "-" else 1)


def _read_step(text: str) -> _Step | None:
    if len(text) > 200:
        return None
    months = seconds = at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return None
        count = int(step["count"]) * (-1 if step["sign"] == "-" else 1)
        unit = step["unit"].lower()
        months += count * _UNIT_MONTHS.get(unit, 0)
        seconds += count * _UNIT_SECONDS.get(unit, 0)
        at = step.end()
    return None if at == 0 else _Step(months, seconds)


def _months_later(now_s: int, months: int) -> int:
    """`now_s` so many calendar months on; bounded, so that no number of years overflows."""
    if months == 0:
        return now_s
    now = _EPOCH + timedelta(seconds=now_s)
    month = now.year * 12 + now.month - 1 + months
    if not 1970 * 12 <= month < 10_000 * 12:
        return INSTANT_END_S if months > 0 else -1
    first = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
    in_month = now - now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int((first - _EPOCH + in_month).total_seconds())
