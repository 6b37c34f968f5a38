"""The tokenizer of signed JSON: what it reads, what it refuses, and what it cuts out."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openusher.errors import CommandRefused
from openusher.sevu.jsontext import DEPTH_MAX, read_object
from tests.oracles import json_objects

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20) + 1, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | _text
)
_value = st.recursive(_scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4))
_space = st.text(" \t\r\n", max_size=3)


@st.composite
def _rendered(draw: st.DrawFn, value: object) -> str:
    """`value` as JSON text, with blanks and escapes where JSON allows them."""
    before, after = draw(_space), draw(_space)
    if isinstance(value, dict):
        members = [f"{draw(_rendered(name))}:{draw(_rendered(member))}" for name, member in value.items()]
        inside = "{" + ",".join(members) + (draw(_space) if not members else "") + "}"
    elif isinstance(value, list):
        inside = "[" + (",".join(draw(_rendered(member)) for member in value) or draw(_space)) + "]"
    else:
        inside = json.dumps(value, ensure_ascii=draw(st.booleans()))
        if isinstance(value, str) and draw(st.booleans()):
            inside = inside.replace("/", r"\/")
    return before + inside + after


@given(st.data())
def test_a_text_in_any_spelling_gives_the_values_that_python_reads(data: st.DataObject) -> None:
    value = data.draw(st.dictionaries(_text, _value, max_size=5))
    raw = data.draw(_rendered(value)).encode()

    _same_as_oracle(raw)


# Enough JSON to get deep into the grammar, and enough nonsense to leave it at every place.
_pieces = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        '"a"',
        '"A"',
        '"a":1',
        '"b":[',
        '"c":{',
        "1",
        "-",
        "0",
        ".5",
        "e9",
        "1e400",
        "true",
        "null",
        "NaN",
        "\\",
        r'"\u0000"',
        r'"\ud800"',
        r'"\ud83d\ude00"',
        r'"\u0041":2',
        '"é":',
        " ",
        "\n",
        "\0",
        "é",
        "\u212a",
        "9" * 21,
    ]
)


@given(st.lists(_pieces, max_size=12).map("".join))
@settings(max_examples=400)
def test_pieces_of_json_in_any_order_are_taken_or_refused_as_python_would(text: str) -> None:
    _same_as_oracle(text.encode())
    _same_as_oracle(f'{{"x":{text}}}'.encode())


@given(st.data())
@settings(max_examples=200)
def test_a_good_text_with_one_byte_changed_is_taken_or_refused_as_python_would(data: st.DataObject) -> None:
    value = data.draw(st.dictionaries(_text, _value, min_size=1, max_size=4))
    raw = bytearray(data.draw(_rendered(value)).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    _same_as_oracle(bytes(raw))


def _same_as_oracle(raw: bytes) -> None:
    try:
        expected = json_objects.read(raw)
    except json_objects.Refuse:
        with pytest.raises(CommandRefused):
            read_object(raw)
        return
    actual = read_object(raw)

    assert repr({name: value for name, value in expected.items() if name != "signature"}) == repr(actual.members)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_give_an_object_or_a_refusal(raw: bytes) -> None:
    with suppress(CommandRefused):
        read_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000,
        b'{"' + b'"' * 65_536,
        b'{"a":"' + b"\\" * 65_537,
        b'{"a":"' + rb"\u0041" * 11_000,
        b'{"a":"' + b"x" * 65_536,
        b'{"a":' + b"1" * 65_536,
        b'{"a":0.' + b"1" * 65_536,
        b"{" + b" " * 65_536 + b"x",
        b'{"a"' + b" " * 65_536 + b"x",
        b'{"a":1' + b" " * 65_536 + b"x",
        b'{"a":[' + b"1," * 32_000,
        b'{"a":[' + b"[]," * 20_000,
        b"{" + b'"a":1,' * 11_000,
        b"{" + b'"signature":"x",' * 4_000 + b'"a":1}x',
        b"{" + b'"a":"\\/",' * 6_000,
    ],
    ids=lambda raw: f"{raw[:12]!r} of {len(raw)} bytes",
)
def test_a_hostile_text_is_refused_at_once(raw: bytes) -> None:
    started = time.process_time()
    with pytest.raises(CommandRefused):
        read_object(raw)

    # Some 30 ms at most on a slow machine; quadratic time would take minutes.
    assert time.process_time() - started < 1


def test_depth_32_is_taken_and_33_is_refused() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    read_object(nested(DEPTH_MAX))
    with pytest.raises(CommandRefused, match="nested deeper than 32"):
        read_object(nested(DEPTH_MAX + 1))
    with pytest.raises(CommandRefused, match="nested deeper than 32"):
        read_object(b'{"a":' * 33 + b"1" + b"}" * 33)


def test_the_last_of_two_members_of_one_name_wins_as_in_php() -> None:
    assert read_object(b'{"key":"a","key":"b"}').members == {"key": "b"}
    assert read_object(b'{"x":{"y":1,"y":2}}').members == {"x": {"y": 2}}


def test_names_differ_by_case_only_inside_values() -> None:
    assert read_object(b'{"x":{"y":1,"Y":2}}').members == {"x": {"y": 1, "Y": 2}}
    with pytest.raises(CommandRefused, match="twice, in different case"):
        read_object(b'{"x":1,"X":1}')


def test_only_ascii_letters_have_case() -> None:
    """KELVIN SIGN lower-cased is k: two names that a person tells apart must not be one."""
    assert read_object('{"\u212aey":1,"Key":2}'.encode()).members == {"\u212aey": 1, "key": 2}


def test_a_refusal_says_where_but_never_what() -> None:
    with pytest.raises(CommandRefused, match=r"at character 17: expected , or }") as caught:
        read_object(b'{"pass":"secret"x}')

    assert "secret" not in caught.value.message


def test_nothing_that_was_read_shows_in_a_repr() -> None:
    assert "secret" not in repr(read_object(b'{"pass":"secret"}'))


_MEMBERS: list[tuple[str, object]] = [
    ("command", "sevu.status"),
    ("video", "a/é|b"),
    ("x", {"signature": "data", "list": [1, {"signature": "data"}]}),
    ("uses", 5),
]


@pytest.mark.parametrize("place", range(len(_MEMBERS) + 1))
@pytest.mark.parametrize("name", ["signature", "Signature", "SIGNATURE"])
@pytest.mark.parametrize(
    ("indent", "separators", "newline"),
    [
        (None, (",", ":"), "\n"),
        (None, (", ", ": "), "\n"),
        (2, (",", ": "), "\n"),
        (2, (",", ": "), "\r\n"),
        (4, (",", " : "), "\n"),
        (0, (",", ":"), "\n"),
    ],
)
def test_the_signature_is_cut_out_wherever_it_stands_and_however_the_text_is_laid_out(
    place: int, name: str, indent: int | None, separators: tuple[str, str], newline: str
) -> None:
    def rendered(members: list[tuple[str, object]]) -> bytes:
        text = json.dumps(dict(members), indent=indent, separators=separators, ensure_ascii=False)
        return text.replace("\n", newline).encode()

    signature = (name, "abc/+=")
    expected = rendered(_MEMBERS)

    actual = read_object(rendered([*_MEMBERS[:place], signature, *_MEMBERS[place:]]))

    assert expected == actual.signed_text
    assert actual.signatures == ["abc/+="]
    assert "signature" not in actual.members


@pytest.mark.parametrize(
    ("raw", "signed"),
    [
        (b'{"signature":"x"}', b"{}"),
        (b'{ "signature" : "x" }', b"{  }"),
        (b'{"a":1}', b'{"a":1}'),
        (b'{"a":1,"signature":"x"}', b'{"a":1}'),
        (b'{"a":1 , "signature":"x" }', b'{"a":1  }'),
        (rb'{"a":1,"\u0073ignature":"x"}', b'{"a":1}'),
        (rb'{"a":"\/","signature":"a\/b"}', rb'{"a":"\/"}'),
        (b'{"a":1,"signature":{"signature":[1]}}', b'{"a":1}'),
        (b'{"a":1,"signature":null,"b":2}', b'{"a":1,"b":2}'),
        (b'{"x":{"signature":"y"},"signature":"x"}', b'{"x":{"signature":"y"}}'),
        (b' {"a":"signature","signature":"x"} \r\n', b' {"a":"signature"} \r\n'),
        ('{"é":"€😀","signature":"x","ü":1}'.encode(), '{"é":"€😀","ü":1}'.encode()),
    ],
)
def test_what_is_signed_is_every_other_byte(raw: bytes, signed: bytes) -> None:
    assert signed == read_object(raw).signed_text


def test_every_signature_member_is_reported_in_any_case() -> None:
    raw = rb'{"signature":"a","a":1,"SIGNATURE":"b","\u0053ignature":"c"}'

    assert read_object(raw).signatures == ["a", "b", "c"]
