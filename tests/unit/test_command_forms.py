"""One thing has one name and one sentence, whichever command takes it."""

from __future__ import annotations

from functools import cache

import pytest

from docs.generate import command_names, help_of

_SHARED = {
    "--data <path>": "The data folder. [env var: USHER_DATA; default: usher-data]",
    "--json": "Print JSON, one object a line, for programs.",
    "--yes": "Do not ask.",
    "--show-pass": "Show the passes too, which else are left out.",
}
# Where it is another thing: a setting's own sentence; and an export, whose rows are not what --json prints.
_OTHERWISE = {
    ("serve", "--data <path>"),
    ("config", "--data <path>"),
    ("attempts export", "--json"),
    ("attempts export", "--yes"),
}
# What they print is a configuration, or one sentence.
_WITHOUT_JSON = {"edge snippet", "serve", "session rotate-key"}


@cache
def options_of(name: str) -> str:
    return " ".join(help_of(name).partition("Options:")[2].split())


@pytest.mark.parametrize("name", list(command_names()))
def test_what_commands_share_they_name_alike(name: str) -> None:
    options = options_of(name)
    shared = {flag: text for flag, text in _SHARED.items() if f"{flag} " in options and (name, flag) not in _OTHERWISE}

    assert {flag: text for flag, text in shared.items() if f"{flag} {text}" not in options} == {}


def test_what_can_be_read_can_be_read_by_programs() -> None:
    on_a_folder = {name for name in command_names() if "--data <path>" in options_of(name)}

    assert {name for name in on_a_folder if "--json " not in options_of(name)} == _WITHOUT_JSON
