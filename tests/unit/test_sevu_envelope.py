"""Replies on the wire."""

from __future__ import annotations

import json
import re

import pytest

from openusher import errors
from openusher.errors import CommandRefused, InvalidParameter, UsherError
from openusher.sevu import codes
from openusher.sevu.envelope import encode, failure, media_type, success
from openusher.sevu.form import ReplyForm
from openusher.sevu.refusal import refusal_of, refused
from openusher.sevu.registry import COMMANDS


def test_the_pages_reply_member_for_member_in_its_order() -> None:
    reply = success(codes.ATTEMPTS_COUNTED, {"error_count": 4}, ignored=(), spent_s=0.37951)
    page = (
        '{"code":2051,"message":"ScaleEngine Virtual Usher unsuccessful tickets attempts found",'
        '"status":"success","error_count":4,"handle_time":"0.3795 seconds"}'
    )

    assert page.encode() == encode(reply, ReplyForm.JSON)
    assert json.loads(page) == json.loads(encode(reply, ReplyForm.JSON))


def test_the_same_for_php() -> None:
    reply = success(codes.ATTEMPTS_COUNTED, {"error_count": 4}, ignored=(), spent_s=0.3795)
    text = (
        'a:5:{s:4:"code";i:2051;s:7:"message";s:61:"ScaleEngine Virtual Usher unsuccessful tickets attempts found";'
        's:6:"status";s:7:"success";s:11:"error_count";i:4;s:11:"handle_time";s:14:"0.3795 seconds";}'
    )

    assert text.encode() == encode(reply, ReplyForm.PHP)


@pytest.mark.parametrize(
    ("spent_s", "text"),
    [(0.0, "0.0001"), (-1.0, "0.0001"), (0.00004, "0.0001"), (0.00019, "0.0002"), (12.34567, "12.3457")],
)
def test_the_time_is_never_below_a_tenth_of_a_millisecond(spent_s: float, text: str) -> None:
    assert f"{text} seconds" == success(codes.TICKET_REVOKED, {}, ignored=(), spent_s=spent_s)["handle_time"]
    assert f"{text} seconds" == failure(refused(codes.BUSY), spent_s=spent_s)["handle_time"]


def test_ignored_parameters_are_named_before_the_time() -> None:
    reply = success(codes.TICKET_REVOKED, {}, ignored=("Succes", "x"), spent_s=1)

    assert list(reply) == ["code", "message", "status", "ignored", "handle_time"]
    assert reply["ignored"] == ["Succes", "x"]


def test_a_failure_has_the_same_envelope_and_debug_only_where_there_is_any() -> None:
    plain = failure(refused(codes.MISSING_FIELDS, "app, video"), spent_s=1)
    debugged = failure(refused(codes.WRONG_SIGNATURE, debug="x"), spent_s=1)

    assert list(plain) == ["code", "message", "status", "handle_time"]
    assert (plain["code"], plain["status"]) == (6, "failure")
    assert plain["message"] == "One or more required fields are missing: app, video"
    assert list(debugged) == ["code", "message", "status", "debug", "handle_time"]


@pytest.mark.parametrize("form", list(ReplyForm))
def test_a_reply_is_never_empty_and_says_its_type(form: ReplyForm) -> None:
    assert encode(failure(refused(codes.UNEXPECTED_ERROR), spent_s=0), form)
    assert re.fullmatch(r"[a-z]+/[a-z]+(; charset=utf-8)?", media_type(form))


def _every_error() -> list[UsherError]:
    carrying_their_own_words = (InvalidParameter, CommandRefused)
    return [
        kind("where the disk is /srv/secret")
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, UsherError) and kind not in carrying_their_own_words
    ]


@pytest.mark.parametrize("error", _every_error(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_what_happened_inside_is_never_told_to_a_stranger(error: UsherError, command: str | None) -> None:
    refusal = refusal_of(error, COMMANDS[command].codes if command else None)

    assert "secret" not in refusal.message
    assert not {code.number: code for code in codes.CODES}[refusal.code].success


@pytest.mark.parametrize(
    ("error", "command", "number"),
    [
        (InvalidParameter("key", "x"), None, 9001),
        (InvalidParameter("key", "x"), "sevu.request", 2012),
        (InvalidParameter("key", "x"), "sevu.errorcount", 2052),
        (errors.UnknownTicket(), "sevu.status", 2023),
        (errors.UnknownTicket(), "sevu.revoke", 2033),
        (errors.ReplayedCommand(), "sevu.request", 2013),
        (errors.NotAuthorised(), "sevu.status", 1),
        (errors.Busy("x"), "sevu.request", 1000),
        (errors.LedgerUnavailable(), "sevu.request", 1000),
        (errors.CommitUnknown(), "sevu.request", 9005),
        (errors.CountUnavailable(), "sevu.errorcount", 2053),
        (errors.LogUnavailable(), "sevu.errorlog", 2043),
        (errors.LogDamaged(), "sevu.errorcount", 2053),
        (ZeroDivisionError("x"), "sevu.errorcount", 4),
        (refused(codes.TOO_LARGE), None, 9003),
    ],
)
def test_every_error_has_its_code(error: Exception, command: str | None, number: int) -> None:
    assert number == refusal_of(error, COMMANDS[command].codes if command else None).code


def test_only_a_command_that_creates_is_refused_when_repeated() -> None:
    assert {"sevu.request"} == {kind.name for kind in COMMANDS.values() if kind.creates}
