"""What the attempt log's process says: its own events whole, and of the engine nothing that a viewer may have sent."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openusher.attemptlog.embedded.heard import Heard

FATAL = b"(query: INSERT INTO attempts FORMAT JSON [['s3cr3t', '(GUESSED_BY_NAME)']]) SIGSEGV (CORRUPTED_DATA)"
EVENT = {
    "time": "2026-11-28T12:00:00Z",
    "level": "error",
    "event": "process.failed",
    "process": "log",
    "exception": "x",
}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is logged, as it is given to the logger."""
    told: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            told.append({"event": event, **fields})

        def log(self, level: int, event: str, **fields: Any) -> None:
            told.append({"event": event, "level": level, **fields})

    monkeypatch.setattr("openusher.attemptlog.embedded.heard.log", Log())
    return told


def test_while_it_opens_the_engine_is_passed_on(events: list[dict[str, Any]]) -> None:
    Heard().hear(b"Code: 1. broken part (CORRUPTED_DATA)\n")

    assert events == [{"event": "log.said", "process": "log", "said": "Code: 1. broken part (CORRUPTED_DATA)"}]


def test_once_it_works_only_names_are_passed_on_that_are_known_beforehand(events: list[dict[str, Any]]) -> None:
    heard = Heard()
    heard.be_ready()
    heard.hear(FATAL + b"\nnothing of note\n")

    assert events == [{"event": "log.said", "process": "log", "names": "CORRUPTED_DATA, SIGSEGV"}]


def test_its_own_events_are_passed_on_as_they_are(events: list[dict[str, Any]]) -> None:
    heard = Heard()
    heard.be_ready()
    heard.hear(json.dumps(EVENT, separators=(",", ":")).encode() + b"\n")

    assert events == [{"event": "process.failed", "level": 40, "process": "log", "exception": "x"}]


@given(pieces=st.lists(st.binary(max_size=20), max_size=20))
def test_lines_are_told_wherever_they_are_cut(pieces: list[bytes]) -> None:
    whole, cut = Heard(), Heard()
    whole.hear(b"".join(pieces))
    for piece in pieces:
        cut.hear(piece)

    assert whole.text() == cut.text() == b"".join(pieces).decode(errors="replace")


def test_a_line_without_an_end_takes_little_memory() -> None:
    heard = Heard()
    tracemalloc.start()
    for _ in range(200):
        heard.hear(b"x" * 10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(heard.text()) == 32_768
    assert peak < 500_000
