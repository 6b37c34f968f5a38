"""The node's own faults show as such, and so does the end of its attempt log's process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.scraping import Scraped, scraped
from tests.nodes import running_node
from tests.servers.ports import free_port

pytestmark = pytest.mark.crash
_CRASHNODE = ("-m", "tests.crash.crashnode")
_WAIT_S_MAX = 60.0


def test_faults_of_the_node_are_counted_by_what_failed_and_are_neither_refusal_nor_bad_input_nor_busy(
    tmp_path: Path,
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    flags = ("--log", "ledger", "--fail", "--metrics", metrics)
    statuses: dict[str, list[int]] = {}
    with running_node(tmp_path / "data", *flags, command=_CRASHNODE) as node, node.connect() as site:
        account = node.create_account("acme")
        for video, times in (("unwritten", 3), ("unknown", 2), ("broken", 1), ("sound", 4)):
            statuses[video] = [site.authorize(account, key="k", password="p", video=video)[0] for _ in range(times)]
        seen = scraped(f"http://{metrics}")

    assert statuses == {"unwritten": [503] * 3, "unknown": [503] * 2, "broken": [500], "sound": [200] * 4}
    assert seen.by("usher_faults_total", "error") == {
        ("ledger_unavailable",): 3,
        ("commit_unknown",): 2,
        ("unexpected",): 1,
    }
    assert seen.by("usher_decisions_total", "outcome", "reason") == {("refused", "Invalid Auth Token"): 4}
    assert seen.by("usher_busy_total", "route") == {}
    assert [each.name for each in seen.samples if each.name == "usher_bad_requests_total"] == []


def test_a_log_process_that_ends_is_seen_to_be_away_and_then_to_have_been_started_again(tmp_path: Path) -> None:
    metrics = f"http://127.0.0.1:{free_port()}"
    with running_node(tmp_path / "data", "--metrics", metrics.removeprefix("http://")) as node:
        first = node.child("attemptlog")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        away = _when(metrics, lambda seen: seen.of("usher_log_up") == 0)
        back = _when(metrics, lambda seen: seen.of("usher_log_up") == 1)

    names = {family.name for family in away.families}
    assert "usher_log_process_resident_memory_bytes" not in names
    assert "usher_ledger_process_resident_memory_bytes" in names
    assert (away.of("usher_log_restarts_total"), back.of("usher_log_restarts_total")) == (0, 1)
    assert back.of("usher_log_process_resident_memory_bytes") > 0


def _when(url: str, holds: Callable[[Scraped], bool]) -> Scraped:
    deadline = time.monotonic() + _WAIT_S_MAX
    while not holds(seen := scraped(url)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return seen
