"""A node's life as its operator sees it: start, refusals to start, one folder for one process, restarts, the end."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.nodes import Node, running_node, usher
from tests.sevuclient import Account, Connection, signed_text

# Printed on ScaleEngine's page of sevu.errorcount.
PUBLISHED = "8fc8c48da81e6a2a06a9556379bf798af508dc0792497c678b4c3532ba8b637f"


def serve(data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """`usher serve` on a folder that it must refuse."""
    return usher("serve", "--data", str(data), "--port", "0", "--log", "ledger", *flags)


def change_ledger(data: Path, statement: str, *values: Any) -> None:
    """Change the ledger of a stopped node behind its back."""
    connection = apsw.Connection(str(data / "ledger.db"), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.execute(statement, values)
    connection.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_signed_request_creates_once_through_a_stop_and_a_kill(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    account = node.create_account("site")
    rules: dict[str, Any] = {"app": "a", "video": "v", "pass": "p", "ip": "auto", "uses": 1}
    texts = [signed_text(account, "sevu.request", **rules, note=number) for number in range(2)]
    with node.connect() as connection:
        codes = [connection.post_text(texts[0])["code"]]
    assert node.stop() == 0
    node.start()
    with node.connect() as connection:
        codes += [connection.post_text(text)["code"] for text in texts]
    node.kill()
    # What it left behind does not hold up the next one.
    assert (node.data / "admin.sock").exists()
    node.start()
    with node.connect() as connection:
        codes += [connection.post_text(text)["code"] for text in texts]
        assert connection.call(account, "sevu.errorcount")["code"] == 2051
    assert node.stop() == 0

    assert codes == [2011, 2013, 2011, 2013, 2013]
    checked = usher("check", "--data", str(node.data), "--log", "ledger")
    assert (checked.returncode, checked.stdout.split(":")[0]) == (0, "Sound")


def test_the_data_folder_is_private_and_belongs_to_one_process(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    data.mkdir(parents=True, mode=0o755)
    data.chmod(0o755)
    with running_node(data, "--log", "ledger") as node:
        assert mode(data) == 0o700
        private = [path for path in data.iterdir() if path.name.startswith(("ledger.db", "lock", "admin.sock"))]
        assert len(private) >= 4
        assert {path.name: mode(path) & 0o077 for path in private} == {path.name: 0 for path in private}
        second = serve(data)
        assert second.returncode == 1
        assert f"is in use by process {node.process.pid} (" in second.stderr
        assert "serve" in second.stderr
        # The first goes on, and admin commands go through it.
        account = node.create_account("site")
        with node.connect() as connection:
            assert connection.count(account) == 0
    assert not (data / "admin.sock").exists()
    # And without it: the next command takes the folder itself.
    listed = usher("account", "list", "--data", str(data), "--json")
    assert [json.loads(line)["cdn"] for line in listed.stdout.splitlines()] == [account.cdn]


def test_a_folder_is_refused_that_a_newer_version_or_another_program_wrote(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_node(data, "--log", "ledger"):
        pass
    change_ledger(data, "PRAGMA user_version = 99")
    newer = serve(data)
    change_ledger(data, "PRAGMA application_id = 7")
    foreign = serve(data)
    (data / "ledger.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    garbage = serve(data)

    assert (newer.returncode, foreign.returncode, garbage.returncode) == (1, 1, 1)
    assert re.search(r"ledger\.db was written by a newer Usher \(schema 99, this one knows \d+\)", newer.stderr)
    assert "is a database of another program" in foreign.stderr
    assert "is not a ledger of Usher" in garbage.stderr
    assert "Traceback" not in newer.stderr + foreign.stderr + garbage.stderr


def test_the_published_secret_signs_nothing_outside_a_demo(tmp_path: Path) -> None:
    data, secret = tmp_path / "data", tmp_path / "secret"
    secret.write_text(PUBLISHED)
    refused = usher("account", "create", "site", "--secret-file", str(secret), "--data", str(data))
    made = usher("account", "create", "site", "--data", str(data), "--json")
    change_ledger(data, "UPDATE api_keys SET secret = ?", PUBLISHED)
    served = serve(data)
    as_demo = serve(data, "--demo")

    assert (refused.returncode, made.returncode, served.returncode, as_demo.returncode) == (1, 0, 1, 1)
    assert "printed in ScaleEngine's documentation" in refused.stderr
    assert "printed in ScaleEngine's documentation" in served.stderr
    assert "is not a demo's data folder" in as_demo.stderr
    assert PUBLISHED not in refused.stderr + served.stderr


def test_admin_commands_reach_a_node_whose_folder_has_a_long_path(tmp_path: Path) -> None:
    """A socket's own path ends at 107 bytes."""
    folder = tmp_path
    while len(str(folder)) < 400:
        folder /= "a-folder-with-a-long-name-é"
    folder.mkdir(parents=True)
    with running_node(folder / "data", "--log", "ledger") as node:
        account = node.create_account("site")
        with node.connect() as connection:
            assert connection.count(account) == 0


def test_ctrl_c_ends_a_node_with_status_0_and_loses_nothing_it_answered(tmp_path: Path) -> None:
    """SIGTERM does the same: every node of these tests is ended by it."""
    node = Node(tmp_path / "data", "--log", "ledger").start()
    account = node.create_account("site")
    with node.connect() as idle, node.connect() as connection:
        idle.request("GET", "/healthz")
        ask_some(connection, account, 20)
        began = time.monotonic()
        node.process.send_signal(signal.SIGINT)
        status = node.process.wait(30)
        spent_s = time.monotonic() - began

    assert status == 0
    # An idle connection that is kept does not hold it up.
    assert spent_s < 10
    assert "Traceback" not in node.log_file.read_text()
    assert node.stop() == 0
    with running_node(node.data, "--log", "ledger") as again, again.connect() as connection:
        assert connection.count(account) == 20


