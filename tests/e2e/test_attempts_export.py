"""`usher attempts export`: whole or not there, and each attempt once, as many as are counted at the cut."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pyarrow import parquet

from openusher.ledger.folder import ADMIN_SOCKET
from tests.e2e.brokennode import BrokenNode
from tests.nodes import Node, running_node, usher, usher_here
from tests.sevuclient import Account

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 4
EXPORTS_S_MAX = 30
TEXTS = ("films/1.mp4", "=1+1", "\x1b[31m", "\u202eabc", "two\nlines", 'quo"te, é')


def play(node: Node, account: Account, number: int) -> None:
    with node.connect() as connection:
        for n in range(number):
            text = TEXTS[n % len(TEXTS)]
            connection.authorize(account, key="k", password=f"{text}|{n}", video=text, server_ip="10.0.0.1")


def status(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(usher_here("status", "--json", "--data", str(data)).stdout)
    return found


@contextmanager
def playing(node: Node, account: Account) -> Iterator[None]:
    """Attempts arrive as long as the context lasts."""
    ends = Event()

    def run() -> None:
        while not ends.is_set():
            play(node, account, 50)

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def ndjson(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.fixture(scope="module")
def site(node: Node) -> Account:
    made = node.create_account("exported")
    play(node, made, 40)
    return made


def attempts(node: Node, command: str, account: Account, *flags: str) -> tuple[int, str, str]:
    done = usher_here("attempts", command, str(account.cdn), *flags, "--data", str(node.data))
    return done.returncode, done.stdout, done.stderr


def listed(node: Node, account: Account, *flags: str) -> list[dict[str, Any]]:
    """What the list says, in the order of an export."""
    status, shown, _ = attempts(node, "list", account, "--json", "--limit", "10000", *flags)
    assert status == DONE
    return ndjson(shown)[::-1]


@pytest.mark.parametrize("show_pass", [(), ("--show-pass",)], ids=["hidden", "shown"])
def test_every_format_has_the_rows_of_the_list_in_order_of_id(
    node: Node, site: Account, tmp_path: Path, show_pass: tuple[str, ...]
) -> None:
    expected = listed(node, site, *show_pass)
    files = {suffix: tmp_path / f"attempts.{suffix}" for suffix in ("csv", "ndjson", "jsonl", "parquet")}
    for file in files.values():
        status, summary, said = attempts(node, "export", site, "--output", str(file), "--json", *show_pass)
        assert (status, said) == (DONE, "")
        last_id = max(row["id"] for row in expected)
        assert {"attempts": 40, "output": str(file)} == {
            key: json.loads(summary)[key] for key in ("attempts", "output")
        }
        assert json.loads(summary)["last_id"] >= last_id
        assert file.stat().st_mode & 0o777 == 0o600

    assert expected == ndjson(files["ndjson"].read_text()) == ndjson(files["jsonl"].read_text())
    table = parquet.read_table(files["parquet"]).to_pylist()
    assert [
        {**row, "datetime": f"{row['datetime']:%Y-%m-%d %H:%M:%S}", "success": int(row["success"])} for row in table
    ] == expected
    _, as_csv, _ = attempts(node, "list", site, "--csv", *show_pass)
    head, *lines = as_csv.splitlines()
    assert [head, *reversed(lines)] == files["csv"].read_text().splitlines()
    assert all(("pass" in row) is bool(show_pass) for row in (*expected, *table))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(file.name for file in files.values())


def test_rows_go_to_stdout_and_the_cut_to_stderr(node: Node, site: Account) -> None:
    status, rows, said = attempts(node, "export", site, "--format", "ndjson", "--video", "films/*")
    expected = listed(node, site, "--video", "films/*")

    assert (status, ndjson(rows)) == (DONE, expected)
    assert f"Exported {len(expected)} attempts: all that match up to number " in said
    _, rows, said = attempts(node, "export", site, "--output", "-", "--json")
    assert len(list(csv.DictReader(io.StringIO(rows)))) == json.loads(said)["attempts"] == 40
    _, rows, said = attempts(node, "export", site, "--video", "nothing", "--json")
    assert (rows.count("\n"), json.loads(said)["attempts"]) == (1, 0)


def test_what_cannot_be_written_is_said_before_anything_is_read(node: Node, site: Account, tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("kept")
    for flags, status, said in (
        (("--format", "parquet"), USAGE, "give --output FILE"),
        (("--output", str(there)), USAGE, "is there already; give another name, or --yes"),
        (("--output", str(tmp_path / "no" / "folder.csv")), FAILED, "cannot write it: No such file or directory"),
        (("--output", str(tmp_path / "x.csv"), "--from", "tomorow"), USAGE, '--from: cannot read "tomorow"'),
    ):
        assert said in (done := attempts(node, "export", site, *flags))[2]
        assert done[:2] == (status, "")
    assert there.read_text() == "kept"
    assert attempts(node, "export", site, "--output", str(there), "--yes")[0] == DONE
    assert there.read_text().count("\n") == 41
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


@pytest.mark.parametrize("answer", ["breaks", "ends", "error"])
def test_an_export_that_breaks_off_leaves_no_file(tmp_path: Path, answer: str) -> None:
    file = tmp_path / "attempts.csv"
    file.write_text("of yesterday")
    with BrokenNode(tmp_path / "data", answer):
        done = usher("attempts", "export", "158", "--output", str(file), "--yes", "--data", str(tmp_path / "data"))

    said = {"breaks": (UNREACHABLE, "does not answer"), "ends": (FAILED, "broke off"), "error": (FAILED, "is away")}
    assert (done.returncode, done.stdout) == (said[answer][0], "")
    assert said[answer][1] in done.stderr
    assert "Traceback" not in done.stderr
    assert file.read_text() == "of yesterday"
    assert {path.name for path in tmp_path.iterdir()} == {"attempts.csv", "data"}


@pytest.mark.parametrize("format_", ["csv", "ndjson", "parquet"])
def test_an_export_that_is_told_to_end_leaves_no_file_and_says_nothing(tmp_path: Path, format_: str) -> None:
    data, file = tmp_path / "data", tmp_path / f"attempts.{format_}"
    command = (sys.executable, "-m", "openusher", "attempts", "export", "158", "--output", str(file))
    with BrokenNode(data, "hangs") as node:
        exporting = subprocess.Popen((*command, "--data", str(data)), stderr=subprocess.PIPE, text=True)
        try:
            assert node.said.wait(EXPORTS_S_MAX)
            parts = [path.name for path in tmp_path.iterdir() if path.suffix == ".part"]
            # The second must not tear what the first has begun.
            exporting.terminate()
            exporting.terminate()
            _, said = exporting.communicate(timeout=EXPORTS_S_MAX)
        finally:
            exporting.kill()

    assert (len(parts), exporting.returncode, said) == (1, 128 + signal.SIGTERM, "")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_exports_beside_live_traffic_have_each_attempt_once_and_as_many_as_are_counted(tmp_path: Path) -> None:
    """Blocks of fifty move to the log all the time, so that an export meets many on the way."""
    data = tmp_path / "data"
    with running_node(data, "--ship-rows", "50", "--ship-age-s", "1") as node:
        site = node.create_account("busy")
        cdn = ("--data", str(data))
        play(node, site, 400)
        exports: list[tuple[Any, Path]] = []
        with playing(node, site):
            # A fast machine exports four times before the first block is old enough to move.
            until = time.monotonic() + EXPORTS_S_MAX
            while len(exports) < 4 or (status(data)["shipped_block"] < 2 and time.monotonic() < until):
                file = tmp_path / f"{len(exports)}.ndjson"
                summary = usher_here("attempts", "export", str(site.cdn), "--output", str(file), "--json", *cdn)
                assert summary.returncode == DONE, summary.stderr
                exports.append((json.loads(summary.stdout), file))
        for summary, file in exports:
            ids = [row["id"] for row in ndjson(file.read_text())]
            upto = ("--before-id", str(summary["last_id"] + 1))
            assert ids == sorted(set(ids))
            assert f"{len(ids)}\n" == usher_here("attempts", "count", str(site.cdn), *upto, *cdn).stdout
            assert len(ids) == summary["attempts"]
        assert len({summary["last_id"] for summary, _ in exports}) >= 4
        # Else a list may be answered by what is still in the ledger.
        while status(data)["pending"]:
            assert time.monotonic() < until + EXPORTS_S_MAX
        assert status(data)["shipped_block"] >= 2
    # The last one again, of the folder that no node holds.
    summary, file = exports[-1]
    again = tmp_path / "again.ndjson"
    upto = ("--before-id", str(summary["last_id"] + 1))
    assert usher("attempts", "export", str(site.cdn), *upto, "--output", str(again), *cdn).returncode == DONE
    assert again.read_bytes() == file.read_bytes()
    # Nobody gives a number, or a file, of what the log has lost.
    shutil.rmtree(data / "log")
    for arguments in (("count",), ("list",), ("export", "--output", str(tmp_path / "lost.csv"))):
        lost = usher("attempts", arguments[0], str(site.cdn), *arguments[1:], *cdn)
        assert (lost.returncode, lost.stdout) == (FAILED, "")
        assert "usher check" in lost.stderr
    assert not (tmp_path / "lost.csv").exists()
    assert ADMIN_SOCKET not in {path.name for path in data.iterdir()}
