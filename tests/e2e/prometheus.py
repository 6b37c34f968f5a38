"""A real Prometheus (Debian's package) that reads one node and works by our rules."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers.ports import free_port

_WAIT_S_MAX = 60.0
_FOUND_S_MAX = 10.0
# Often, so that it soon has seen something rise.
_CONFIG = """
global: {{scrape_interval: 250ms, evaluation_interval: 500ms}}
scrape_configs:
  - job_name: usher
    static_configs: [{{targets: ["{target}"]}}]
rule_files: ["{rules}"]
"""


class Prometheus:
    """Answers as its HTTP API does."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; one that it cannot read is an error."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        found = answer["data"]["result"]
        assert isinstance(found, list)
        return found

    def found(self, expression: str) -> list[dict[str, Any]]:
        """As `query`, but it waits a while for something: on a busy machine a part of a node may not answer in time,
        and is missing once."""
        deadline = time.monotonic() + _FOUND_S_MAX
        while not (found := self.query(expression)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def rules(self) -> list[dict[str, Any]]:
        groups = httpx.get(f"{self._url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def until_read(self, *, times: int) -> None:
        """Return once it has read the node so often, and evaluated each rule."""
        deadline = time.monotonic() + _WAIT_S_MAX
        while not self._has_read(times):
            assert time.monotonic() < deadline, "Prometheus does not read the node"
            time.sleep(0.1)

    def _has_read(self, times: int) -> bool:
        try:
            # Until then it answers with other than JSON.
            if httpx.get(f"{self._url}/-/ready").status_code != 200:
                return False
            counted = self.query("count_over_time(usher_ready[1m])")
            are_known = all(rule["health"] != "unknown" for rule in self.rules())
        except httpx.TransportError:
            return False
        return are_known and bool(counted) and int(counted[0]["value"][1]) >= times


@contextmanager
def prometheus_reading(target: str, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """One that reads `target`, which is host:port, while the context lasts."""
    config, address = folder / "prometheus.yml", f"127.0.0.1:{free_port()}"
    config.write_text(_CONFIG.format(target=target, rules=rules))
    log = folder / "prometheus.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
             f"--web.listen-address={address}"],
            stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
    try:
        started = Prometheus(f"http://{address}")
        started.until_read(times=4)
        yield started
    except BaseException as error:
        error.add_note(log.read_text()[-2_000:])
        raise
    finally:
        process.terminate()
        process.wait()


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