def test_a_node_that_once_ran_with_a_clock_ahead_takes_commands_by_the_clock_of_now(tmp_path: Path) -> None:
    """By the largest clock that it has seen it would refuse all of them until the machine's has caught up."""
    node = Node(tmp_path / "data", "--log", "ledger").start()
    account = node.create_account("site")
    answers, reports = [], []
    for ahead_s in (3_600, 2 * 86_400):
        assert node.stop() == 0
        change_ledger(node.data, "UPDATE node SET clock_ms = ?", (int(time.time()) + ahead_s) * 1_000)
        node.start()
        password = f"user1|{ahead_s}"
        rules: dict[str, Any] = {"app": "*", "video": "*", "pass": password, "ip": "0.0.0.0/0", "uses": 0}
        text = signed_text(account, "sevu.request", **rules, expire="+10 minutes")
        with node.connect() as connection:
            issued = connection.post_text(text)
            key = issued.get("ticket", {"key": "none"})["key"]
            plays = connection.authorize(account, key=key, password=password)[1]["allow"]
            again = connection.post_text(text)["code"]
            answers.append((issued["code"], again, plays, connection.count(account, starttime="-1 hour")))
        status = json.loads(usher("status", "--data", str(node.data), "--json").stdout)
        checked = usher("check", "--data", str(node.data), "--log", "ledger")
        reports.append((0 <= ahead_s - status["clock_ahead_s"] < 120, checked.returncode, "(NTP)" in checked.stdout))
    assert node.stop() == 0

    # A signature is known for as long as it could be taken; after a day nobody can say whether it was.
    assert answers == [(2011, 2013, True, 1), (2013, 2013, False, 2)]
    assert reports == [(True, 3, True), (True, 3, True)]
    assert [event["level"] for event in node.events("clock.found_ahead")] == ["error"] * 2


def ask_some(connection: Connection, account: Account, times: int) -> None:
    for number in range(times):
        assert connection.authorize(account, key=f"k{number}", password="p")[0] == 200


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (("--port", "70000"), 2, "port"),
        (("--host", "192.0.2.1"), 1, "cannot listen on 192.0.2.1"),
        (("--demo", "--host", "0.0.0.0"), 1, "listens on 127.0.0.1 only"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_serve_says_which_setting_is_wrong(tmp_path: Path, flags: tuple[str, ...], status: int, said: str) -> None:
    refused = serve(tmp_path / "data", *flags)

    assert refused.returncode == status
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = usher("serve", "--data", str(tmp_path / "data"), "--port", port, "--log", "ledger")

    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr


def test_a_folder_of_other_files_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    foreign, empty = tmp_path / "foreign", tmp_path / "empty"
    foreign.mkdir()
    empty.mkdir()
    (foreign / "theirs").write_text("theirs")
    for folder in (foreign, empty):
        folder.chmod(0o755)
    there = ("--data", str(foreign))
    for arguments, said in (
        (("account", "list", *there), "holds no ledger.db"),
        (("status", *there), "holds no ledger.db"),
        (("check", *there), "holds no ledger.db"),
        (("account", "create", "site", *there), "holds other files and no ledger.db"),
        (("serve", "--port", "0", *there), "holds other files and no ledger.db"),
        (("account", "list", "--data", str(empty)), "holds no ledger.db"),
    ):
        refused = usher(*arguments)
        assert (refused.returncode, refused.stdout) == (1, ""), arguments
        assert f"{arguments[-1]}: {said}" in refused.stderr, (arguments, refused.stderr)
    assert [(mode(folder), [path.name for path in folder.iterdir()]) for folder in (foreign, empty)] == [
        (0o755, ["theirs"]),
        (0o755, []),
    ]
    made = usher("account", "create", "site", "--data", str(empty))
    assert (made.returncode, mode(empty)) == (0, 0o700)


def test_a_check_ships_nothing_and_leaves_a_folder_without_a_log_without_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_node(data, "--log", "ledger") as node:
        account = node.create_account("site")
        with node.connect() as connection:
            ask_some(connection, account, 20)
    change_ledger(data, "UPDATE attempts SET at_ms = at_ms - 3600000")
    checked = usher("check", "--data", str(data))
    assert (checked.returncode, checked.stdout.split(":")[0]) == (0, "Sound")
    assert not (data / "log").exists()
    with running_node(data, "--log", "ledger") as node, node.connect() as connection:
        assert connection.count(account) == 20


def test_a_disk_that_cannot_be_asked_stops_starts_until_it_can(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", "--log", "ledger") as node, node.connect() as connection:
        node.data.rename(tmp_path / "away")
        await_readiness(connection, 503)
        (tmp_path / "away").rename(node.data)
        await_readiness(connection, 200)
    assert "Traceback" not in node.log_file.read_text()
    assert [len(node.events(f"disk.{event}")) for event in ("not_read", "recovered")] == [1, 1]


def await_readiness(connection: Connection, status: int) -> None:
    """Return once /readyz answers `status`."""
    deadline = time.monotonic() + 10
    while connection.request("GET", "/readyz")[0] != status:
        assert time.monotonic() < deadline


def test_a_node_takes_as_many_descriptors_as_it_may(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger", within=("prlimit", "--nofile=256:2048")).start()
    limits = Path(f"/proc/{node.process.pid}/limits").read_text()

    assert node.stop() == 0
    assert re.search(r"^Max open files +2048 +2048 ", limits, re.MULTILINE)
