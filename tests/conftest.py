"""What every test may use, and the lines that `make test` ends with: one a promise, with what was tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

Promise = Callable[..., None]

_tried: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))


@pytest.fixture
def promise() -> Promise:
    """Call it at the end of a test with the promise's name and what was tried: `promise("Tenants apart", counts=12)`.

    Numbers of several tests for one promise add up.
    """

    def keep(name: str, **tried: int) -> None:
        for what, number in tried.items():
            _tried[name][what.replace("_", " ")] += number

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _tried:
        return
    terminalreporter.section("promises")
    for name, tried in _tried.items():
        terminalreporter.write_line(f"{name}: {', '.join(f'{number:,} {what}' for what, number in tried.items())}")
