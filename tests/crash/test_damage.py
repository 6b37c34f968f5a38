"""An attempt log that no longer holds what was shipped: every count is then an error, never a number."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from openusher.attemptlog.embedded.client import EmbeddedEngine
from openusher.attemptlog.engine import Lane, Statement
from openusher.attemptlog.schema import DATABASE, TABLES
from openusher.model.block import COLUMNS
from tests.conftest import Promise
from tests.crash.openedlog import KEEP_PARTS
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

_TABLE = f"{DATABASE}.{TABLES[0]}"
# All blocks are of this size: the sum of their rows is right where one is there twice and another is not.
_BLOCK_ROWS = 25
_SHIP_OFTEN = ("--ship-rows", str(_BLOCK_ROWS))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Account]:
    """A stopped node's data folder with several shipped blocks, and its account."""
    data = tmp_path_factory.mktemp("damage") / "data"
    with running_node(data):
        pass
    _run(data, KEEP_PARTS)
    with running_node(data, *_SHIP_OFTEN) as node, node.connect() as connection:
        account = node.create_account("acme")
        ticket = connection.issue(account)
        for _ in range(3):
            for _ in range(_BLOCK_ROWS):
                connection.authorize(account, key=ticket["key"], password=ticket["pass"])
            while _status(data)["pending"]:
                pass
        assert connection.count(account) == 3 * _BLOCK_ROWS
    return data, account


def _status(data: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(usher("status", "--data", str(data), "--json").stdout)
    return found


def _run(data: Path, *statements: str) -> None:
    async def run() -> None:
        engine = EmbeddedEngine(data / "log", memory_bytes_max=1_500_000_000)
        await engine.start()
        for text in statements:
            await engine.execute(Statement(text=text, lane=Lane.INSERT, seconds_max=60))
        await engine.close()

    asyncio.run(run())


def _parts(data: Path) -> list[Path]:
    """The folders of the parts of the table of attempts; the one by time names its months otherwise."""
    return sorted({found.parent for found in (data / "log").rglob("??????_*/checksums.txt")})


def _truncate_part(data: Path) -> None:
    file = max(_parts(data)[0].glob("*.bin"), key=lambda found: found.stat().st_size)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _remove_part(data: Path) -> None:
    shutil.rmtree(_parts(data)[0])


def _repeat_block(data: Path) -> None:
    columns = ", ".join((*(name for name, _ in COLUMNS), "block", "incarnation"))
    _run(data, f"INSERT INTO {_TABLE} ({columns}) SELECT {columns} FROM {_TABLE} WHERE block = 1")


def _skip_block(data: Path) -> None:
    _run(data, f"ALTER TABLE {_TABLE} DELETE WHERE block = 2 SETTINGS mutations_sync = 2")


def _repeat_one_and_skip_another(data: Path) -> None:
    _repeat_block(data)
    _skip_block(data)


_DAMAGES = [_truncate_part, _remove_part, _repeat_block, _skip_block, _repeat_one_and_skip_another]


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_log_gives_an_error_and_never_a_number(
    shipped: tuple[Path, Account], tmp_path: Path, damage: Callable[[Path], None], promise: Promise
) -> None:
    data, account = tmp_path / "data", shipped[1]
    shutil.copytree(shipped[0], data, symlinks=True)
    damage(data)
    node = Node(data, *_SHIP_OFTEN).start()
    try:
        with node.connect() as connection:
            decided, _ = connection.authorize(account, key="x", password="y")
            counts = [connection.call(account, "sevu.errorcount"), connection.call(account, "sevu.errorcount", key="x")]
            grouped = connection.call(account, "sevu.errorcount", group_by="reason")
            listed = connection.call(account, "sevu.errorlog", limit=1000)
            ready, _, _ = connection.request("GET", "/readyz")
        checks = [usher("check", "--data", str(data), *flags) for flags in ((), ("--quick",))]
    finally:
        node.stop()

    assert decided == 200
    assert [reply["status"] for reply in (*counts, grouped, listed)] == ["failure"] * 4
    assert [reply["code"] for reply in (*counts, grouped, listed)] == [2053, 2053, 2053, 2043]
    assert ready == 503
    for checked in checks:
        assert checked.returncode == 3, checked.stdout + checked.stderr
        assert "restore" in checked.stdout
    promise("Counted exactly once", damaged_logs_refused_to_count=1)
