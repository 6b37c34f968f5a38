"""Data folders with a past: attempts of many days, written through the ledger's own clock, and a plain list of them."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openusher.attemptlog.embedded import open_embedded_log
from openusher.ledger.base import Decide
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.shipper import Shipper
from tests.conformance.asking import request
from tests.crash.load import NO_ANSWER
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection

DAY_MS = 86_400_000
DAYS = 70
ROWS_A_DAY = 30
HOUR_MS = 3_600_000
# How old attempts are that the tests have forgotten or anonymised.
AGE_DAYS = 40
_NODE = ("-m", "tests.crash.crashnode")
_WAIT_S_MAX = 60.0
# Each line an attempt: when it was, and what it was for.
Past = list[tuple[int, str]]


def make_folder(data: Path, *flags: str) -> tuple[Account, Past]:
    """A stopped node's folder, whose attempts run over 70 days up to now, and what they were. Where it has a log, each
    day is a block of its own."""
    with running_node(data, *flags) as node:
        account = node.create_account("acme")
    return account, asyncio.run(_fill(data, account.cdn, ships="ledger" not in flags))


async def _fill(data: Path, cdn: int, *, ships: bool) -> Past:
    folder = hold_folder(data)
    ledger = await SqliteLedger.open(folder.ledger_file)
    attempt_log = open_embedded_log(folder.log_folder, memory_bytes_max=1_500_000_000, count_s_max=30)
    if ships:
        await attempt_log.start()
    shipper = Shipper(ledger, attempt_log, rows_min=1, age_s_max=1, wall_ms=lambda: 0)
    now_ms = time.time_ns() // 1_000_000
    past: Past = []
    for day in range(DAYS, 0, -1):
        first_ms = now_ms - day * DAY_MS + 60_000
        for number in range(ROWS_A_DAY):
            at_ms, video = first_ms + number * (DAY_MS // ROWS_A_DAY - 2_000), f"day{day}/{number}"
            asked = request(
                cdn, video=video, ip=f"192.0.2.{number}", user_agent="a player", pageurl="https://example.com/"
            )
            await ledger.commit_batch([Decide(asked)], now_ms=at_ms)
            past.append((at_ms, video))
        if ships:
            await shipper.ship_all()
    if ships:
        await attempt_log.close()
    await ledger.close()
    folder.release()
    return past


def by_day(past: Past, *, from_ms: int) -> dict[str, int]:
    kept = (at_ms for at_ms, _ in past if at_ms >= from_ms)
    return dict(Counter(f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d}" for at_ms in kept))


def counted_by_day(connection: Connection, account: Account) -> dict[str, int]:
    reply = connection.call(account, "sevu.errorcount", group_by="day", limit=1_000)
    assert reply["status"] == "success", reply
    assert reply["error_count"] == sum(group["count"] for group in reply["groups"])
    return {group["value"]: group["count"] for group in reply["groups"]}


class Aged:
    """A stopped node's folder with a past of 70 days, and what was in it."""

    def __init__(self, data: Path, account: Account, past: Past, *flags: str) -> None:
        self.data, self.account, self.past, self.flags = data, account, past, flags

    @classmethod
    def made(cls, data: Path, *flags: str) -> Aged:
        return cls(data, *make_folder(data, *flags), *flags)

    def copy(self, data: Path) -> Aged:
        shutil.copytree(self.data, data, symlinks=True)
        return Aged(data, self.account, self.past, *self.flags)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(usher("status", "--data", str(self.data), "--json").stdout)
        return found

    def border_ms(self, name: str = "kept_from_ms") -> int:
        """What the node says, where it can be right."""
        from_ms = int(self.status()[name])
        due_ms = time.time_ns() // 1_000_000 - AGE_DAYS * DAY_MS
        assert due_ms - 2 * HOUR_MS < from_ms <= due_ms
        return from_ms

    def compare(self, node: Node) -> None:
        """Every answer of the running node is what the list of its past says."""
        with node.connect() as connection:
            expected = by_day(self.past, from_ms=self.border_ms())

            assert expected == counted_by_day(connection, self.account)
            assert sum(expected.values()) == connection.count(self.account)
            assert sum(expected.values()) == connection.count(self.account, ip="192.0.2.0/24")

    def check(self) -> None:
        checked = usher("check", "--data", str(self.data), *(("--log", "ledger") if "ledger" in self.flags else ()))
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def die_at(self, step: str, *due: str) -> list[dict[str, int]]:
        """Start a node with the flags `due`, that dies at that step of its reaper; what it counted until then."""
        node = Node(self.data, *due, *self.flags, "--die-at-reap", step, command=_NODE)
        counted: list[dict[str, int]] = []
        try:
            node.start()
        except AssertionError:
            # It may die before it is ready.
            assert node.process.wait(30) == -signal.SIGKILL
            return counted
        with Connection(node.url, timeout_s=20) as connection:
            while node.process.poll() is None:
                try:
                    counted.append(counted_by_day(connection, self.account))
                except NO_ANSWER:
                    break
        assert node.process.wait(30) == -signal.SIGKILL
        return counted

    def forget_and_take_away(self) -> None:
        """Run the node until it has done both."""
        self.run_until("attempts.deleted" if "ledger" in self.flags else "blocks.removed", "--keep-days", str(AGE_DAYS))

    def run_until(self, said: str, *due: str) -> None:
        """Run the node, with the flags `due`, until its log has `said`."""
        with running_node(self.data, *due, *self.flags) as node:
            wait_until(lambda: said in node.log_file.read_text())

    def await_gone(self, gone: set[str]) -> None:
        """Return when the log has none of these blocks: it takes its time, and goes on after each start."""
        wait_until(lambda: not gone & self.rows_left())

    def rows_left(self) -> set[str]:
        """What the stopped node's files have rows of: videos in the ledger, blocks in the log."""
        return asyncio.run(self._rows_left())

    async def _rows_left(self) -> set[str]:
        ledger = await SqliteLedger.open(self.data / "ledger.db")
        found = await ledger._readers.ask(lambda c: {video for (video,) in c.execute("SELECT video FROM attempts")})
        await ledger.close()
        if "ledger" in self.flags:
            return found
        attempt_log = open_embedded_log(self.data / "log", memory_bytes_max=1_500_000_000, count_s_max=30)
        await attempt_log.start()
        held = await attempt_log.rows_by_block(table="attempts")
        await attempt_log.close()
        return found | {f"block {number}" for number in held}


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
