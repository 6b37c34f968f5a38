"""Patterns of app and video against a table-filling oracle (SEVU rulings, "wildcards" and "lengths")."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.errors import InvalidParameter
from openusher.model.pattern import is_pattern, parse_pattern
from tests.oracles import matching

# Few letters, so that pieces repeat and overlap; the rest must all stand for themselves.
letters = st.text(alphabet="ab", max_size=10)
pattern_text = st.one_of(
    st.text(alphabet="aab**|", min_size=1, max_size=12),
    # Pieces and names of a length at which what the pieces need is about what the name has.
    st.lists(st.sampled_from(["", "a", "b", "ab", "aa"]), min_size=2, max_size=4).map("*".join),
)
odd_pattern_text = st.text(alphabet=r"aA/*|%_\.?[é ", min_size=1, max_size=8)
odd_name = st.text(alphabet=r"aA/*|%_\.?[é ", max_size=8)


def names_nothing(pattern: str) -> bool:
    return not pattern.strip("|")


@given(pattern_text, letters)
def test_a_pattern_matches_what_the_oracle_says(pattern: str, name: str) -> None:
    if names_nothing(pattern):
        with pytest.raises(InvalidParameter):
            parse_pattern("video", pattern)
    else:
        assert parse_pattern("video", pattern).matches(name) == matching.matches(pattern, name)


@given(odd_pattern_text, odd_name)
def test_every_other_character_stands_for_itself(pattern: str, name: str) -> None:
    if not names_nothing(pattern):
        assert parse_pattern("app", pattern).matches(name) == matching.matches(pattern, name)


@given(st.lists(st.text(alphabet="ab/", max_size=4), min_size=1, max_size=6), st.data())
def test_a_name_made_by_filling_in_the_stars_matches(pieces: list[str], data: st.DataObject) -> None:
    fills = [data.draw(st.text(alphabet="ab/", max_size=4)) for _ in pieces[1:]]
    name = pieces[0] + "".join(fill + piece for fill, piece in zip(fills, pieces[1:], strict=True))
    pattern = "x|" + "*".join(pieces)

    assert parse_pattern("video", pattern).matches(name) or pieces == [""]


@pytest.mark.parametrize(
    ("pattern", "name", "matched"),
    [
        ("*", "", True),
        ("*", "sestore3/demo/a.mp4", True),
        ("my_video.mp4|my_folder/*", "my_folder/sub/b.mp4", True),
        ("my_video.mp4|my_folder/*", "my_video.mp4", True),
        ("my_video.mp4|my_folder/*", "my_video.mp4|my_folder/*", False),
        ("my_video.mp4", "My_video.mp4", False),
        ("my_video.mp4", "my_videoXmp4", False),
        ("clip", "/clip", False),
        ("demo/a", "sestore3/demo/a", False),
        ("a*a", "a", False),
        ("aba*aba", "ababa", False),
        ("a*b*c", "acbc", True),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aab", False),
        ("*ab*b", "ab", False),
        ("a*a*a", "aa", False),
        ("a**b", "ab", True),
        (" a", "a", False),
        ("|a|", "a", True),
        ("|a|", "", False),
        ("user*", "user\nb", True),
    ],
)
def test_patterns_by_example(pattern: str, name: str, matched: bool) -> None:
    assert parse_pattern("video", pattern).matches(name) is matched
    assert matching.matches(pattern, name) is matched


@pytest.mark.parametrize("pattern", ["", "|", "|||"])
def test_a_pattern_that_names_nothing_is_an_error_each_time(pattern: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidParameter, match=r"^app: names nothing"):
            parse_pattern("app", pattern)


def test_64_alternatives_are_taken_and_65_are_not() -> None:
    assert parse_pattern("video", "|".join(f"v{n}" for n in range(64))).matches("v63")
    with pytest.raises(InvalidParameter, match=r"^video: has more than 64 alternatives"):
        parse_pattern("video", "|".join(f"v{n}" for n in range(65)))


def test_16_stars_are_taken_and_17_are_not() -> None:
    assert parse_pattern("video", "a" + "*" * 16 + "|" + "b*" * 16).matches("a")
    with pytest.raises(InvalidParameter, match=r"^video: has more than 16 \* in one alternative"):
        parse_pattern("video", "c|" + "a*" * 17)


def test_an_error_names_the_field_it_is_about_even_when_the_text_is_known() -> None:
    for field in ("app", "video", "app"):
        with pytest.raises(InvalidParameter) as caught:
            parse_pattern(field, "*" * 17)

        assert caught.value.field == field


@pytest.mark.parametrize(
    "alternative",
    ["*a" * 15 + "*b", "a*" * 15 + "*b", "*" + "aaaaaabaaaaaa*" * 15, "*a*b" * 8, "a" * 500 + "*" + "a" * 500 + "b"],
)
def test_the_worst_pattern_on_the_longest_name_takes_no_longer_than_a_scan(alternative: str) -> None:
    pattern = parse_pattern("video", "|".join(f"{alternative}{n:02}" for n in range(64)))
    name = "a" * 1_024
    began_s = time.process_time()

    matched = pattern.matches(name)

    # 64 alternatives take about a millisecond; a matcher that goes back would not end in a lifetime.
    assert not matched
    assert time.process_time() - began_s < 0.25


@pytest.mark.parametrize(("text", "expected"), [("a", False), ("a*", True), ("a|b", True), ("%_", False)])
def test_a_filter_is_a_pattern_by_its_star_or_pipe(text: str, expected: bool) -> None:
    assert is_pattern(text) is expected
