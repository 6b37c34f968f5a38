"""The table of codes."""

from __future__ import annotations

from openusher.sevu import codes
from openusher.sevu.codes import CODES, RESERVED_NUMBERS, Code
from openusher.sevu.registry import COMMANDS

_SCALEENGINES_OWN = {
    0: "Unrecognized API Command",
    1: "CDN Authorization failed; invalid API key or not authorised for the account",
    2: "Timestamp outside valid range",
    3: "Failed HMAC-SHA256 Signature (check private key)",
    5: "Unauthorized access to API",
    6: "One or more required fields are missing",
    2051: "ScaleEngine Virtual Usher unsuccessful tickets attempts found",
}

# Every number ever given out, with its name. A line may be added; none may be changed or taken away.
_EVER_GIVEN = {
    0: "unknown command",
    1: "not authorised",
    2: "timestamp outside range",
    3: "wrong signature",
    4: "unexpected error",
    5: "unauthorized access",
    6: "missing fields",
    1000: "busy",
    2011: "ticket issued",
    2012: "sevu.request: invalid parameter",
    2013: "sevu.request: replayed",
    2021: "ticket found",
    2022: "sevu.status: invalid parameter",
    2023: "sevu.status: unknown ticket",
    2031: "ticket revoked",
    2032: "sevu.revoke: invalid parameter",
    2033: "sevu.revoke: unknown ticket",
    2041: "attempts listed",
    2042: "sevu.errorlog: invalid parameter",
    2043: "sevu.errorlog: unavailable",
    2051: "attempts counted",
    2052: "sevu.errorcount: invalid parameter",
    2053: "sevu.errorcount: unavailable",
    2061: "sessions listed",
    2062: "sevu.sessions: invalid parameter",
    2071: "sessions kicked",
    2072: "sevu.kick: invalid parameter",
    9001: "malformed request",
    9002: "POST needed",
    9003: "too large",
    9004: "too slow",
    9005: "outcome unknown",
}


def test_a_number_once_given_keeps_its_meaning() -> None:
    assert {code.number: code.name for code in CODES} == _EVER_GIVEN


def test_numbers_and_names_are_used_once_and_every_code_is_in_the_table() -> None:
    defined = [value for value in vars(codes).values() if isinstance(value, Code)]

    assert len(CODES) == len({code.number for code in CODES}) == len({code.name for code in CODES})
    assert sorted(CODES, key=lambda code: code.number) == list(CODES)
    assert set(defined) == set(CODES)
    assert not RESERVED_NUMBERS & {code.number for code in CODES}


def test_scaleengines_codes_have_its_words_and_the_others_are_marked_as_ours() -> None:
    sentences = {code.number: code.sentence for code in CODES}

    for number, sentence in _SCALEENGINES_OWN.items():
        assert sentence == sentences[number]
    assert {0, 1, 2, 3, 4, 5, 6, 1000, 2051} == {code.number for code in CODES if not code.ours}


def test_every_command_has_a_success_of_its_own_and_failures_of_its_own() -> None:
    used = [
        code
        for kind in COMMANDS.values()
        for code in (
            kind.codes.success,
            kind.codes.invalid,
            kind.codes.unknown_ticket,
            kind.codes.replayed,
            kind.codes.unavailable,
        )
        if code is not codes.UNEXPECTED_ERROR
    ]

    assert len(used) == len(set(used))
    assert {kind.codes.success for kind in COMMANDS.values()} == {code for code in CODES if code.success}


def test_people_see_four_digits() -> None:
    assert codes.MISSING_FIELDS.display() == "0006"
    assert codes.ATTEMPTS_COUNTED.display() == "2051"
