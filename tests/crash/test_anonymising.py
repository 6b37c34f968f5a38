"""Anonymising, killed at each step: every answer shows it, no count changes, and the log holds what it must."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from openusher.attemptlog.embedded import open_embedded_log
from openusher.ledger.sqlite import SqliteLedger
from tests.conftest import Promise
from tests.crash.agedfolder import AGE_DAYS, Aged, by_day, counted_by_day, wait_until
from tests.nodes import Node, running_node, usher

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

_ANONYMISE = ("--anonymise-days", str(AGE_DAYS))


def compare(aged: Aged, node: Node) -> None:
    """No count changes but that of a single address, which finds what is newer; listed are attempts as they must be."""
    border_ms = aged.border_ms("anonymised_before_ms")
    newer = {video: at_ms >= border_ms for at_ms, video in aged.past}
    with node.connect() as connection:
        assert by_day(aged.past, from_ms=0) == counted_by_day(connection, aged.account)
        assert len(aged.past) == connection.count(aged.account, ip="192.0.2.0/24")
        of_seven = sum(is_newer and video.endswith("/7") for video, is_newer in newer.items())
        assert of_seven == connection.count(aged.account, ip="192.0.2.7")
        page = connection.call(aged.account, "sevu.errorlog", limit=10_000)["attempts"]
        listed = {row["video"]: (row["ip"], row["user_agent"]) for row in page}
        assert listed == {
            video: (f"192.0.2.{video.split('/')[1]}", "a player") if is_newer else ("192.0.2.0", "")
            for video, is_newer in newer.items()
        }


def unwritten(aged: Aged) -> int:
    """How many attempts of the stopped node's files still tell more than is shown; begins to write them anew."""
    return asyncio.run(_unwritten(aged.data, is_log="ledger" not in aged.flags))


async def _unwritten(data: Path, *, is_log: bool) -> int:
    ledger = await SqliteLedger.open(data / "ledger.db")
    stats = await ledger.stats()
    plain = "SELECT count(*) FROM attempts, node WHERE at_ms < anonymised_before_ms AND user_agent <> ''"
    found = await ledger._readers.ask(lambda connection: int(next(connection.execute(plain))[0]))
    await ledger.close()
    if not is_log:
        return found
    attempt_log = open_embedded_log(data / "log", memory_bytes_max=1_500_000_000, count_s_max=30)
    await attempt_log.start()
    found += await attempt_log.anonymise(upto=stats.anonymised_block, table="attempts")
    await attempt_log.close()
    return found


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("aged_with_log", "anonymised"),
        ("aged_with_log", "hashed"),
        ("aged_with_log", "rewritten"),
        ("aged_ledger_only", "rewritten"),
    ],
)
def test_a_node_killed_while_it_anonymises_answers_as_before_and_after(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, step: str, promise: Promise
) -> None:
    made: Aged = request.getfixturevalue(kind)
    aged = made.copy(tmp_path / "data")
    counted = aged.die_at(step, *_ANONYMISE)
    assert all(seen == by_day(aged.past, from_ms=0) for seen in counted)
    aged.check()
    for due in ((), _ANONYMISE):
        with running_node(aged.data, *aged.flags, *due) as node:
            compare(aged, node)
            aged.check()
    wait_until(lambda: unwritten(aged) == 0)
    aged.check()
    if kind == "aged_with_log":
        assert 28 <= aged.status()["anonymised_block"] <= 31
    with running_node(aged.data, *aged.flags) as node:
        compare(aged, node)

    promise("Counted exactly once", kills_while_anonymising=1)


def test_anonymised_blocks_are_put_back_from_a_backup_that_has_them_whole(aged_with_log: Aged, tmp_path: Path) -> None:
    aged = aged_with_log.copy(tmp_path / "data")
    backups = str(tmp_path / "backups")
    assert usher("backup", backups, "--data", str(aged.data)).returncode == 0
    aged.run_until("blocks.rewritten", *_ANONYMISE)
    parts = list((aged.data / "log" / "chdb" / "store").glob("*/*/20????_*_*_*"))
    oldest = min(part.name[:6] for part in parts)
    for part in parts:
        if part.name.startswith(oldest):
            shutil.rmtree(part)
    repaired = usher("repair", "--data", str(aged.data), "--backups", backups, "--yes")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr

    aged.check()
    with running_node(aged.data) as node:
        compare(aged, node)
