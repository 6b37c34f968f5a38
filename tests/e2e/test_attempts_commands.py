"""`usher attempts count` and `list`: what they show is what viewers sent, as text, and passes on demand only."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Node, usher, usher_here
from tests.sevuclient import Account

DONE, FAILED, USAGE = 0, 1, 2
# What a terminal, a table's markup, a spreadsheet and a line-wise reader would each take for something else.
SPITEFUL = ("\x1b[31mred\x1b[0m", "[bold red]markup[/]", "\u202egnp.exe", "two\nlines\r", "=1+1", "@SUM(A1)", "-2+3",
            "+4", "\t=5", "\r=6", "＝7", "\x9b31m", "\x7f", ":smile:", "back\\slash\\", "\U000e0041tag",
            'quo"te, comma')  # fmt: skip
# Short enough for a narrow column.
SECRET = "s3cret"


@pytest.fixture(scope="module")
def site(node: Node) -> Account:
    """An account whose viewers sent every spiteful text as video, player and user."""
    account = node.create_account("spiteful")
    with node.connect() as connection:
        ticket = connection.issue(account, password=SECRET)
        connection.authorize(account, key=ticket["key"], password=SECRET, video="first")
        for number, text in enumerate(SPITEFUL):
            status, _ = connection.authorize(
                account,
                key="nobody's",
                password=f"{text}|{number}",
                video=text,
                user_agent=text,
                ip=f"192.0.2.{number}",
            )
            assert status == 200
    return account


def attempts(node: Node, command: str, account: Account, *flags: str, stdin: str = "") -> str:
    done = usher_here("attempts", command, str(account.cdn), *flags, "--data", str(node.data), stdin=stdin)
    assert (done.returncode, done.stderr) == (DONE, ""), done.stderr
    return done.stdout


def rows(node: Node, account: Account, *flags: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in attempts(node, "list", account, "--json", *flags).split("\n") if line]


def is_harmless(text: str) -> bool:
    """Nothing in it but what prints, and the ends of lines."""
    return all(each.isprintable() or each == "\n" for each in text)


def test_every_form_shows_what_viewers_sent_as_text(node: Node, site: Account) -> None:
    table = usher("attempts", "list", str(site.cdn), "--data", str(node.data)).stdout
    as_json = attempts(node, "list", site, "--json")
    as_csv = attempts(node, "list", site, "--csv")

    assert all(is_harmless(shown) for shown in (table, as_json, as_csv))
    # A row each, and no more.
    assert len(as_json.splitlines()) == len(as_csv.splitlines()) - 1 == len(SPITEFUL) + 1
    for text in ("\\x1b[31mred", "[bold red]markup[/]", "\\u202egnp.exe", "two\\nlines\\r", ":smile:", "\\x9b31m"):
        assert text in table
        assert text in as_csv


def test_json_holds_the_very_texts(node: Node, site: Account) -> None:
    found = rows(node, site)

    assert [row["video"] for row in reversed(found)] == ["first", *SPITEFUL]
    assert [row["user"] for row in reversed(found)] == ["", *SPITEFUL]


def test_no_cell_of_csv_begins_a_formula(node: Node, site: Account) -> None:
    found = list(csv.DictReader(io.StringIO(attempts(node, "list", site, "--csv"))))
    videos = [row["video"] for row in reversed(found)][1:]
    grouped = attempts(node, "count", site, "--group-by", "video", "--csv")

    assert all(not cell.startswith(tuple("=+-@＝\t\r")) for row in found for cell in row.values())
    changed = {text: video for text, video in zip(SPITEFUL, videos, strict=True) if video.startswith("'")}
    assert set(changed) == {"=1+1", "@SUM(A1)", "-2+3", "+4", "\t=5", "\r=6", "＝7"}
    assert "'=1+1,1\n" in grouped
    assert is_harmless(grouped)


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)], ids=str)
def test_passes_are_shown_on_demand_only_also_where_a_pass_is_its_own_user(
    node: Node, site: Account, form: tuple[str, ...]
) -> None:
    hidden = attempts(node, "list", site, *form)
    shown = attempts(node, "list", site, "--show-pass", *form)

    assert SECRET not in hidden
    assert "pass" not in hidden.splitlines()[1]
    assert SECRET in shown
    refused = usher_here("attempts", "count", str(site.cdn), "--group-by", "user", *form, "--data", str(node.data))
    assert (refused.returncode, refused.stdout) == (USAGE, "")
    assert "--show-pass" in refused.stderr
    assert SECRET in attempts(node, "count", site, "--group-by", "user", "--show-pass", *form)


def test_a_count_takes_every_filter(node: Node, site: Account, tmp_path: Path) -> None:
    secret = tmp_path / "pass"
    secret.write_text(f"{SECRET}\n")
    every = len(SPITEFUL) + 1
    last = rows(node, site, "--limit", "1")[0]["id"]
    for flags, expected in (
        ((), every),
        (("--success",), 1),
        (("--refused",), every - 1),
        (("--reason", "Invalid Auth Token"), every - 1),
        (("--key", "nobody's"), every - 1),
        (("--user", "=1+1"), 1),
        (("--pass-file", str(secret)), 1),
        (("--video", "*markup*|first"), 2),
        (("--app", "li*"), every),
        (("--ip", "192.0.2.0/29"), 9),
        (("--server-ip", "10.0.0.0/8"), 0),
        (("--from", "-1 hour"), every),
        (("--to", "-1 hour"), 0),
        (("--before-id", str(last)), every - 1),
        (("--after-id", str(last)), 0),
        (("--refused", "--video", "first"), 0),
    ):
        assert attempts(node, "count", site, *flags) == f"{expected}\n", flags
    assert attempts(node, "count", site, "--pass-file", "-", stdin=SECRET) == "1\n"
    assert json.loads(attempts(node, "count", site, "--json")) == {"count": every}
    assert attempts(node, "count", site, "--csv") == f"count\n{every}\n"


def test_groups_and_lists_are_paged(node: Node, site: Account) -> None:
    groups = [
        json.loads(line)
        for seek in (0, 10)
        for line in attempts(
            node, "count", site, "--group-by", "ip", "--limit", "10", "--seek", str(seek), "--json"
        ).splitlines()
    ]

    assert sum(group["count"] for group in groups) == len(SPITEFUL) + 1
    assert len({group["ip"] for group in groups}) == len(groups) == len(SPITEFUL)
    by_reason = attempts(node, "count", site, "--group-by", "reason")
    assert re.search(rf"Invalid Auth Token │ {len(SPITEFUL)} ", by_reason)
    assert re.search(r"accepted +│ 1 ", by_reason)
    assert f"2 of 2 groups; {len(SPITEFUL) + 1} attempts in all" in by_reason
    whole = rows(node, site)
    assert whole[3:8] == rows(node, site, "--seek", "3", "--limit", "5")
    first = usher_here("attempts", "list", str(site.cdn), "--limit", "4", "--json", "--data", str(node.data))
    assert first.stdout.count("\n") == 4
    page = rows(node, site, "--before-id", str(whole[3]["id"]))
    assert whole[4:] == page


def test_what_cannot_be_asked_is_refused_with_a_word_and_no_number(node: Node, site: Account) -> None:
    cdn, data = str(site.cdn), ("--data", str(node.data))
    for arguments, status, said in (
        (("count", "77"), FAILED, "there is no account with cdn 77"),
        (("list", "77"), FAILED, "there is no account with cdn 77"),
        (("count", cdn, "--from", "tomorow"), USAGE, '--from: cannot read "tomorow"'),
        (("count", cdn, "--to", "tomorow"), USAGE, '--to: cannot read "tomorow"'),
        (("count", cdn, "--ip", "nowhere"), USAGE, "--ip: cannot read the address"),
        (("list", cdn, "--reason", "none"), USAGE, '--reason: unknown; give one of "Invalid IP Address"'),
        (("list", cdn, "--seek", "999999", "--limit", "9"), USAGE, "--seek: seek and limit together exceed 1000000"),
        (("list", cdn, "--json", "--csv"), USAGE, "--json and --csv: give one of them"),
        (("list", cdn, "--pass-file", "none"), USAGE, "--pass-file none: cannot read it"),
        (("count", cdn, "--group-by", "weather"), USAGE, "weather"),
    ):
        done = usher_here("attempts", *arguments, *data)

        assert (done.returncode, done.stdout) == (status, ""), arguments
        assert said in done.stderr
