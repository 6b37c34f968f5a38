"""The quick reader of plain commands: whatever it takes, the reader of any text takes alike."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openusher.sevu.jsontext import read_object
from openusher.sevu.plainjson import read_plain

_name = st.sampled_from(["command", "cdn", "app", "x_1", "0"])
_odd_name = st.sampled_from(["App", "signature", "Signature", "a b", "", "é", "\u212aey", "a\\u0070p"])
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_value = st.none() | st.booleans() | st.integers(0, 10**18 - 1) | _text
_odd_value: st.SearchStrategy[object] = (
    st.integers(-(10**21), 10**21) | st.floats(allow_nan=True, width=32) | st.lists(_value, max_size=2) | st.just({})
)
# What a name or value may be spelt as that `json` would not write.
_spelt = st.sampled_from(
    [
        '"a\\/b"',
        '"\\u00e9"',
        '"\\ud83d\\ude00"',
        '"\\ud83d"',
        '"\\u0000"',
        '"\\x"',
        '"\t"',
        "01",
        "-0",
        "1e3",
        "1.0",
        "tru",
    ]
)
_space = st.text(" \t\r\n", max_size=2)


@st.composite
def _signed(draw: st.DrawFn) -> bytes:
    """An object that nearly always is a plain command: its signature nearly always last, its values nearly always of
    the kinds that commands have."""
    members: list[tuple[str, str]] = []
    usually, seldom = draw(st.booleans()), st.integers(0, 9).map(lambda drawn: drawn == 9)
    for _ in range(draw(st.integers(1, 5))):
        name = draw(_odd_name if not usually and draw(seldom) else _name)
        value = draw(_odd_value if not usually and draw(seldom) else _value)
        spelt = draw(_spelt) if draw(seldom) else json.dumps(value, ensure_ascii=draw(st.booleans()))
        members.append((json.dumps(name), spelt))
    signature = draw(_spelt if draw(seldom) else _text.map(json.dumps))
    members.insert(0 if draw(seldom) else len(members), ('"signature"', signature))
    space = _space if draw(st.booleans()) else st.just("")
    inside = ",".join(f"{draw(space)}{name}{draw(space)}:{draw(space)}{value}{draw(space)}" for name, value in members)
    return f"{draw(space)}{{{inside}}}{draw(space)}".encode()


def _read_alike(raw: bytes) -> bool:
    """Whether the quick one took it; then both must make the same of it, to the order of the members."""
    plain = read_plain(raw)
    if plain is None:
        return False
    read = read_object(raw)
    assert repr(list(read.members.items())) == repr(list(plain.members.items()))
    assert list(read.spelling.items()) == list(plain.spelling.items())
    assert read.signatures == plain.signatures
    assert read.signed_text == plain.signed_text
    return True


@given(_signed())
@example(b'{"a":1,"a":2,"signature":"x"}')
@example(b'{"a":999999999999999999,"signature":"x"}')
@settings(max_examples=600)
def test_a_signed_object_is_read_alike(raw: bytes) -> None:
    _read_alike(raw)


@given(_signed(), st.data())
@settings(max_examples=600)
def test_a_signed_object_with_some_bytes_changed_is_read_alike(raw: bytes, data: st.DataObject) -> None:
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(
            st.binary(max_size=2) | st.sampled_from([b'"', b",", b"\\", b"}", b'"signature":"x"', b"\xed\xa0\x80"])
        )
        damaged[at : at + data.draw(st.integers(0, 2))] = piece
    _read_alike(bytes(damaged))


@given(st.binary(max_size=100))
def test_any_bytes_are_read_alike(raw: bytes) -> None:
    _read_alike(raw)
    _read_alike(b'{"a":"' + raw + b'","signature":"x"}')


@pytest.mark.parametrize(
    "text",
    [
        # PHP, Perl, C#: SEVU facts, 1.3.
        r'{"command":"sevu.request","cdn":"158","video":"sestore3\/demo\/\u00e9.mp4|clips\/*","signature":"a\/b="}',
        '{"video":"sestore3/demo/é.mp4","uses":5,"command":"sevu.request","signature":"a/b="}',
        '{\r\n  "command": "sevu.request",\r\n  "uses": 0,\r\n  "signature": "a/b="\r\n}',
    ],
)
def test_what_clients_send_is_plain(text: str) -> None:
    assert _read_alike(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"signature":"x","a":1}',
        '{"signature":"x"}',
        '{"a":1}',
        '{"A":1,"signature":"x"}',
        '{"signature":"y","a":1,"signature":"x"}',
        '{"a":1,"signature":1}',
        '{"a":[],"signature":"x"}',
        '{"a":1.5,"signature":"x"}',
        '{"a":-1,"signature":"x"}',
        '{"a":1000000000000000000,"signature":"x"}',
        r'{"a":"\ud800","signature":"x"}',
        r'{"a":"\u0000","signature":"x"}',
        '{"a":1,"signature":"x"}x',
    ],
)
def test_what_is_unusual_is_left_to_the_reader_of_any_text(text: str) -> None:
    assert read_plain(text.encode()) is None


def test_a_text_that_is_not_utf8_is_left_to_the_reader_that_says_where() -> None:
    assert read_plain(b'{"a":"\xff","signature":"x"}') is None
