"""Real clients of the SEVU API, in their own languages, against a real node: SEVU facts, 1.3, row by row. What several
clients have in common stands in test_client_habits.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.tap import Tap, tapped
from tests.golden.clients.bodies import csharp_text, node_text, signature_first_text, signature_of
from tests.nodes import Node, running_node
from tests.sevuclient import Account, Connection, sign

pytestmark = pytest.mark.client

CLIENTS = Path(__file__).parents[1] / "golden" / "clients"
PAGE_SAMPLE = Path(__file__).parents[2] / "src" / "openusher" / "cli" / "samples" / "errorcount.php"
PHP, PERL, RUBY = ["php"], ["perl"], ["ruby"]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# A slash and letters beyond ASCII, one of them beyond 16 bits: where encoders differ.
VIDEO = "sestore3/démo/🎬.mp4|clips/*"
PHP_VIDEO = r"sestore3\/d\u00e9mo\/\ud83c\udfac.mp4|clips\/*"


@pytest.fixture
def tap(node: Node) -> Iterator[Tap]:
    with tapped(node.url) as listening:
        yield listening


def run_client(
    language: list[str], script: str, account: Account, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    credentials = {"USHER_CDN": str(account.cdn), "USHER_API_KEY": account.api_key, "USHER_SECRET": account.secret}
    return subprocess.run(
        [*language, str(CLIENTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **credentials, **(env or {})},
    )


def said(finished: subprocess.CompletedProcess[str]) -> Any:
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def names_in(text: str) -> list[str]:
    return [name for name, _ in json.loads(text, object_pairs_hook=list)]


# The page's own sample


def test_the_pages_php_sample_gets_the_pages_reply_from_a_demo_node(tmp_path: Path) -> None:
    # Values of the page of sevu.errorcount, read off it by hand.
    cdn, api_key = 158, "APX4GKLM0RKQLSP2FBO1ROPKSSW47DZE"
    secret = tmp_path / "secret"
    secret.write_text("8fc8c48da81e6a2a06a9556379bf798af508dc0792497c678b4c3532ba8b637f\n")
    key, password = "mystream.53ffc996dd39d5.39102367", "unique_random_string_per_request"
    with running_node(tmp_path / "data", "--demo", "--log", "ledger") as demo, demo.connect() as connection:
        flags = ("--cdn", str(cdn), "--api-key", api_key, "--secret-file", str(secret))
        account = demo.create_account("demo", *flags)
        import_ticket(demo, cdn=cdn, key=key, password=password)
        for _ in range(4):
            question = {
                "key": key,
                "password": password,
                "app": "demo-origin",
                "video": "mystream",
                "ip": "192.168.0.0",
            }
            assert connection.authorize(account, **question)[1]["allow"]
        connection.authorize(account, key=key, password="a guess", app="demo-origin", video="mystream")
        shown = subprocess.run(
            ["php", str(PAGE_SAMPLE), f"{demo.url}/stable/"], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    printed = re.findall(r"^    \[(\w+)\] => (.*)$", shown, re.MULTILINE)
    assert printed[:4] == [
        ("code", "2051"),
        ("message", "ScaleEngine Virtual Usher unsuccessful tickets attempts found"),
        ("status", "success"),
        ("error_count", "4"),
    ]
    assert [name for name, _ in printed[4:]] == ["handle_time"]
    assert re.fullmatch(r"\d+\.\d{4} seconds", printed[4][1])


def import_ticket(node: Node, *, cdn: int, key: str, password: str) -> None:
    """Give a node a ticket under a key of our choice, through its admin socket."""
    rules = {"app": "demo-origin", "video": "mystream", "ip": "192.168.0.0/24", "uses": 4}
    transport = httpx.HTTPTransport(uds=str(node.data / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://admin") as client:
        client.post(f"/accounts/{cdn}/tickets", json={"key": key, "pass": password, **rules}).raise_for_status()


# FloSports


def flosports(tap: Tap, account: Account, command: str, **parameters: str) -> Any:
    pairs = [f"{name}={value}" for name, value in parameters.items()]
    return said(run_client(PHP, "flosports.php", account, f"{tap.url}/stable/", command, *pairs))


def test_flosports_issues_reads_and_revokes_a_ticket(tap: Tap, account: Account, connection: Connection) -> None:
    rules = {"app": "foo", "video": "foo*", "pass": "secret/é", "ip": "auto/24", "uses": "10"}
    issued = flosports(tap, account, "sevu.request", **rules, expires="2001-01-01 00:00:00")
    text = tap.last_text()

    order = "api_key cdn command app expires ip pass uses video timestamp signature"
    assert order.split() == names_in(text)
    assert r"secret\/\u00e9" in text
    assert tap.last()[1]["content-type"] == "application/x-www-form-urlencoded"
    echoed = {"app": "foo", "video": "foo*", "pass": "secret/é", "ip": "auto/24", "uses": 10}
    assert echoed == {name: issued[name] for name in echoed}
    # An expiry in the past, as its clock of twelve hours makes them, and still an active ticket.
    assert issued["active"] is True
    assert issued["used"] is None
    assert issued["key_is_valid"]
    assert abs(issued["created"] - time.time()) < 60

    assert issued == flosports(tap, account, "sevu.status", key=issued["key"])
    assert names_in(tap.last_text()) == ["api_key", "cdn", "command", "key", "timestamp", "signature"]
    assert flosports(tap, account, "sevu.revoke", key=issued["key"]) == {"revoked": True}
    assert flosports(tap, account, "sevu.status", key=issued["key"])["active"] is False
    _, answer = connection.authorize(account, key=issued["key"], password="secret/é", app="foo", video="foo1")
    assert answer["reason"] == "Ticket Revoked"


def test_flosports_may_set_the_timestamp_which_then_sits_behind_the_command(tap: Tap, account: Account) -> None:
    rules = {"app": "foo", "video": "foo*", "pass": "secret/é", "ip": "auto/24", "uses": "10"}
    timestamp = int(time.time()) - 60
    issued = flosports(tap, account, "sevu.request", **rules, expires="+1 week", timestamp=str(timestamp))
    text = tap.last_text()

    order = "api_key cdn command timestamp app expires ip pass uses video signature"
    assert order.split() == names_in(text)
    assert f'"command":"sevu.request","timestamp":{timestamp},"app"' in text
    assert issued == flosports(tap, account, "sevu.status", key=issued["key"], timestamp=str(timestamp))
    assert names_in(tap.last_text()) == ["api_key", "cdn", "command", "timestamp", "key", "signature"]


def test_flosports_sees_the_last_use_and_the_uses_that_are_left(
    tap: Tap, account: Account, connection: Connection
) -> None:
    issued = flosports(tap, account, "sevu.request", app="foo", video="foo", **{"pass": "p"}, ip="auto", uses="2")
    _, answer = connection.authorize(account, key=issued["key"], password="p", app="foo", video="foo", ip="192.0.2.9")
    shown = flosports(tap, account, "sevu.status", key=issued["key"])

    assert answer["allow"]
    assert (shown["uses"], shown["ip"]) == (1, "192.0.2.9")
    assert abs(shown["used"] - time.time()) < 60


def test_flosports_gets_a_failure_with_a_status_that_guzzle_reads(tap: Tap, account: Account) -> None:
    finished = run_client(PHP, "flosports.php", account, f"{tap.url}/stable/", "sevu.status", "key=nosuch")

    assert finished.returncode == 1
    assert '"code":2023' in finished.stderr


# WordPress


def test_wordpress_gets_a_ticket_whose_query_needs_no_encoding(
    tap: Tap, account: Account, connection: Connection
) -> None:
    wanted = ("pass=5ebe2294ecd0e0f0", "ip=0.0.0.0/0", f"video={VIDEO}", "app=acme-*", "uses=99", "expire=+24 hours")
    finished = run_client(PHP, "wordpress.php", account, f"{tap.url}/stable/", "sevu.request", *wanted)
    text = tap.last_text()

    assert (finished.returncode, finished.stderr) == (0, "")
    order = "api_key timestamp cdn command pass ip video app uses expire signature"
    assert order.split() == names_in(text)
    assert PHP_VIDEO in text
    assert f'"cdn":"{account.cdn}"' in text
    assert '"uses":"99"' in text
    assert tap.last()[1]["content-type"].startswith("multipart/form-data")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(f"http://v.example/x?{finished.stdout}").query)
    ticket = {"key": query["key"][0], "password": query["pass"][0]}
    _, answer = connection.authorize(account, **ticket, app="acme-vod", video="clips/1.mp4")
    assert (answer["allow"], answer["ticket"]["uses_left"]) == (True, 98)


def test_wordpress_reads_an_unlimited_ticket_from_uses_0(account: Account, node: Node, connection: Connection) -> None:
    wanted = ("pass=abc", "ip=203.0.113.7", "video=*", "app=acme-vod", "uses=0", "expire=2099-12-31 23:59:59")
    finished = run_client(PHP, "wordpress.php", account, f"{node.url}/", "sevu.request", *wanted)
    key = re.sub(r"key=(.*)&pass=abc", r"\1", finished.stdout)
    answers = [
        connection.authorize(account, key=key, password="abc", app="acme-vod", ip="203.0.113.7")[1] for _ in range(3)
    ]

    assert [(answer["allow"], answer["ticket"]["uses_left"]) for answer in answers] == [(True, None)] * 3


# Perl


@pytest.mark.parametrize("seed", range(6))
def test_perl_signs_in_whatever_order_its_hash_has(seed: int, tap: Tap, account: Account) -> None:
    env = {"PERL_HASH_SEED": str(seed), "PERL_PERTURB_KEYS": "2"}
    wanted = ("app=acme-*", f"video={VIDEO}", f"pass=user{seed}|a/b+c=d", "ip=192.0.2.0/24|auto", "uses=5")
    finished = run_client(PERL, "perl_client.pl", account, f"{tap.url}/dev/", "sevu.request", *wanted, env=env)
    ticket = said(finished)["ticket"]
    text = tap.last_text()

    assert tap.last()[0] == "/dev/"
    assert VIDEO in text
    assert re.search(r',"signature":"[A-Za-z0-9+/]{43}="}$', text)
    assert (VIDEO, f"user{seed}|a/b+c=d", "5") == (ticket["video"], ticket["pass"], ticket["uses"])


def test_perls_hash_orders_differ_and_all_verify(tap: Tap, account: Account) -> None:
    orders = set()
    for seed in range(4):
        env = {"PERL_HASH_SEED": str(seed), "PERL_PERTURB_KEYS": "2"}
        run = run_client(PERL, "perl_client.pl", account, f"{tap.url}/dev", "sevu.errorcount", "app=x/é", env=env)
        assert said(run)["status"] == "success"
        orders.add(tuple(names_in(tap.last_text())))

    assert len(orders) > 1


def test_perl_is_told_what_was_checked_when_its_secret_is_wrong(node: Node, account: Account) -> None:
    wrong = {"USHER_SECRET": "of another account"}
    finished = run_client(PERL, "perl_client.pl", account, f"{node.url}/dev/", "sevu.errorcount", env=wrong)

    assert finished.returncode == 1
    assert re.search(r"Failed HMAC-SHA256 Signature.*\n.*\d+ bytes, SHA-256 [0-9a-f]{64}", finished.stderr)


# Ruby


def test_the_ruby_gem_issues_a_ticket_and_counts(tap: Tap, account: Account) -> None:
    wanted = ("app=acme-*", f"video={VIDEO}", "pass=gem/é", "ip=auto", "uses=3")
    ticket = said(run_client(RUBY, "gem.rb", account, f"{tap.url}/stable/", "sevu.request", *wanted))["ticket"]
    text = tap.last_text()

    assert names_in(text) == [
        "command",
        "api_key",
        "cdn",
        "app",
        "video",
        "pass",
        "ip",
        "uses",
        "timestamp",
        "signature",
    ]
    assert VIDEO in text
    assert f'"cdn":"{account.cdn}"' in text
    assert tap.last()[1]["content-type"].startswith("multipart/form-data")
    assert (ticket["video"], ticket["pass"]) == (VIDEO, "gem/é")
    # An early version posted to the address without its last slash.
    counted = said(run_client(RUBY, "gem.rb", account, f"{tap.url}/stable", "sevu.errorcount", "pass=gem/é"))
    assert (tap.last()[0], counted["code"], counted["error_count"]) == ("/stable", 2051, 0)


def test_a_ruby_request_that_is_sent_again_signs_its_old_signature_and_is_refused(tap: Tap, account: Account) -> None:
    reply = said(run_client(RUBY, "gem.rb", account, f"{tap.url}/stable/", "sevu.errorcount", "again", "key=k"))

    assert names_in(tap.last_text()) == ["command", "api_key", "cdn", "key", "timestamp", "signature"]
    assert (reply["code"], reply["status"]) == (3, "failure")


# Clients whose languages are not here


def test_indented_json_with_crlf_as_c_sharp_writes_it_is_verified(account: Account, connection: Connection) -> None:
    head = {"command": "sevu.request", "api_key": account.api_key, "timestamp": int(time.time()), "cdn": account.cdn}
    rules = {"app": "acme-*", "video": VIDEO, "pass": "0f8fad5b-d9cb-469f-a165-70867728950e", "ip": "auto", "uses": 1}
    text = csharp_text({**head, **rules}, account.secret)
    body = urllib.parse.quote_plus(text)
    _, _, reply = connection.request("POST", "/stable/", f"json={body}".encode(), FORM)

    assert "%0D%0A++%22signature%22%3A+%22" in body
    assert json.loads(reply)["ticket"]["video"] == VIDEO


def test_stringified_json_as_node_writes_it_is_verified(account: Account, connection: Connection) -> None:
    rules = {"video": VIDEO, "app": "acme-*", "uses": 1, "ip": "auto", "pass": "p\u2028/é"}
    head = {"timestamp": int(time.time()), "cdn": account.cdn, "api_key": account.api_key, "command": "sevu.request"}
    reply = connection.post_text(node_text({**rules, **head}, account.secret))

    assert (reply["ticket"]["video"], reply["ticket"]["pass"]) == (VIDEO, "p\u2028/é")


def test_the_signature_may_stand_first(account: Account, connection: Connection) -> None:
    members = {"command": "sevu.errorcount", "api_key": account.api_key, "timestamp": time.time_ns() // 10**9}
    text = signature_first_text({**members, "cdn": account.cdn}, account.secret)

    assert connection.post_text(text)["code"] == 2051


def test_the_vectors_of_the_facts_are_what_these_clients_compute() -> None:
    """SEVU facts, 1.4: guards the tests' own signing."""
    text = (
        '{"command":"sevu.request","api_key":"TESTKEY","timestamp":1700000000,"cdn":158,"app":"demo-vod",'
        '"video":"sestore3/demo/é.mp4|clips/*","pass":"user1|rnd","ip":"192.0.2.0/24","uses":5,'
        '"expire":"2030-01-01 00:00:00"}'
    )
    secret = "self-hosted-test-secret"

    assert "xOBJcY8y9v2aP1U66i9Hwno0P4r2ghstaxUKyMjJDxY=" == sign(text, secret) == signature_of(text, secret)
    assert "1ZtzzLk4qAh7F/26hOvhJ8OlYlhx8hFMYOpY4EoXuEU=" in csharp_text(json.loads(text), secret)
    assert "xOBJcY8y9v2aP1U66i9Hwno0P4r2ghstaxUKyMjJDxY=" in node_text(json.loads(text), secret)
