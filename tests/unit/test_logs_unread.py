"""A log that nobody reads: it keeps nobody waiting, and says afterwards what it has lost."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from openusher.logs import event_log
from openusher.logs.form import line_formatter
from openusher.logs.stderr import ReadableLines

_PIPE_BYTES = 16_384


@pytest.fixture
def reading() -> Iterator[int]:
    """The end of a small pipe to which all our events are written."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    handler = ReadableLines(writing, event_log())
    handler.setFormatter(line_formatter(process="door", console=False, colours=False))
    ours = logging.getLogger("openusher")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.disabled = False
    yield reading
    ours.removeHandler(handler)
    ours.setLevel(logging.NOTSET)
    for end in (reading, writing):
        os.close(end)


def read(reading: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(reading, 1_000_000).decode().splitlines()]


def in_time(work: Any) -> None:
    """In a thread: what waits for ever must not hold up the tests."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_lines_that_nobody_reads_are_lost_and_counted(reading: int) -> None:
    log = event_log()
    in_time(lambda: [log.info("thing.happened", number=number) for number in range(500)])
    first = read(reading)
    log.info("thing.happened", number=500)
    lost, last = read(reading)

    assert [each["number"] for each in first] == list(range(len(first)))
    assert len(first) > 5
    assert (lost["event"], lost["level"], lost["lines"]) == ("log.lines_lost", "warning", 500 - len(first))
    assert last["number"] == 500


def test_a_line_that_is_longer_than_what_is_left_is_torn_and_the_next_is_whole(reading: int) -> None:
    log = event_log()
    texts = {f"text{n}": "x" * 300 for n in range(80)}
    in_time(lambda: log.info("thing.happened", **texts))
    os.read(reading, 1_000_000)
    log.info("thing.happened", number=1)
    _, *lines = os.read(reading, 1_000_000).decode().splitlines()

    assert [json.loads(line)["event"] for line in lines] == ["log.lines_lost", "thing.happened"]
