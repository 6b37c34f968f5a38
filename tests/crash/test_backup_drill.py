"""Backups of a node under load, each restored: what was answered up to its cut is counted once, and nothing else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from openusher.backup.manifest import Backup, find_backup
from openusher.backup.restoring import copy_backup, finish_restore, new_folder
from openusher.model.search import AttemptFilter, GroupBy
from openusher.node import open_node
from openusher.settings import LogKind, Settings
from tests.conftest import Promise
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

# With the columnar log each restore starts its engine twice.
_BACKUPS = {LogKind.CHDB: 10, LogKind.LEDGER: 10}
_EDGES = 4
_TICKETS = 7


class _Edges:
    """Edges that ask all the time, and remember by the attempt's number which ticket each answer was about."""

    def __init__(self, node: Node, account: Account, tickets: list[dict[str, Any]]) -> None:
        self.key_by_id: dict[int, str] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(node.url, account, tickets[number:])) for number in range(_EDGES)
        ]

    def __enter__(self) -> _Edges:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, account: Account, tickets: list[dict[str, Any]]) -> None:
        with Connection(url) as connection:
            number = 0
            # Leaves the machine time for the backups.
            while not self._stop.wait(0.005):
                ticket = tickets[number % len(tickets)]
                number += 1
                status, answer = connection.authorize(account, key=ticket["key"], password=ticket["pass"])
                assert status == 200, answer
                self.key_by_id[int(answer["attempt_id"])] = ticket["key"]


@pytest.mark.parametrize("log", [LogKind.CHDB, LogKind.LEDGER])
def test_every_backup_made_under_load_is_restored_with_exactly_what_was_answered_up_to_its_cut(
    tmp_path: Path, log: LogKind, promise: Promise
) -> None:
    data, directory = tmp_path / "data", tmp_path / "backups"
    flags = ("--log", log.value, "--ship-rows", "60", "--ship-age-s", "1")
    made = []
    with running_node(data, *flags) as node:
        account = node.create_account("acme")
        with node.connect() as connection:
            tickets = [connection.issue(account) for _ in range(_TICKETS)]
        with _Edges(node, account, tickets) as edges:
            for _ in range(_BACKUPS[log]):
                backup = usher("backup", str(directory), "--data", str(data), "--json")
                assert backup.returncode == 0, backup.stderr
                made.append(json.loads(backup.stdout)["backup"])
    cuts = []
    for name in made:
        backup_made = find_backup(directory, name=name)
        cut = backup_made.manifest.cut
        cuts.append((cut.attempt, cut.block))
        restored = asyncio.run(_restore_and_count(backup_made, tmp_path / name, account.cdn, log))

        expected = {number: key for number, key in edges.key_by_id.items() if number <= cut.attempt}
        assert sorted(expected) == restored.ids == list(range(1, cut.attempt + 1))
        assert (len(expected), Counter(expected.values())) == (restored.count, restored.count_by_key)

    # Or the backups would all be of one moment, and of a node that shipped nothing.
    assert len(set(cuts)) == len(made)
    assert (len({block for _, block in cuts}) > len(made) // 2) == (log is LogKind.CHDB)
    promise("Counted exactly once", backups_restored_and_counted=len(made))


class _Restored:
    def __init__(self, ids: list[int], count: int, count_by_key: dict[str, int]) -> None:
        self.ids = ids
        self.count = count
        self.count_by_key = count_by_key


async def _restore_and_count(backup: Backup, data: Path, cdn: int, log: LogKind) -> _Restored:
    with new_folder(data):
        copy_backup(backup, data, progress=lambda size: None)
        await finish_restore(backup, data, memory_bytes_max=1_500_000_000)
    async with open_node(Settings(data=data, log=log), create=False, ships=False) as restored:
        attempts = await restored.searching.newest(cdn, AttemptFilter(), seek=0, limit=10**6)
        groups = await restored.searching.group(cdn, AttemptFilter(), GroupBy.KEY, limit=_TICKETS + 1)
        return _Restored(
            sorted(attempt.id for attempt in attempts),
            await restored.searching.count(cdn, AttemptFilter()),
            {str(group.value): group.count for group in groups.groups},
        )
