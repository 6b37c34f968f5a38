"""What every test may use, and the lines that `make test` ends with: one a promise, with what was tried."""

from __future__ import annotations

import inspect
import os
import re
from collections import defaultdict
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings

# The settings of a node that this machine may really run are none of a test's.
os.environ["USHER_CONFIG"] = ""

Promise = Callable[..., None]

# How long an example takes says how busy the machine is.
settings.register_profile("usher", deadline=None)
settings.load_profile("usher")

# Among a test's properties, which come back from the process that ran it.
_TRIED, _NOT_KEPT = "promise tried", "promise not kept"
# The name that a test passes, itself or as a constant of its module.
_NAMED = re.compile(r'\bpromise\(\s*(?:"([^"]+)"|([A-Z]\w*))')

_tried: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
_failed: dict[str, set[str]] = defaultdict(set)


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Promise:
    """Call it at the end of a test with the promise's name and what was tried: `promise("Tenants apart", counts=12)`.

    Numbers of several tests for one promise add up. A promise is not kept when a test fails that would have reported
    to it.
    """

    def keep(name: str, **tried: int) -> None:
        request.node.user_properties.append((_TRIED, [name, {what.replace("_", " "): n for what, n in tried.items()}]))

    return keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A test that fails never comes to its call of `promise`, but it is written there.
    if report.failed and isinstance(item, pytest.Function) and "promise" in item.fixturenames:
        names = [
            name or getattr(item.module, constant)
            for name, constant in _NAMED.findall(inspect.getsource(item.function))
        ]
        report.user_properties.extend((_NOT_KEPT, name) for name in names)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # The reports of a test's three parts all have what it said by then.
    for name, said in report.user_properties:
        if name == _NOT_KEPT:
            _failed[str(said)].add(report.nodeid)
        elif name == _TRIED and report.when == "teardown" and isinstance(said, list):
            promised, tried = said
            for what, number in tried.items():
                _tried[promised][what] += number


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
