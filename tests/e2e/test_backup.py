"""`usher backup` and `usher restore` by hand: a node with a columnar log goes on, and its copy counts the same."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.scraping import admin_client, scraped_by
from tests.e2e.test_log_kinds import answers, ask_some, await_shipped
from tests.nodes import running_node, usher

_EAGER = ("--log", "chdb", "--ship-rows", "1")
# Of so few parts.
_MERGES_MAX = 10


def _told(*arguments: str) -> dict[str, Any]:
    done = usher(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _incarnation(data: Path) -> int:
    return int(_told("status", "--data", str(data))["incarnation"])


def test_a_backup_restored_elsewhere_is_sound_and_counts_as_the_node_did(tmp_path: Path) -> None:
    data, directory, elsewhere = tmp_path / "data", tmp_path / "backups", tmp_path / "elsewhere"
    with running_node(data, *_EAGER) as node, node.connect() as connection:
        account = node.create_account("site")
        ask_some(connection, account, 12)
        await_shipped(data)
        first = _told("backup", str(directory), "--data", str(data))
        ask_some(connection, account, 5)
        await_shipped(data)
        counted = answers(connection, account)
        second = _told("backup", str(directory), "--data", str(data))
        for _ in range(_MERGES_MAX):
            # A merge in between leaves no part that the one before has.
            if second["new_bytes"] < second["bytes"]:
                break
            second = _told("backup", str(directory), "--data", str(data))
        ask_some(connection, account, 3)
        listed = usher("backup", str(directory), "--list").stdout
        with admin_client(data) as client:
            seen_s = scraped_by(client).of("usher_last_backup_timestamp_seconds")
        last = _told("status", "--data", str(data))["last_backup"]
    # As a tool copies it that knows neither hard links nor symbolic ones.
    shutil.copytree(directory / second["backup"], elsewhere)
    restored = tmp_path / "restored"
    told = _told("restore", str(elsewhere), "--data", str(restored))
    checked = usher("check", "--data", str(restored))
    refused = usher("restore", str(elsewhere), "--data", str(restored))
    with running_node(restored, *_EAGER) as node, node.connect() as connection:
        counted_again = answers(connection, account)
        ask_some(connection, account, 4)
        await_shipped(restored)
        total = connection.count(account)

    assert (first["cut"]["attempt"], second["cut"]["attempt"], told["attempts"]) == (12, 17, 17)
    assert first["new_bytes"] == first["bytes"]
    assert second["new_bytes"] < second["bytes"]
    assert (first["backup"] in listed, second["backup"] in listed) == (True, True)
    assert checked.returncode == 0, checked.stdout
    assert (refused.returncode, "is a data folder already" in refused.stderr) == (1, True)
    assert counted == counted_again
    assert last == {"backup": second["backup"], "made_at": second["made_at"], "attempt": 17}
    made_at = datetime.fromisoformat(f"{second['made_at']}+00:00")
    assert seen_s == made_at.timestamp()
    assert _told("status", "--data", str(restored))["last_backup"] is None
    assert total == 21
    # What it ships from now on is not called what the other node ships.
    assert _incarnation(data) != _incarnation(restored)
