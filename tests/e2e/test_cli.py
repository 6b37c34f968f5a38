"""The `usher` command beside a running node: an account taken over, calls and their curl line, codes, exit statuses."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Node, usher, usher_here
from tests.sevuclient import Account

DONE, FAILED, USAGE, NO, UNREACHABLE = 0, 1, 2, 3, 4
# What shells, JSON, forms and pretty printers each have their own idea of.
AWKWARD = 'it\'s 100% é|:smile: [bold]x[/] "q" \\n $HOME `id` &+= 🎬'


@pytest.fixture(scope="module")
def credentials(node: Node, account: Account) -> Path:
    """The file that `usher account create --json` prints into."""
    file = node.data.with_name("credentials.json")
    file.write_text(json.dumps(vars(account)))
    return file


def call(node: Node, credentials: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return usher("call", *arguments, "--url", f"{node.url}/stable/", "--credentials", str(credentials))


def test_a_site_keeps_its_number_key_and_secret(node: Node, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("self-hosted-test-secret\n")
    taken = ("--cdn", "158", "--api-key", "TESTKEY", "--secret-file")
    account = node.create_account("took over", *taken, str(secret))

    assert (account.cdn, account.api_key, account.secret) == (158, "TESTKEY", "self-hosted-test-secret")
    with node.connect() as connection:
        ticket = connection.issue(account)
        assert connection.authorize(account, key=ticket["key"], password=ticket["pass"])[1]["allow"]
        assert connection.count(account) == 1
    again = usher("account", "create", "other name", *taken, "-", "--data", str(node.data), stdin="another")
    assert (again.returncode, again.stderr) == (FAILED, "usher: cdn: another account has it; choose another\n")


@pytest.mark.client
def test_the_curl_line_that_a_call_shows_is_equal_to_the_call(node: Node, credentials: Path, account: Account) -> None:
    with node.connect() as connection:
        connection.authorize(account, key="k", password=AWKWARD)
    shown = call(node, credentials, "sevu.errorcount", f"pass={AWKWARD}", "--show")
    lines = shown.stdout.splitlines()
    line = next(line for line in lines if line.startswith("curl "))
    signed = next(line for line in lines if line.startswith('{"command"'))
    by_curl = subprocess.run(
        line.replace("curl ", "curl --silent --show-error ", 1),
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    reply, own = json.loads(by_curl.stdout), json.loads(shown.stdout[shown.stdout.index("\n{\n") :])

    assert shown.returncode == DONE
    assert json.loads(signed)["pass"] == AWKWARD
    sent = json.loads(shlex.split(line)[2].removeprefix("json="))
    assert {name: value for name, value in sent.items() if name != "signature"} == json.loads(signed)
    assert (reply["code"], reply["error_count"]) == (own["code"], own["error_count"]) == (2051, 1)


def test_a_call_ends_with_the_status_that_the_help_promises(
    node: Node, credentials: Path, account: Account, tmp_path: Path
) -> None:
    found = call(node, credentials, "sevu.errorcount", "success=0", "--json")
    assert (found.returncode, json.loads(found.stdout)["code"]) == (DONE, 2051)
    unknown = call(node, credentials, "sevu.status", "key=nosuch", "--json")
    assert (unknown.returncode, json.loads(unknown.stdout)["code"]) == (NO, 2023)
    nobody = usher("call", "sevu.errorcount", "--url", node.url)
    assert (nobody.returncode, nobody.stdout) == (USAGE, "")
    assert "--credentials" in nobody.stderr
    assert call(node, credentials, "sevu.errorcount", "novalue").returncode == USAGE
    signed = ("--credentials", str(credentials))
    nowhere = usher("call", "sevu.errorcount", *signed, "--url", "http://127.0.0.1:9/stable/")
    assert nowhere.returncode == UNREACHABLE
    assert "usher serve" in nowhere.stderr
    secret = tmp_path / "secret"
    secret.write_text(account.secret)
    by_flags = ("--cdn", str(account.cdn), "--api-key", account.api_key, "--secret-file", str(secret))
    assert usher("call", "sevu.errorcount", *by_flags, "--url", node.url).returncode == DONE
    by_flags = (*by_flags[:-1], "-")
    assert usher("call", "sevu.errorcount", *by_flags, "--url", node.url, stdin=account.secret).returncode == DONE
    assert usher("call", "sevu.errorcount", *by_flags, "--url", node.url, stdin=" ").returncode == USAGE


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        *((("key=k", f"{name}=x"), f"{name}: usher call says this itself")
          for name in ("command", "api_key", "cdn", "timestamp", "signature", "Signature", "CDN")),
        (("key=a", "key=b"), "key: is given twice"),
        (("key=a", "Key=a"), "Key: is given twice"),
        (("novalue",), "novalue: cannot read it"),
        (("=value",), "=value: cannot read it"),
    ],
    ids=str,
)  # fmt: skip
def test_a_call_refuses_parameters_that_it_could_not_send_as_given(
    parameters: tuple[str, ...], said: str, node: Node, credentials: Path
) -> None:
    done = call(node, credentials, "sevu.errorcount", *parameters)

    assert (done.returncode, done.stdout) == (USAGE, "")
    assert f"usher: {said}" in done.stderr


def test_codes_prints_every_code_that_the_node_answers(node: Node, credentials: Path) -> None:
    codes = [json.loads(line) for line in usher("codes", "--json").stdout.splitlines()]
    numbers = [code["code"] for code in codes]
    table = usher("codes").stdout

    assert numbers == sorted(set(numbers))
    assert {0, 1, 2, 3, 4, 5, 6, 1000, 2011, 2021, 2031, 2041, 2051} <= set(numbers)
    assert 100 not in numbers
    assert {code["code"] for code in codes if not code["ours"]} == {0, 1, 2, 3, 4, 5, 6, 1000, 2051}
    assert all(f"{number:04d}" in table for number in numbers)
    reply: dict[str, Any] = json.loads(call(node, credentials, "sevu.errorcount", "--json").stdout)
    assert next(code["message"] for code in codes if code["code"] == reply["code"]) == reply["message"]


def test_a_second_edge_of_a_kind_is_told_that_it_needs_a_name(node: Node, account: Account) -> None:
    create = ("edge", "create", str(account.cdn), "--kind", "envoy", "--data", str(node.data))
    assert usher(*create).returncode == 0
    again = usher(*create)

    assert again.stderr == "usher: name: another edge of this account has it; choose another\n"
    assert usher(*create, "--name", "second").returncode == 0


def test_an_account_command_that_cannot_be_done_says_why(node: Node, account: Account, tmp_path: Path) -> None:
    data = ("--data", str(node.data))
    for arguments, status, said in (
        (("account", "create", account.name, *data), FAILED, "name: another account has it"),
        (("account", "create", "x", "--cdn", "0x9", *data), USAGE, "--cdn"),
        (("account", "create", "x", "--secret-file", str(tmp_path / "none"), *data), USAGE, "secret"),
        (("account", "disable", "77", *data), FAILED, "77"),
        (("account", "add-key", "77", *data), FAILED, "77"),
        (("account", "enable", *data, "--", "-1"), FAILED, "status 404"),
        (("account", "disable", "9" * 20, *data), FAILED, "there is no account with cdn " + "9" * 20),
        (("account", "enable", "9" * 20, *data), FAILED, "there is no account with cdn"),
        (("account", "add-key", "9" * 20, *data), FAILED, "there is no account with cdn"),
        (("account", "list", "--data", str(tmp_path / "nowhere")), FAILED, "no such data folder"),
        (("edge", "create", "77", "--kind", "nginx", *data), FAILED, "there is no account with cdn 77; usher account"),
        (("session", "list", "77", *data), FAILED, "there is no account with cdn 77"),
        (("session", "kick", "77", "--user", "u", *data), FAILED, "there is no account with cdn 77"),
        (("session", "report", "77", *data), FAILED, "there is no account with cdn 77"),
        (("acount",), USAGE, "account"),
    ):
        done = usher_here(*arguments)
        assert (done.returncode, done.stdout) == (status, ""), arguments
        assert said in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "nowhere").exists()
