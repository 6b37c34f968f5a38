"""Where a setting comes from, which source wins, and what is said of one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openusher.cli import sources
from openusher.cli.main import app
from openusher.cli.sources import Place, Source, configure, configure_from
from openusher.errors import SetupError
from openusher.settings import LogFormat, LogKind, LogLevel, Settings, operator_settings, type_of

# A value that each type of setting takes, other than any default.
_OTHER_THAN_DEFAULT = {
    bool: "False",
    Path: "elsewhere",
    str: "192.0.2.1",
    int: "1000",
    float: "7.5",
    LogKind: "ledger",
    LogFormat: "json",
    LogLevel: "error",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "usher.toml"


def faults_of(text: str, file: Path) -> list[str]:
    file.write_text(text)
    with pytest.raises(SetupError) as refused:
        configure({}, file=str(file))
    return str(refused.value).splitlines()


def test_a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("port = 1\nship_rows = 1\nkick_hold_s = 1\n")
    monkeypatch.setenv("USHER_PORT", "2")
    monkeypatch.setenv("USHER_SHIP_ROWS", "2")
    found = configure({"port": 3}, file=str(file))

    assert (3, Place(Source.FLAG, "--port")) == (found.settings.port, found.places["port"])
    assert (2, Place(Source.ENVIRONMENT, "USHER_SHIP_ROWS")) == (found.settings.ship_rows, found.places["ship_rows"])
    assert (1, Place(Source.FILE, str(file))) == (found.settings.kick_hold_s, found.places["kick_hold_s"])
    assert (300, Place(Source.DEFAULT, "")) == (found.settings.session_idle_s, found.places["session_idle_s"])
    assert list(operator_settings()) == list(found.places)


def test_the_settings_themselves_look_into_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_PORT", "2")

    assert Settings().port == 8088


def test_the_file_is_the_flags_else_the_variables_else_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("flag", "variable", "machine"), 1):
        (tmp_path / name).write_text(f"port = {number}")
    monkeypatch.setattr(sources, "DEFAULT_FILE", tmp_path / "machine")
    monkeypatch.delenv("USHER_CONFIG")

    assert configure({}).settings.port == 3
    assert configure({}, file="").settings.port == 8088
    monkeypatch.setenv("USHER_CONFIG", str(tmp_path / "variable"))
    assert configure({}).settings.port == 2
    assert configure({}, file=str(tmp_path / "flag")).settings.port == 1
    monkeypatch.setenv("USHER_CONFIG", "")
    assert configure({}).settings.port == 8088
    monkeypatch.delenv("USHER_CONFIG")
    (tmp_path / "machine").unlink()
    assert configure({}).settings.port == 8088


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("prot = 1", 'there is no setting "prot"; did you mean port?'),
        ("PORT = 1", 'there is no setting "PORT"; did you mean port?'),
        ("session_idle = 1", 'there is no setting "session_idle"; did you mean session_idle_s?'),
        ("[server]", 'there is no setting "server"; usher config lists them all'),
        ("demo = true", 'there is no setting "demo"; usher config lists them all'),
        ('port = "high"', 'port: cannot take "high"; give a whole number from 0 to 65,535'),
        ("port = 65536", 'port: cannot take "65536"; give a whole number from 0 to 65,535'),
        ("port = []", 'port: cannot take "[]"; give a whole number from 0 to 65,535'),
        ("ship_age_s = 0", 'ship_age_s: cannot take "0"; give a number above 0'),
        ('log = "clickhouse"', 'log: cannot take "clickhouse"; give chdb or ledger'),
        ("data = 3", 'data: cannot take "3"; give a path'),
        ("host = 3", 'host: cannot take "3"; give a text'),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_what_is_right(line: str, fault: str, file: Path) -> None:
    assert faults_of(line, file) == [f"{file}: {fault}"]


@pytest.mark.parametrize(
    ("variable", "fault"),
    [
        ("USHER_PROT", "there is no such setting; did you mean USHER_PORT?"),
        ("usher_ship_row", "there is no such setting; did you mean USHER_SHIP_ROWS?"),
        ("USHER_CREDENTIAL", "there is no such setting; did you mean USHER_CREDENTIALS?"),
        ("USHER_XYZ", "there is no such setting; usher config lists them all"),
        ("USHER_DEMO", "there is no such setting; usher config lists them all"),
        ("USHER_PORT", 'cannot take "1x"; give a whole number from 0 to 65,535'),
        ("USHER_LOG", 'cannot take "1x"; give chdb or ledger'),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_with_what_is_right(
    variable: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1x")
    with pytest.raises(SetupError) as refused:
        configure({})

    assert str(refused.value) == f"{variable}: {fault}"


def test_a_wrong_flag_is_named_with_what_is_right() -> None:
    with pytest.raises(SetupError, match=r'^--ship-rows: cannot take "0"; give a whole number from 1 to 100,000$'):
        configure({"ship_rows": 0})


def test_all_that_is_wrong_is_said_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_PROT", "1")

    assert len(faults_of('portt = 1\nlog = "x"\nship_rows = 0\n', file)) == 4


def test_a_weaker_sources_wrong_value_does_not_count_where_a_stronger_one_has_another(file: Path) -> None:
    file.write_text("port = -1")

    assert configure({"port": 5}, file=str(file)).settings.port == 5


def test_variables_that_are_no_settings_but_ours_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_URL", "http://127.0.0.1/")
    monkeypatch.setenv("USHER_CREDENTIALS", "file")
    monkeypatch.setenv("USHERS", "no prefix of ours")

    assert configure({}).settings == Settings()


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    for name in (file, file.parent):
        with pytest.raises(SetupError, match=f"^{name}: no such file; name a TOML file with --config or USHER_CONFIG$"):
            configure({}, file=str(name))
    with pytest.raises(SetupError, match=r"^x+: cannot read it: File name too long$"):
        configure({}, file="x" * 300)
    (fault,) = faults_of("port 1", file)
    assert fault.startswith(f"{file}: is not TOML: Expected '='")
    file.write_bytes(b'host = "\xff"')
    with pytest.raises(SetupError, match=f"^{file}: is not TOML: "):
        configure({}, file=str(file))


def test_a_file_is_judged_whatever_the_environment_says(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USHER_PORT", "no number")
    monkeypatch.setenv("USHER_PROT", "1")
    file.write_text("ship_rows = 5")

    assert configure_from(file).settings == Settings(ship_rows=5)


def test_every_setting_has_a_flag_that_is_obeyed() -> None:
    for name, field in operator_settings().items():
        flag, value = f"--{name.replace('_', '-')}", _OTHER_THAN_DEFAULT[type_of(field)]
        given = [f"--no-{flag[2:]}"] if type_of(field) is bool else [flag, value]
        if name == "log_memory_bytes_max":
            given[1] = value = f"{value}000000"
        if name == "metrics":
            given[1] = value = "127.0.0.1:9188"
        # Of these, one goes with the other only.
        beside = {"tls_cert": ["--tls-key", "key"], "tls_key": ["--tls-cert", "cert"]}.get(name, [])
        shown = CliRunner().invoke(app, ["config", "--json", *given, *beside], catch_exceptions=False)
        rows = {row["setting"]: row for row in map(json.loads, shown.stdout.splitlines())}

        assert {"setting": name, "from": "flag", "where": given[0]} == {
            key: each for key, each in rows[name].items() if key != "value"
        }
        assert str(rows[name]["value"]) == value
        assert {row["from"] for row in rows.values()} == {"flag", "default"}
