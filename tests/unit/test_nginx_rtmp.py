"""What nginx's RTMP module sends, read as it means it, whatever a viewer puts into it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.web.edges.nginx_rtmp import Hook, read_hook
from tests.golden.nginx_rtmp import SENT, Sent

PEER = "192.0.2.80"
# `ngx_escape_uri` with NGX_ESCAPE_ARGS, of nginx 1.22: besides, all up to a blank, and from 0x7f on.
_ESCAPED = frozenset(b" #%&+;?")

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
# What could be taken for a field of the server's, or end one.
forged = st.lists(
    st.sampled_from(["&", "=", "?", "name", "addr", "clientid", "call", "play", "key", "1.2.3.4", "%26", "%"])
)


def escaped(text: str) -> bytes:
    """As nginx writes a text of a viewer's."""
    return b"".join(
        b"%%%02X" % byte if byte <= 0x20 or byte >= 0x7F or byte in _ESCAPED else bytes([byte])
        for byte in text.encode()
    )


def sent(*, app: str, flashver: str, tcurl: str, pageurl: str, name: str, args: bytes = b"") -> bytes:
    """A play as the module puts it together."""
    head = b"app=%b&flashver=%b&swfurl=&tcurl=%b&pageurl=%b" % tuple(map(escaped, (app, flashver, tcurl, pageurl)))
    rest = b"&addr=192.0.2.7&clientid=42&call=play&name=%b&start=0&duration=0&reset=0" % escaped(name)
    return head + rest + (b"&" + args if args else b"")


def said(hook: Hook) -> tuple[str, ...]:
    number = hook.client.removesuffix(f"@{PEER}")
    texts = hook.call, hook.app, hook.name, number, hook.addr, hook.user_agent, hook.pageurl
    return (*texts, hook.key, hook.password)


@pytest.mark.parametrize("sent", SENT, ids=[sent.name for sent in SENT])
def test_each_call_is_read_as_it_is_meant(sent: Sent) -> None:
    assert sent.says == said(read_hook(sent.body, peer=PEER))


@given(st.one_of(st.binary(max_size=300), forged.map(lambda parts: "".join(parts).encode())))
def test_nothing_behind_a_streams_name_changes_a_field_of_the_server(args: bytes) -> None:
    try:
        hook = read_hook(sent(app="live", flashver="f", tcurl="t", pageurl="p", name="cam1", args=args), peer=PEER)
    except InvalidParameter:
        return

    assert said(hook)[:-2] == ("play", "live", "cam1", "42", "192.0.2.7", "f", "p")


@given(
    st.fixed_dictionaries(dict.fromkeys(("app", "flashver", "tcurl", "pageurl", "name"), texts | forged.map("".join)))
)
def test_what_a_viewer_says_of_itself_is_read_as_it_was_said(told: dict[str, Any]) -> None:
    hook = read_hook(sent(**told, args=b"key=k&pass=p"), peer=PEER)

    assert said(hook) == (
        "play",
        told["app"],
        told["name"],
        "42",
        "192.0.2.7",
        told["flashver"],
        told["pageurl"],
        "k",
        "p",
    )


@given(st.dictionaries(st.sampled_from(["key", "pass", "x"]), texts, min_size=1))
def test_a_ticket_is_read_as_forms_are(told: dict[str, str]) -> None:
    args = b"&".join(b"%b=%b" % (name.encode(), escaped(value)) for name, value in told.items())
    hook = read_hook(
        sent(app="a", flashver="", tcurl="", pageurl="", name="n", args=args + b"&key=2&pass=2"), peer=PEER
    )

    assert (told.get("key", "2"), told.get("pass", "2")) == (hook.key, hook.password)


def test_the_same_number_at_another_server_is_another_connection() -> None:
    body = SENT[0].body

    assert "28@192.0.2.80" == read_hook(body, peer=PEER).client != read_hook(body, peer="192.0.2.81").client


PLAY = SENT[0].body
BAD = {
    "nothing": b"",
    "another order": PLAY.replace(b"app=live&flashver=LNX%209,0,124,2", b"flashver=x&app=live"),
    "a field too many": PLAY.replace(b"&addr=", b"&addr=9.9.9.9&addr="),
    "a field too few": PLAY.replace(b"&swfurl=", b""),
    "cut off": PLAY.partition(b"&start")[0],
    "an unknown call": PLAY.replace(b"call=play", b"call=pause"),
    "a connection without a call": PLAY.partition(b"&call")[0],
    "no number": PLAY.replace(b"clientid=28", b"clientid=x"),
    "an empty number": PLAY.replace(b"clientid=28", b"clientid="),
    "a long number": PLAY.replace(b"clientid=28", b"clientid=" + b"1" * 21),
    "a name that is not UTF-8": PLAY.replace(b"cam1", b"%FFbad"),
    "an app that is not UTF-8": PLAY.replace(b"app=live", b"app=%C3"),
    "a pass that is not UTF-8": PLAY.replace(b"pass=user", b"pass=%80"),
    "a percent sign alone": PLAY + b"%",
    "a percent sign before no digits": PLAY.replace(b"key=K", b"key=%zz"),
    "a percent sign in a field of no use": PLAY + b"&x=%1",
    "many fields": PLAY + b"&" * 64,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_the_module_never_writes_is_not_understood(body: bytes) -> None:
    with pytest.raises(InvalidParameter):
        read_hook(body, peer=PEER)


def test_a_player_whose_name_was_cut_in_a_character_is_read() -> None:
    hook = read_hook(PLAY.replace(b"LNX%209,0,124,2", b"caf%C3"), peer=PEER)

    assert hook.user_agent == "caf\ufffd"


def test_a_hook_shows_no_pass() -> None:
    assert "user|p" not in repr(read_hook(PLAY, peer=PEER))
