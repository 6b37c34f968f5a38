"""Folders of every earlier schema, written by those versions themselves and killed: this version's node goes on."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from openusher.cli.output import Exit
from openusher.ledger.sqlite import store
from tests.folders import schemas, unpacked
from tests.folders.make import ask_as_nginx
from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection

_SHIP_S_MAX = 60.0


def groups(connection: Connection, account: Account, by: str) -> dict[str, int]:
    reply = connection.call(account, "sevu.errorcount", group_by=by)
    assert reply["status"] == "success", reply
    return {group["value"]: group["count"] for group in reply["groups"]}


def await_shipped(node: Node) -> None:
    deadline = time.monotonic() + _SHIP_S_MAX
    while json.loads(usher("status", "--data", str(node.data), "--json").stdout)["pending"]:
        assert time.monotonic() < deadline, "it does not ship"


def test_there_is_a_folder_of_every_earlier_schema() -> None:
    """Who adds a migration makes one: tests/folders/README.md says how."""
    assert schemas() == list(range(1, store.schema_version()))


@pytest.mark.parametrize("schema", schemas())
def test_a_node_goes_on_with_what_an_earlier_version_has_left(tmp_path: Path, schema: int) -> None:
    data, left = unpacked(schema, tmp_path)
    account = Account(**left["account"])
    with running_node(data, "--ship-age-s", "0.2") as node, node.connect() as connection:
        # Whether what waited in the ledger has been shipped by now or not.
        assert groups(connection, account, "reason") == left["by_reason"]
        assert groups(connection, account, "key") == left["by_key"]
        uses = {key: connection.call(account, "sevu.status", key=key)["uses"] for key in left["passes"]}
        assert uses == left["uses_left"]
        if left["session"]:
            # The viewer has his cookie only, and pays for nothing.
            assert ask_as_nginx(connection, left["session"], left["session"]["path"])[0] == 200
        assert connection.count(account) == sum(left["by_reason"].values())
        keys = left["unlimited"], left["revoked"]
        reasons = [connection.authorize(account, key=key, password=left["passes"][key])[1]["reason"] for key in keys]
        assert reasons == ["", "Ticket Revoked"]
        await_shipped(node)
        by_key = {**left["by_key"], **{key: left["by_key"][key] + 1 for key in keys}}
        assert groups(connection, account, "key") == by_key
        checked = usher("check", "--data", str(data))

    assert checked.returncode == Exit.DONE, checked.stdout
    assert (data / f"ledger.db.before-schema-{schema + 1}").exists()


def test_a_folder_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    data, _ = unpacked(max(schemas()), tmp_path)
    newer = store.schema_version() + 1
    ledger = apsw.Connection(str(data / "ledger.db"))
    # As a node leaves it that is killed: the version stands in the WAL alone.
    ledger.pragma("wal_autocheckpoint", 0)
    ledger.pragma("user_version", newer)
    for part in ("ledger.db", "ledger.db-wal"):
        (tmp_path / part).write_bytes((data / part).read_bytes())
    ledger.close()
    for part in ("ledger.db", "ledger.db-wal"):
        (data / part).write_bytes((tmp_path / part).read_bytes())

    def files() -> dict[str, str]:
        kept = (path for path in data.rglob("*") if path.is_file() and path.name not in ("lock", "ledger.db-shm"))
        return {str(path): sha256(path.read_bytes()).hexdigest() for path in kept}

    before = files()
    for command in ("serve", "status"):
        ran = usher(command, "--data", str(data))
        assert ran.returncode == Exit.FAILED
        assert f"was written by a newer Usher (schema {newer}, this one knows {newer - 1})" in ran.stderr
    assert files() == before
