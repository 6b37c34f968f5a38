"""`usher backup` and `usher restore` killed before any change to the disk: what is whole stays, the rest is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openusher.backup.making import find_damage
from openusher.backup.manifest import backup_folders
from openusher.errors import SetupError
from openusher.ledger.folder import hold_folder
from openusher.ledger.sqlite import SqliteLedger
from tests.conftest import Promise
from tests.crash.killedcommand import changes_of, killed_at
from tests.nodes import running_node, usher

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

_ATTEMPTS = 9
# So many of some thirty changes are tried, the last ones among them: there a folder becomes a backup, or can be served.
_KILLS = 6


def _moments(changes: int) -> list[int]:
    """When to kill: a few at even distances, and each of the last."""
    last = range(max(1, changes - _KILLS // 2), changes + 1)
    return sorted({*range(1, changes, max(1, changes // (_KILLS // 2))), *last})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped node's folder, of which all attempts are in the ledger."""
    data = tmp_path_factory.mktemp("node") / "data"
    with running_node(data, "--log", "ledger") as node, node.connect() as connection:
        account = node.create_account("acme")
        ticket = connection.issue(account)
        for _ in range(_ATTEMPTS):
            connection.authorize(account, key=ticket["key"], password=ticket["pass"])
    return data


def test_a_backup_that_was_killed_is_none_and_the_next_one_is_whole(
    data: Path, tmp_path: Path, promise: Promise
) -> None:
    directory = tmp_path / "backups"
    arguments = ("backup", str(directory), "--data", str(data))
    kills = 0
    for moment in _moments(changes_of(*arguments)):
        before = len(backup_folders(directory))
        kills += killed_at(moment, *arguments)
        folders = backup_folders(directory)

        assert len(folders) - before in (0, 1)
        assert [fault for folder in folders for fault in find_damage(folder, progress=lambda size: None)] == []
    done = usher(*arguments)

    assert done.returncode == 0, done.stderr
    assert [path.name for path in directory.iterdir() if path.name.startswith(".")] == []
    assert not (data / "backup-stage").exists()
    assert kills >= _KILLS - 1
    promise("Counted exactly once", backups_killed=kills)


def test_a_restore_that_was_killed_is_begun_again_and_nothing_is_served_before(
    data: Path, tmp_path: Path, promise: Promise
) -> None:
    directory = tmp_path / "backups"
    assert usher("backup", str(directory), "--data", str(data)).returncode == 0
    changes = changes_of("restore", str(directory), "--data", str(tmp_path / "new"))
    kills = half_restored = 0
    for moment in _moments(changes):
        new = tmp_path / f"new{moment}"
        kills += killed_at(moment, "restore", str(directory), "--data", str(new))
        if not (new / "ledger.db").exists():
            half_restored += _is_refused(new)
            again = usher("restore", str(directory), "--data", str(new))
            assert again.returncode == 0, again.stderr

        assert asyncio.run(_attempts_and_faults(new)) == (_ATTEMPTS, [])
    assert kills >= _KILLS - 1
    assert half_restored > 0
    promise("Counted exactly once", restores_killed=kills)


async def _attempts_and_faults(data: Path) -> tuple[int, list[str]]:
    ledger = await SqliteLedger.open(data / "ledger.db")
    try:
        return (await ledger.stats()).last_attempt_id, await ledger.check(quick=False)
    finally:
        await ledger.close()


def _is_refused(folder: Path) -> bool:
    """Whether nobody could serve it; an empty one may be."""
    if not any((folder / name).exists() for name in ("restoring", "log")):
        return False
    with pytest.raises(SetupError, match="begin it again with usher restore"):
        hold_folder(folder)
    return True
