"""Data folders with a past: attempts of many days, written through the ledger's own clock, and a plain list of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from openusher.attemptlog.embedded import open_embedded_log
from openusher.ledger.base import Decide
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from openusher.shipper import Shipper
from tests.conformance.asking import request
from tests.nodes import running_node
from tests.sevuclient import Account, Connection

DAY_MS = 86_400_000
DAYS = 70
ROWS_A_DAY = 30
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
            await ledger.commit_batch([Decide(request(cdn, video=video, ip=f"192.0.2.{number}"))], now_ms=at_ms)
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
