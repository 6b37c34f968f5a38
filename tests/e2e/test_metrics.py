"""What a node shows to Prometheus is what it has done, and no more is shown."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from openusher.kepttotals import KEPT_TOTALS_BYTES
from openusher.web.metrics.families import FAMILIES, Family, Kind
from tests.e2e import busysite as done
from tests.e2e.busysite import BusySite
from tests.e2e.scraping import Scraped, admin_client, scraped, scraped_by
from tests.nodes import Node, running_node
from tests.servers.ports import free_port

_THREADS, _EACH = 8, 60


@pytest.fixture(scope="module")
def seen(busy: tuple[Node, BusySite]) -> Scraped:
    return busy[1].seen


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_attempts_are_counted_by_edge_outcome_and_reason_and_add_up_to_the_count_of_attempts(
    busy: tuple[Node, BusySite], seen: Scraped
) -> None:
    node, site = busy
    cdn = str(site.account.cdn)
    with node.connect() as connection:
        counted = connection.count(site.account)

    assert seen.by("usher_decisions_total", "cdn", "edge", "outcome", "reason") == {
        (cdn, "default", "accepted", ""): done.ACCEPTED,
        (cdn, "default", "refused", "Invalid Auth Token"): done.WRONG,
        (cdn, "default", "refused", "Maximum uses exceeded"): done.EXCEEDED,
        (cdn, "web 1", "accepted", ""): done.STARTED,
    }
    assert seen.of("usher_decisions_total") == counted
    assert seen.of("usher_repeats_total") == done.REPEATED


def test_bad_input_is_counted_by_what_was_wrong_with_it_and_is_neither_refusal_nor_busy_nor_fault(
    seen: Scraped,
) -> None:
    assert seen.by("usher_bad_requests_total", "route", "kind", "error") == {
        ("/v1/authorize", "", "invalid_parameter"): done.NO_VIDEO,
        ("/v1/authorize", "", "not_authorised"): done.NO_TOKEN,
        ("/stable", "", "wrong signature"): done.WRONG_SIGNATURE,
        ("(none)", "", "status 404"): done.NO_PATH,
    }
    assert seen.by("usher_busy_total", "route") == {}
    assert seen.by("usher_faults_total", "error") == {}


def test_requests_are_counted_and_timed_by_the_template_of_their_path(seen: Scraped) -> None:
    decided = done.ACCEPTED + done.WRONG + done.EXCEEDED + done.REPEATED

    assert seen.by("usher_http_requests_total", "route", "kind", "method", "status") | {
        # How often it was looked for what is shipped is not known.
        ("/metrics", "", "GET", "200"): 0
    } == {
        ("/accounts", "", "POST", "200"): 1,
        ("/accounts/{cdn:int}/edges", "", "POST", "200"): 1,
        ("/accounts/{cdn:int}/tickets", "", "POST", "200"): 2,
        ("/v1/authorize", "", "POST", "200"): decided,
        ("/v1/authorize", "", "POST", "400"): done.NO_VIDEO,
        ("/v1/authorize", "", "POST", "401"): done.NO_TOKEN,
        ("/stable", "", "POST", "200"): done.WRONG_SIGNATURE + done.COUNTED + done.GROUPED + done.LISTED,
        ("/v1/edges/{kind}", "nginx", "GET", "200"): done.STARTED + done.FOLLOWED,
        ("/v1/edges/{kind}", "nginx", "GET", "403"): done.STRANGERS,
        ("(none)", "", "GET", "404"): done.NO_PATH,
        ("/metrics", "", "GET", "200"): 0,
    }
    assert seen.of("usher_http_request_seconds_count", route="/v1/edges/{kind}", kind="nginx") == (
        done.STARTED + done.FOLLOWED + done.STRANGERS
    )
    assert 0 < seen.of("usher_http_request_seconds_sum", route="/v1/authorize") < 60


def test_sessions_and_follow_ups_are_counted_and_those_who_have_no_session_too(seen: Scraped) -> None:
    assert seen.of("usher_sessions") == done.STARTED
    assert seen.by("usher_follow_ups_total", "outcome", "reason") == {
        ("allowed", ""): done.FOLLOWED,
        ("refused", "No Session"): done.STRANGERS,
    }


def test_searches_are_counted_by_kind(seen: Scraped) -> None:
    assert seen.by("usher_search_seconds_count", "kind") == {
        ("count",): done.COUNTED,
        ("group",): done.GROUPED,
        ("list",): done.LISTED,
    }
    assert seen.by("usher_failed_searches_total", "kind") == {}


def test_answers_from_what_is_kept_are_counted_and_its_size_is_shown(seen: Scraped) -> None:
    # The first count finds none that is kept; an account's totals are read for the second who asks what they answer.
    assert seen.by("usher_kept_answers_total", "kept") == {
        ("counts",): done.COUNTED - 1,
        ("totals",): done.GROUPED - 1,
    }
    assert seen.of("usher_kept_counts") == 1
    assert 0 < seen.of("usher_kept_totals_bytes") < KEPT_TOTALS_BYTES


def test_what_the_ledgers_process_did_is_told_by_it(seen: Scraped) -> None:
    decided = done.ACCEPTED + done.WRONG + done.EXCEEDED + done.REPEATED + done.STARTED

    # And the two tickets.
    assert seen.of("usher_batch_operations_sum") >= decided + 2
    assert seen.of("usher_batch_operations_count") == seen.of("usher_commit_seconds_count")
    # Blocks are commits, but no batches.
    assert seen.of("usher_commit_sync_seconds_count") > seen.of("usher_commit_seconds_count")
    assert seen.of("usher_commit_seconds_sum") > 0
    assert seen.of("usher_wal_bytes") > 0
    assert seen.of("usher_ledger_up") == 1


def test_what_was_shipped_is_told(seen: Scraped) -> None:
    attempts = done.ACCEPTED + done.WRONG + done.EXCEEDED + done.STARTED

    assert seen.of("usher_shipped_attempts_total") == attempts
    assert 0 < seen.of("usher_ship_seconds_count") <= attempts
    assert [seen.of(f"usher_{name}") for name in ("pending_attempts", "pending_oldest_seconds", "ship_lag_seconds",
            "blocks_in_flight", "shipping_stopped", "log_restarts_total")] == [0] * 6  # fmt: skip
    assert seen.of("usher_log_up") == 1


def test_the_node_tells_how_it_stands(busy: tuple[Node, BusySite], seen: Scraped) -> None:
    node, _ = busy

    assert seen.of("usher_build_info", log="chdb") == 1
    assert [seen.of(f"usher_{name}") for name in ("ready", "takes_starts", "clock_ahead_seconds")] == [1, 1, 0]
    assert 0 < seen.of("usher_disk_free_bytes") < seen.of("usher_disk_size_bytes")
    for prefix, pid in (
        ("process", node.process.pid),
        ("usher_ledger_process", node.child("ledger")),
        ("usher_log_process", node.child("attemptlog")),
    ):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        assert 0.5 < seen.of(f"{prefix}_resident_memory_bytes") / (pages * 4_096) < 2


# --- the exposition -------------------------------------------------------------------------------------------------


def test_a_busy_node_shows_every_metric_that_is_documented_and_no_other(seen: Scraped) -> None:
    # The library parses the names of counters without what they end with.
    shown = {family.name: family.type for family in seen.families}

    assert shown == {each.name.removesuffix("_total"): each.kind.value for each in FAMILIES}


def test_every_sample_has_the_labels_that_are_documented(seen: Scraped) -> None:
    documented = {name: set(family.labels) for family in FAMILIES for name in _samples_of(family)}

    assert {each.name: set(each.labels) - {"le"} for each in seen.samples} == documented


def _samples_of(family: Family) -> list[str]:
    if family.kind is Kind.HISTOGRAM:
        return [f"{family.name}_{part}" for part in ("bucket", "count", "sum")]
    return [family.name]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_nothing_that_is_secret_or_a_viewers_is_shown(busy: tuple[Node, BusySite], accept: str) -> None:
    _, site = busy
    shown = httpx.get(f"{site.metrics}/metrics", headers={"accept": accept}, timeout=30).text

    assert 'edge="web 1"' in shown
    assert [secret for secret in site.secrets if secret in shown] == []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
         "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)  # fmt: skip
def test_who_asks_chooses_the_form(busy: tuple[Node, BusySite], accept: str, content_type: str) -> None:
    answer = httpx.get(f"{busy[1].metrics}/metrics", headers={"accept": accept}, timeout=30)

    assert answer.headers["content-type"].startswith(content_type)
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in content_type)


# --- where it is shown ----------------------------------------------------------------------------------------------


def test_over_tcp_there_is_nothing_else_and_elsewhere_there_are_no_metrics(busy: tuple[Node, BusySite]) -> None:
    node, site = busy

    statuses = {
        path: httpx.get(f"{site.metrics}{path}").status_code
        for path in ("/", "/metrics", "/healthz", "/v1/authorize", "/status", "/accounts", "/metrics/")
    }
    assert statuses == dict.fromkeys(statuses, 404) | {"/metrics": 200}
    assert httpx.post(f"{site.metrics}/metrics").status_code == 405
    assert httpx.head(f"{site.metrics}/metrics").status_code == 200
    assert httpx.get(f"{node.url}/metrics").status_code == 404
    port = int(site.metrics.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_the_admin_socket_shows_the_same(busy: tuple[Node, BusySite]) -> None:
    node, site = busy
    with admin_client(node.data) as client:
        answer = client.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    here, there = Scraped(answer.text), site.scraped()
    assert [each.name for each in here.families] == [each.name for each in there.families]
    assert here.of("usher_decisions_total") == there.of("usher_decisions_total")


def test_a_port_that_is_taken_is_said_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = Node(tmp_path / "data", "--log", "ledger", "--metrics", f"127.0.0.1:{port}")
        with pytest.raises(AssertionError, match="choose another --metrics"):
            node.start()
        node.kill()


# --- under load -----------------------------------------------------------------------------------------------------


def test_what_is_read_while_many_ask_only_rises_and_is_all_of_it_in_the_end(node: Node) -> None:
    account = node.create_account("asked by many")
    cdn = str(account.cdn)

    def ask() -> None:
        with node.connect() as site:
            for _ in range(_EACH):
                assert site.authorize(account, key="k", password="p")[0] == 200

    read: list[float] = []
    with admin_client(node.data) as client, ThreadPoolExecutor(_THREADS) as threads:
        asking = [threads.submit(ask) for _ in range(_THREADS)]
        while not all(each.done() for each in asking):
            read.append(Scraped(client.get("/metrics").text).of("usher_decisions_total", cdn=cdn))
        for each in asking:
            each.result()
        in_the_end = scraped_by(client)

    assert read == sorted(read)
    assert in_the_end.of("usher_decisions_total", cdn=cdn) == _THREADS * _EACH
    assert in_the_end.of("usher_http_request_seconds_count", route="/v1/authorize") >= _THREADS * _EACH
    assert in_the_end.of("usher_batch_operations_sum") >= _THREADS * _EACH


# --- through a node's life ------------------------------------------------------------------------------------------


def test_a_restart_begins_at_zero_and_without_a_log_nothing_of_one_is_shown(tmp_path: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    flags = ("--log", "ledger", "--metrics", metrics)
    with running_node(tmp_path / "data", *flags) as node, node.connect() as site:
        account = node.create_account("acme")
        for _ in range(3):
            site.authorize(account, key="k", password="p")
        before = scraped(f"http://{metrics}")
    with running_node(tmp_path / "data", *flags):
        after = scraped(f"http://{metrics}")

    assert (before.of("usher_decisions_total"), after.of("usher_decisions_total")) == (3, 0)
    # What stands in the ledger stands.
    assert (before.of("usher_pending_attempts"), after.of("usher_pending_attempts")) == (3, 3)
    shown = {family.name for family in after.families}
    assert shown & {each.name.removesuffix("_total") for each in FAMILIES if each.needs_log} == set()


def test_a_low_disk_is_seen_and_what_it_puts_off_is_busy_and_nothing_else(tmp_path: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    flags = ("--log", "ledger", "--metrics", metrics, "--free-bytes-min", str(10**15))
    with running_node(tmp_path / "data", *flags) as node, node.connect() as site:
        account = node.create_account("acme")
        for _ in range(4):
            assert site.authorize(account, key="k", password="p")[0] == 503
        assert site.call(account, "sevu.request", app="*", video="*", ip="auto", uses=1, password="p")["code"] == 1000
        assert site.request("GET", "/readyz")[0] == 503
        seen = scraped(f"http://{metrics}")

    assert seen.by("usher_busy_total", "route") == {("/v1/authorize",): 4, ("/stable",): 1}
    assert seen.of("usher_decisions_total") == 0
    assert [each.name for each in seen.samples if each.name == "usher_bad_requests_total"] == []
    assert seen.by("usher_faults_total", "error") == {}
    assert [seen.of(f"usher_{name}") for name in ("ready", "takes_starts")] == [0, 0]
    assert seen.of("usher_disk_free_bytes") < seen.of("usher_disk_free_bytes_min") == 10**15
