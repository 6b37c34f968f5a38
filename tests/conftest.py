"""What every test may use, and the lines that `make test` ends with: one a promise, with what was tried."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Generator

import pytest

Promise = Callable[..., None]

_tried: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
_failed: dict[str, set[str]] = defaultdict(set)
# The name that a test passes, itself or as a constant of its module.
_NAMED = re.compile(r'\bpromise\(\s*(?:"([^"]+)"|([A-Z]\w*))')


@pytest.fixture
def promise() -> Promise:
    """Call it at the end of a test with the promise's name and what was tried: `promise("Tenants apart", counts=12)`.

    Numbers of several tests for one promise add up. A promise is not kept when a test fails that would have reported
    to it.
    """

    def keep(name: str, **tried: int) -> None:
        for what, number in tried.items():
            _tried[name][what.replace("_", " ")] += number

    return keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A test that fails never comes to its call of `promise`, but it is written there.
    if report.failed and isinstance(item, pytest.Function) and "promise" in item.fixturenames:
        for literal, constant in _NAMED.findall(inspect.getsource(item.function)):
            _failed[literal or getattr(item.module, constant)].add(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    names = [*_tried, *(name for name in _failed if name not in _tried)]
    if not names:
        return
    terminalreporter.section("promises")
    for name in names:
        tried = ", ".join(f"{number:,} {what}" for what, number in _tried[name].items())
        number = len(_failed[name])
        kept = f"NOT KEPT, {number} of its tests failed; by the others " if number else ""
        terminalreporter.write_line(f"{name}: {kept}{tried or 'nothing was tried'}")
