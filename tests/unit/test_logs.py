"""What a line of the log looks like whatever stands in its values, and how few lines a flood makes."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from openusher.errors import Busy
from openusher.logs import event_log
from openusher.logs.floods import BURST, FewOfEach, Floods
from openusher.logs.form import TEXT_MAX, line_formatter

ROOT = Path(__file__).resolve().parents[2]
EVENTS_PAGE = ROOT / "docs" / "reference" / "log-events.md"
SECRET = "s3cr3t"
INJECTED = 'a\nb\r\x1b[31m c\u2028d\u2029e\0f\x85g\u202eh\x7fi"j\\'


class Written:
    """What is logged, by our own modules and by libraries, in one of the two forms."""

    def __init__(self, *, console: bool, colours: bool = False) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(line_formatter(process="door", console=console, colours=colours))
        self._handler.addFilter(FewOfEach(event_log()))

    def __enter__(self) -> Written:
        self._loggers = [logging.getLogger(name) for name in ("openusher", "somelib")]
        for logger in self._loggers:
            logger.addHandler(self._handler)
            logger.setLevel(logging.DEBUG)
            # The linter of imports, which another test runs, switches off the loggers that it finds.
            logger.disabled = False
        return self

    def __exit__(self, *error: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self._handler)
            logger.setLevel(logging.NOTSET)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def event(self) -> dict[str, Any]:
        """The only line, which is JSON."""
        (line,) = self.text.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture
def log() -> structlog.stdlib.BoundLogger:
    return event_log()


# --- the form -------------------------------------------------------------------------------------------------------


def test_a_line_says_when_what_and_by_which_process(log: structlog.stdlib.BoundLogger) -> None:
    with Written(console=False) as written:
        log.info("block.shipped", number=7, rows=20_000, nothing=None)

    event = written.event()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("time"))
    assert event == {"level": "info", "event": "block.shipped", "process": "door", "number": 7, "rows": 20_000}


@pytest.mark.parametrize("console", [False, True], ids=["json", "console"])
@settings(deadline=None)
@given(text=st.one_of(st.just(INJECTED), st.text(max_size=30)))
def test_a_line_is_one_line_whatever_stands_in_it(text: str, console: bool) -> None:
    with Written(console=console) as written:
        event_log().warning("log.said", said=text)
        logging.getLogger("somelib").error("said %s", text)

    assert written.text.count("\n") == len(written.text.splitlines()) == 2
    assert written.text.replace("\n", "").isprintable()


def test_a_text_is_cut_at_its_limit(log: structlog.stdlib.BoundLogger) -> None:
    with Written(console=False) as written:
        log.warning("log.said", said="x" * 100_000)

    assert written.event()["said"] == "x" * TEXT_MAX + "…"


def test_no_value_looks_like_the_next_field_to_people(log: structlog.stdlib.BoundLogger) -> None:
    with Written(console=True) as written:
        log.warning("log.said", said="nothing level=critical")

    assert "said='nothing level=critical'" in written.text


def test_colours_are_for_terminals(log: structlog.stdlib.BoundLogger) -> None:
    said = []
    for colours in (False, True):
        with Written(console=True, colours=colours) as written:
            log.info("node.started")
        said.append("\x1b[" in written.text)

    assert said == [False, True]


@pytest.mark.parametrize("console", [False, True], ids=["json", "console"])
def test_an_exception_shows_where_but_not_what_it_stumbled_over(console: bool) -> None:
    def stumble(password: str) -> None:
        try:
            int(password)
        except ValueError as error:
            raise KeyError(password) from error

    with Written(console=console) as written:
        try:
            stumble(SECRET)
        except KeyError:
            event_log().exception("request.failed")

    assert SECRET not in written.text
    assert "Traceback" in written.text
    assert "in stumble" in written.text
    assert written.text.index("KeyError") < written.text.index("ValueError")


def test_the_texts_of_our_own_errors_and_of_the_system_are_shown(log: structlog.stdlib.BoundLogger) -> None:
    with Written(console=False) as written:
        for error in (Busy("the disk is nearly full"), OSError(28, "No space left on device")):
            log.error("ledger.failed", exc_info=error)

    told = [json.loads(line)["exception"].splitlines()[-1] for line in written.text.splitlines()]
    assert told == ["Busy: the disk is nearly full", "OSError: No space left on device"]


def test_what_a_library_says_comes_in_the_same_form() -> None:
    with Written(console=False) as written:
        logging.getLogger("somelib").warning("it is %s\nwith all it was working on", "late")

    event = written.event()
    assert (event["event"], event["logger"], event["said"]) == ("library.said", "somelib", "it is late")


# --- floods ---------------------------------------------------------------------------------------------------------


class Told:
    """Floods, and what they told of each kind."""

    def __init__(self, **limits: Any) -> None:
        self.left_out: Counter[Any] = Counter()
        self.floods = Floods(self._tell, **limits)

    def _tell(self, kind: Any, left_out: int) -> None:
        self.left_out[kind] += left_out

    def lines(self, kind: str, times: int, *, second: int) -> int:
        """How many of so many lines are written."""
        return sum(self.floods.passes(kind, second=second) for _ in range(times))


def test_a_flood_is_ten_lines_and_then_one_a_second_until_it_ends() -> None:
    told = Told()
    counts = []
    for second, times in enumerate((100, 1_000, 5, 5, 0, 11)):
        counts.append((told.lines("a", times, second=second), told.left_out["a"]))
        told.floods.tell_left_out()

    assert counts == [(BURST, 0), (0, 90), (0, 1_090), (5, 1_095), (0, 1_095), (BURST, 1_095)]
    assert told.left_out["a"] == 1_096


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 40), st.booleans()), max_size=30),
)
def test_every_line_is_written_or_counted_and_few_are_written(asked: list[tuple[str, int, int, bool]]) -> None:
    told = Told()
    written: Counter[tuple[str, int]] = Counter()
    second, total = 0, Counter[str]()
    for kind, later, times, tells in asked:
        second += later
        written[kind, second] += told.lines(kind, times, second=second)
        total[kind] += times
        if tells:
            told.floods.tell_left_out()
    told.floods.tell_left_out()

    assert max(written.values(), default=0) <= BURST
    for kind in total:
        assert total[kind] == told.left_out[kind] + sum(n for (each, _), n in written.items() if each == kind)


def test_all_kinds_together_have_a_limit_too() -> None:
    told = Told(lines_s_max=25)
    written = [sum(told.lines(f"{n}", 10, second=second) for n in range(10)) for second in (1, 2)]
    told.floods.tell_left_out()

    assert written == [25, 25]
    assert told.left_out.total() == 150


def test_kinds_without_end_are_few_lines() -> None:
    told = Told()
    for n in range(5_000):
        told.lines(f"kind {n}", 2, second=1)
    told.floods.tell_left_out()

    assert told.left_out == {None: 8_000 - BURST}


def test_no_line_is_lost_between_threads() -> None:
    told = Told()
    written = [0] * 4

    def ask(n: int) -> None:
        written[n] = told.lines("a", 5_000, second=n)

    threads = [Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        told.floods.tell_left_out()
        thread.join()
    told.floods.tell_left_out()

    assert sum(written) + told.left_out["a"] == 20_000


def test_an_event_that_comes_without_end_is_few_lines(log: structlog.stdlib.BoundLogger) -> None:
    with Written(console=False) as written:
        for n in range(500):
            log.error("request.failed", number=n)
            logging.getLogger("somelib").error("failed %d", n)

    # One second may have ended in between.
    events = Counter(json.loads(line)["event"] for line in written.text.splitlines())
    assert set(events) == {"request.failed", "library.said"}
    assert all(BURST <= count <= BURST + 2 for count in events.values())


# --- the page of the events -----------------------------------------------------------------------------------------


_LOGS = re.compile(r"(self\._)?log\.(debug|info|warning|error|exception|critical|log)|self\._logged")


def events_logged() -> Iterator[str]:
    """Every event that is logged anywhere, as it stands in the source."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_log = isinstance(node, ast.Call) and re.fullmatch(
                r"(self\._)?log\.(debug|info|warning|error|exception|critical|log)|self\._logged",
                ast.unparse(node.func),
            )
            if is_log and isinstance(node, ast.Call):
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str))


def test_every_event_is_on_its_page_and_no_other() -> None:
    page = EVENTS_PAGE.read_text().split("\n## http.answered")[0]
    documented = re.findall(r"`([a-z_.]+)`", "".join(re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)))

    assert len(documented) == len(set(documented))
    assert {*events_logged(), "library.said"} == set(documented)


def test_events_are_named_alike() -> None:
    assert [event for event in events_logged() if not re.fullmatch(r"[a-z_]+\.[a-z_]+", event)] == []
