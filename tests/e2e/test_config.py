"""Settings of the real command from a file: what node and commands take from it, and what is said of its faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openusher.settings import operator_settings
from tests.nodes import Node, usher, usher_here

DONE, FAILED, USAGE, NO = 0, 1, 2, 3


def test_node_and_commands_take_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, data = tmp_path / "usher.toml", tmp_path / "data"
    file.write_text(f'data = "{data}"\nlog = "ledger"\n')
    monkeypatch.setenv("USHER_CONFIG", str(file))
    node = Node(data).start()
    try:
        assert node.child("attemptlog") is None
        assert node.child("ledger") is not None
        assert json.loads(usher("account", "create", "acme", "--json").stdout)["name"] == "acme"
        assert usher("status", "--json").returncode == DONE
    finally:
        assert node.stop() == DONE


def test_what_is_in_force_is_shown_with_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "usher.toml"
    file.write_text('data = "elsewhere"\n')
    monkeypatch.setenv("USHER_PORT", "1234")
    shown = usher("config", "--config", str(file), "--log", "ledger", "--no-log-by-time", "--json")
    rows = {row["setting"]: row for row in map(json.loads, shown.stdout.splitlines())}

    assert (shown.returncode, shown.stderr) == (DONE, "")
    assert {"setting": "data", "value": "elsewhere", "from": "file", "where": str(file)} == rows["data"]
    assert rows["port"] == {"setting": "port", "value": 1234, "from": "environment", "where": "USHER_PORT"}
    assert rows["log"] == {"setting": "log", "value": "ledger", "from": "flag", "where": "--log"}
    assert rows["log_by_time"] == {
        "setting": "log_by_time",
        "value": False,
        "from": "flag",
        "where": "--no-log-by-time",
    }
    assert rows["host"] == {"setting": "host", "value": "127.0.0.1", "from": "default", "where": ""}
    table = usher("config", "--config", str(file))
    assert [line for line in table.stdout.splitlines() if "elsewhere" in line and str(file) in line] != []


def test_a_table_that_is_read_by_a_program_has_each_row_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    folder = "elsewhere/" * 20
    file = tmp_path / "usher.toml"
    file.write_text(f'data = "{folder}"\n')
    lines = usher_here("config", "--config", str(file)).stdout.splitlines()

    assert len(lines) == len(operator_settings()) + 4
    assert [line for line in lines if folder.rstrip("/") in line and str(file) in line] != []


def test_a_file_is_judged_by_exit_status_and_by_sentences(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("port = 1\n")
    bad.write_text("prot = 1\nship_rows = 0\n")

    done = usher("config", "check", str(good))
    assert (done.returncode, done.stdout) == (DONE, f"{good}: good\n")
    assert json.loads(usher("config", "check", str(good), "--json").stdout) == {"file": str(good), "faults": []}
    done = usher("config", "check", str(bad))
    faults = [
        f'{bad}: there is no setting "prot"; did you mean port?',
        f'{bad}: ship_rows: cannot take "0"; give a whole number from 1 to 100,000',
    ]
    assert (done.returncode, done.stdout.splitlines()) == (NO, faults)
    done = usher("config", "check", str(bad), "--json")
    assert (done.returncode, json.loads(done.stdout)["faults"]) == (NO, faults)
    done = usher("config", "check", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "no such file" in done.stderr


@pytest.mark.parametrize("command", [("serve",), ("config",), ("status",), ("account", "list")], ids=str)
def test_a_wrong_setting_ends_every_command_that_has_settings(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USHER_PROT", "1")
    done = usher(*command)

    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr == "usher: USHER_PROT: there is no such setting; did you mean USHER_PORT?\n"
    assert list(tmp_path.iterdir()) == []


def test_a_demo_is_none_of_this_machines_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "usher.toml"
    file.write_text('host = "0.0.0.0"\nno_setting = 1\n')
    monkeypatch.setenv("USHER_CONFIG", str(file))

    assert usher("demo", "--log", "ledger").returncode == DONE
