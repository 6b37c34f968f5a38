"""The table of malformed requests, over the part of the protocol that needs no node."""

from __future__ import annotations

import time

import pytest

from openusher.errors import CommandRefused, NotAuthorised, UsherError
from openusher.model.account import Secret
from openusher.sevu.command import read_command, understand, verify
from openusher.sevu.form import read_form
from openusher.sevu.refusal import refusal_of
from tests.golden.bad_requests import bad_requests
from tests.golden.signed_requests import INVALID, Account, BadRequest, good_text, posted, signed

_NOW = 1_700_000_000
_ASKING = Account("TESTKEY", "self-hosted-test-secret", 158, _NOW)
_SECRET = Secret("self-hosted-test-secret")
_ROWS = bad_requests(api_key="TESTKEY", secret="self-hosted-test-secret", cdn=158, now=_NOW)


def _answer(body: bytes, content_type: str) -> CommandRefused | None:
    """The refusal of a request, or None for one that is understood."""
    kind = None
    try:
        command = read_command(read_form(body, content_type).text)
        kind = command.kind
        if (command.api_key, command.cdn) != ("TESTKEY", 158):
            raise NotAuthorised
        understand(verify(command, secret=_SECRET, now_ms=_NOW * 1000, window_s=300), now_ms=_NOW * 1000)
    except UsherError as error:
        return refusal_of(error, kind.codes if kind else None)
    return None


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_a_malformed_request_gets_its_code_at_once(row: BadRequest) -> None:
    started = time.process_time()
    refusal = _answer(row.body, row.content_type)

    assert refusal is not None
    assert row.code == refusal.code
    assert row.message_part in refusal.message
    assert time.process_time() - started < 1


@pytest.mark.parametrize("command", INVALID)
def test_the_requests_that_the_table_spoils_are_good(command: str) -> None:
    text = signed(good_text(_ASKING, command), _ASKING.secret)

    assert _answer(posted(text), "application/x-www-form-urlencoded") is None


def test_the_table_is_long_its_names_are_unique_and_its_bodies_fit() -> None:
    assert len(_ROWS) >= 150
    assert len(_ROWS) == len({row.name for row in _ROWS})
    assert max(len(row.body) for row in _ROWS) <= 65_536


def test_no_refusal_repeats_a_pass_a_secret_or_a_signature() -> None:
    text = signed(good_text(_ASKING, "sevu.request").replace(b"demo-vod", b"|"), _ASKING.secret)
    refusal = _answer(posted(text), "")

    assert refusal is not None
    for hidden in ("user1", "random", _ASKING.secret, "signature"):
        assert hidden not in refusal.message + refusal.debug
