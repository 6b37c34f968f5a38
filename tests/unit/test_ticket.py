"""Tickets: keys, passes, uses (SEVU rulings, "key format" and "uses")."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.ledger.base import Issue
from openusher.model.account import Secret, token_digest
from openusher.model.limits import KEY_BYTES_MAX
from openusher.model.ticket import NewTicket, Ticket, new_ticket_key
from openusher.web.admin.accounts import NewAccountBody
from openusher.web.edges.question import Question


def a_ticket(*, password: str = "user123|swordfish", uses_limit: int = 5, uses_taken: int = 0) -> Ticket:
    return Ticket(
        number=1, cdn=158, key="mystream.53ffc996dd39d5.39102367", password=password, app="acme-vod", video="*",
        ip="auto", uses_limit=uses_limit, uses_taken=uses_taken, active=True, created_s=1, expires_s=2, used_s=0,
    )  # fmt: skip


@given(st.text(max_size=200))
def test_a_key_has_sevus_form_is_safe_in_urls_and_fits(video: str) -> None:
    key = new_ticket_key(video)

    assert re.fullmatch(r"[A-Za-z0-9_-]{0,64}\.[0-9a-f]{14}\.[0-9]{8}", key)
    assert len(key) <= KEY_BYTES_MAX


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("mystream", "mystream"),
        ("foo*", "foo_"),
        ("*", "_"),
        ("sestore3/demo/é.mp4|clips/*", "sestore3_demo___mp4"),
        ("|a|b", "a"),
        ("a" * 65, "a" * 64),
        ("é" * 100, "_" * 64),
    ],
)
def test_a_key_begins_with_the_first_video_name(video: str, name: str) -> None:
    assert new_ticket_key(video).split(".")[0] == name


def test_keys_do_not_repeat() -> None:
    keys = {new_ticket_key("v") for _ in range(2_000)}

    assert len(keys) == 2_000
    assert len({key.split(".")[2] for key in keys}) > 1_900


def test_only_the_whole_pass_opens() -> None:
    ticket = a_ticket(password="pässword|1")

    assert ticket.opens_with("pässword|1")
    for wrong in ("", "pässword", "pässword|1 ", "PÄSSWORD|1", "pa\u0308ssword|1"):
        assert not ticket.opens_with(wrong)


@pytest.mark.parametrize(("limit", "taken", "left"), [(0, 0, None), (0, 99, None), (5, 0, 5), (5, 4, 1), (5, 5, 0)])
def test_uses_left_is_what_is_allowed_less_what_is_taken(limit: int, taken: int, left: int | None) -> None:
    ticket = a_ticket(uses_limit=limit, uses_taken=taken)

    assert ticket.uses_left == left
    assert ticket.unlimited is (limit == 0)


def test_neither_pass_nor_secret_shows_in_a_repr() -> None:
    new = NewTicket(cdn=1, password="swordfish", app="a", video="v", ip="auto", uses_limit=1, expires_s=1, key="k")

    for shown in (repr(a_ticket()), str(a_ticket()), repr(new), f"{Secret('swordfish')} {Secret('swordfish')!r}"):
        assert "swordfish" not in shown
        assert "user123" not in shown
    assert "mystream.53ffc996dd39d5.39102367" in repr(a_ticket())


def test_a_secret_opens_with_its_own_text_only() -> None:
    secret = Secret("schlüssel")

    assert secret.opens_with("schlüssel")
    assert not secret.opens_with("schlussel")
    assert not secret.opens_with("\ud800")
    assert secret == Secret("schlüssel")
    assert secret != Secret("other")


def test_what_is_kept_of_an_edge_token_is_its_sha256() -> None:
    assert token_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert token_digest("\ud800") != token_digest("abc")


def test_what_carries_a_secret_or_a_signature_does_not_show_it() -> None:
    asked = NewTicket(cdn=1, password="hush", app="a", video="v", ip="auto", uses_limit=0, expires_s=1, key="k")
    body = '{"app": "a", "video": "v", "ip": "::1", "pass": "hush"}'
    for carrier in (
        Issue(ticket=asked, api_key="KEY", replay_digest="hush"),
        msgspec.json.decode(body, type=Question),
        NewAccountBody(name="site", secret="hush"),
    ):
        assert "hush" not in repr(carrier)
        assert "***" in repr(carrier)
