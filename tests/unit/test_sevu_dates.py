"""Dates as clients write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.sevu.dates import format_instant, format_instant_or_never, read_instant

_NOW = "2024-01-31 10:20:30"
_NOW_S = 1_706_696_430

READ = [
    ("2030-01-01 00:00:00", "2030-01-01 00:00:00"),
    ("2030-01-01 00:00", "2030-01-01 00:00:00"),
    ("2030-01-01", "2030-01-01 00:00:00"),
    (" 2030-01-01 ", "2030-01-01 00:00:00"),
    ("1970-01-01 00:00:00", "1970-01-01 00:00:00"),
    ("9999-12-31 23:59:59", "9999-12-31 23:59:59"),
    ("2028-02-29 12:00:00", "2028-02-29 12:00:00"),
    ("2030-01-01T01:02:03Z", "2030-01-01 01:02:03"),
    ("2030-01-01t01:02:03z", "2030-01-01 01:02:03"),
    ("2030-01-01T01:02:03", "2030-01-01 01:02:03"),
    ("2030-01-01T01:02:03.999Z", "2030-01-01 01:02:03"),
    ("2030-01-01T01:02:03+02:00", "2029-12-31 23:02:03"),
    ("2030-01-01T01:02:03-0530", "2030-01-01 06:32:03"),
    ("2030-01-01T01:02+02", "2029-12-31 23:02:00"),
    ("2030-01-01 01:02:03 UTC", "2030-01-01 01:02:03"),
    ("20300101T010203Z", "2030-01-01 01:02:03"),
    ("Tue, 01 Jan 2030 01:02:03 +0000", "2030-01-01 01:02:03"),
    ("Tue, 1 Jan 2030 01:02:03 -0500", "2030-01-01 06:02:03"),
    ("1 Jan 2030 01:02 GMT", "2030-01-01 01:02:00"),
    ("tue, 01 JAN 2030 01:02:03 EST", "2030-01-01 06:02:03"),
    ("Tue, 01 Jan 2030 01:02:03 +0000 (UTC)", "2030-01-01 01:02:03"),
    ("1893456000", "2030-01-01 00:00:00"),
    (1893456000, "2030-01-01 00:00:00"),
    ("0", "1970-01-01 00:00:00"),
    (0, "1970-01-01 00:00:00"),
    # A number is no calendar date, and these digits are none either.
    (20300101, "1970-08-23 22:55:01"),
    ("20301301", "1970-08-23 23:15:01"),
    ("20290229", "1970-08-23 20:10:29"),
    ("19691231", "1970-08-16 21:47:11"),
    ("22000101", "1970-09-12 15:08:21"),
    ("020300101", "1970-08-23 22:55:01"),
    ("+1 second", "2024-01-31 10:20:31"),
    ("+30 secs", "2024-01-31 10:21:00"),
    ("+5 min", "2024-01-31 10:25:30"),
    ("+90 minutes", "2024-01-31 11:50:30"),
    ("+1 hour", "2024-01-31 11:20:30"),
    ("+24 hours", "2024-02-01 10:20:30"),
    ("+1 day", "2024-02-01 10:20:30"),
    ("+1 week", "2024-02-07 10:20:30"),
    ("+2 Weeks", "2024-02-14 10:20:30"),
    ("+1 fortnight", "2024-02-14 10:20:30"),
    # By PHP: 31 January has no day in February and spills over.
    ("+1 month", "2024-03-02 10:20:30"),
    ("+2 months", "2024-03-31 10:20:30"),
    ("+12 months", "2025-01-31 10:20:30"),
    ("+1 year", "2025-01-31 10:20:30"),
    ("-1 month", "2023-12-31 10:20:30"),
    ("+1 day 2 hours", "2024-02-01 12:20:30"),
    ("+1 day +2 hours", "2024-02-01 12:20:30"),
    ("+1 month -1 day", "2024-03-01 10:20:30"),
    ("+1day", "2024-02-01 10:20:30"),
    ("+ 1 day", "2024-02-01 10:20:30"),
    ("1 week", "2024-02-07 10:20:30"),
    ("-90 minutes", "2024-01-31 08:50:30"),
]

NOT_READ = [
    "tomorow",
    "",
    " ",
    "x",
    "2030-01",
    "2030-1-1",
    "2030-13-01",
    "2030-00-01",
    "2030-02-30",
    "2029-02-29",
    "2030-01-01 24:00:00",
    "2030-01-01 00:60:00",
    "2030-01-01 00:00:60",
    "2030-01-01 0:00:00",
    "2030-01-01 00",
    "2030-01-01x00:00:00",
    "2030-01-01T",
    "2030-01-01 UTC",
    "2030-01-01T00:00:00+16:00",
    "2030-01-01T00:00:00+01:60",
    "2030-01-01T00:00:00 CET",
    "01/02/2030",
    "Jan 1 2030",
    "Tue, 1 Foo 2030 00:00:00 GMT",
    "Tue, 32 Jan 2030 00:00:00 GMT",
    "+1",
    "+ week",
    "week",
    "+1 parsec",
    "+1 days ago",
    "+1 weekday",
    "+1.5 days",
    "+1 week and a day",
    "+1234567890 seconds",
    "1e9",
    "0x10",
    "٢٠٣٠-٠١-٠١",
    "٣",
    "now",
    "2030-01-01 00:00:00\n",
    "2030-01-01\t00:00:00",
    "+1 day " * 100,
]

OUT_OF_BOUNDS = [
    "1969-12-31 23:59:59",
    "1970-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "253402300800",
    253402300800,
    -1,
    10**19,
    "9" * 4000,
    "+9999 years",
    "-9999 years",
    "+999999999 weeks",
    "-999999999 weeks",
    "+999999999 years -999999999 weeks",
    "0001-01-01",
    "+100000 months",
]


@pytest.mark.parametrize(("given_date", "expected"), READ)
def test_every_form_is_read(given_date: str | int, expected: str) -> None:
    assert _utc(_NOW) == _NOW_S
    assert _utc(expected) == read_instant("expire", given_date, now_s=_NOW_S)


@pytest.mark.parametrize("given_date", NOT_READ)
def test_what_cannot_be_read_is_an_error_with_the_forms(given_date: str) -> None:
    with pytest.raises(InvalidParameter, match=r'(?s)expire: cannot read ".*YYYY-MM-DD hh:mm:ss \(UTC\).*\+1 week'):
        read_instant("expire", given_date, now_s=_NOW_S)


@pytest.mark.parametrize("given_date", OUT_OF_BOUNDS)
def test_what_is_not_within_1970_to_9999_is_an_error(given_date: str | int) -> None:
    with pytest.raises(InvalidParameter, match="expire: not within the years 1970 to 9999") as caught:
        read_instant("expire", given_date, now_s=_NOW_S)

    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("digits", "day", "instant"),
    [
        ("20300101", "2030-01-01", "1970-08-23 22:55:01"),
        (" 20300101 ", "2030-01-01", "1970-08-23 22:55:01"),
        ("19700101", "1970-01-01", "1970-08-17 00:15:01"),
        ("20280229", "2028-02-29", "1970-08-23 17:23:49"),
        ("21991231", "2199-12-31", "1970-09-12 12:40:31"),
    ],
)
def test_digits_that_are_a_day_and_unix_seconds_are_an_error_with_both(digits: str, day: str, instant: str) -> None:
    """Taken for seconds, a ticket until 2030 would have ended in 1970."""
    with pytest.raises(InvalidParameter, match=rf'expire: "{digits.strip()}" .*\b{day}\b.*\b{instant}\b'):
        read_instant("expire", digits, now_s=_NOW_S)


@pytest.mark.parametrize(("step", "seconds"), [("+24 hours", 86_400), ("-1 min", -60), ("+1 week", 604_800)])
def test_the_same_step_is_from_now_whenever_it_is_read(step: str, seconds: int) -> None:
    moments = (_NOW_S, _NOW_S + 1, _NOW_S)

    assert [moment + seconds for moment in moments] == [read_instant("expire", step, now_s=now) for now in moments]


@given(st.integers(0, 253_402_300_799).filter(lambda instant_s: not 19_700_101 <= instant_s <= 21_991_231))
def test_what_we_write_we_read(instant_s: int) -> None:
    text = format_instant(instant_s)

    assert _utc(text) == instant_s
    assert instant_s == read_instant("expire", text, now_s=0)
    assert instant_s == read_instant("expire", str(instant_s), now_s=0)
    assert instant_s == read_instant("expire", datetime.fromtimestamp(instant_s, UTC).isoformat(), now_s=0)


@given(st.text(max_size=30) | st.from_regex(r"[0-9T:+ -]{0,25}"), st.integers(0, 253_402_300_799))
def test_any_text_is_read_within_bounds_or_refused(text: str, now_s: int) -> None:
    try:
        instant_s = read_instant("expire", text, now_s=now_s)
    except InvalidParameter:
        return

    assert 0 <= instant_s < 253_402_300_800


def test_never_is_written_in_zeros() -> None:
    assert format_instant_or_never(0) == "0000-00-00 00:00:00"
    assert format_instant(0) == "1970-01-01 00:00:00"


def _utc(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())
