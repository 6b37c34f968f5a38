"""A migration that is killed at any statement is taken up again, and comes to what it would have come to."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from openusher.ledger.sqlite import store
from tests.folders import FOLDERS

pytestmark = pytest.mark.crash


def test_a_migration_killed_at_any_statement_is_taken_up_again(tmp_path: Path) -> None:
    """From the oldest schema there is, through every migration."""
    with tarfile.open(FOLDERS / "schema-1.tar.gz") as archive:
        members = [each for each in archive.getmembers() if Path(each.name).name.startswith("ledger.db")]
        archive.extractall(tmp_path / "old", members, filter="data")
    places = str(tmp_path / "old/data/ledger.db"), str(tmp_path / "killed")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.crash.migrating", *places],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    whole, *killed = [json.loads(line) for line in ran.stdout.splitlines()]

    assert (whole["version"], whole["sound"]) == (store.schema_version(), "ok")
    # Beside what opens it: two statements at the least for each migration.
    assert len(killed) > 2 * store.schema_version()
    assert [each["statement"] for each in killed] == list(range(1, len(killed) + 1))
    told = ("version", "sound", "schema", "rows", "content")
    assert {tuple(map(str, (each[name] for name in told))) for each in killed} == {
        tuple(str(whole[name]) for name in told)
    }
    # What there was before is kept beside, whatever was killed.
    assert {each["copies"][0] for each in killed} == {"ledger.db.before-schema-2"}
