"""Lengths and storable text (SEVU rulings, "lengths")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.model.limits import checked_text, cut_text, is_storable

any_text = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=40)
storable_text = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@given(any_text)
def test_text_is_storable_exactly_when_utf8_holds_it_and_it_has_no_nul(text: str) -> None:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = b"\0"

    assert is_storable(text) == (b"\0" not in raw)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "a\udfffb", "\ud83d\ude00"])
def test_nul_and_lone_surrogates_are_refused_by_field_name(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^video: ") as caught:
        checked_text("video", text, bytes_max=100)

    assert caught.value.field == "video"


@pytest.mark.parametrize(("text", "taken"), [("é" * 64, True), ("é" * 64 + "a", False), ("a" * 128, True), ("", True)])
def test_a_length_is_counted_in_bytes_of_utf8(text: str, taken: bool) -> None:
    if taken:
        assert checked_text("key", text, bytes_max=128) == text
    else:
        with pytest.raises(InvalidParameter, match="key: longer than 128 bytes"):
            checked_text("key", text, bytes_max=128)


def test_an_error_about_a_pass_does_not_show_the_pass() -> None:
    with pytest.raises(InvalidParameter) as caught:
        checked_text("pass", "swordfish" * 100, bytes_max=256)

    assert "swordfish" not in str(caught.value)
    assert "swordfish" not in repr(caught.value)


@given(storable_text, st.integers(0, 40))
def test_a_cut_text_is_the_longest_run_of_whole_characters_that_fits(text: str, bytes_max: int) -> None:
    short, was_cut = cut_text(text, bytes_max=bytes_max)
    longest = max((text[:n] for n in range(len(text) + 1) if len(text[:n].encode()) <= bytes_max), key=len)

    assert short == longest
    assert was_cut == (short != text)


@pytest.mark.parametrize(
    ("text", "bytes_max", "short"),
    [("aé", 2, "a"), ("a€b", 3, "a"), ("a😀", 4, "a"), ("a😀", 5, "a😀"), ("😀", 3, ""), ("abc", 3, "abc")],
)
def test_a_character_is_never_cut_in_two(text: str, bytes_max: int, short: str) -> None:
    assert cut_text(text, bytes_max=bytes_max) == (short, short != text)
