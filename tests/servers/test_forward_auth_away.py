"""Servers that ask for each file: what they ask, where Usher does not answer, and where a CDN stands before them."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.nodes import Node
from tests.servers.askedusher import AskedUsher, asked_usher
from tests.servers.fronts import FRONTS, Front, Origin, fronted
from tests.servers.guarded import LIVE, Site
from tests.servers.ports import free_port

pytestmark = pytest.mark.client

SEGMENT = "live/cam1/segment000.ts"
TRUSTED = ("trusted_proxy=127.0.0.2", "trusted_proxy=127.0.0.16/28", "trusted_proxy=2001:db8::/32")


@contextmanager
def beside(
    front: Front, node: Node, media: Path, origin: Origin, folder: Path, *options: str
) -> Iterator[tuple[Site, AskedUsher]]:
    """A server of the front's kind that asks a stand-in, and has less patience than with the real one."""

    def impatient(snippet: str) -> str:
        assert front.patience[0] in snippet
        return snippet.replace(*front.patience)

    with (
        asked_usher() as told,
        fronted(front, node, media, origin, folder, f"usher={told.address}", *options, changed=impatient) as site,
    ):
        yield site, told


def test_busy_silent_or_away_is_said_to_the_viewer_who_may_try_again(
    front: Front, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with beside(front, node, media, origin, tmp_path / front.kind) as (site, told):
        assert site.get(f"/t/k/p/{LIVE}").status == 200
        told.status, told.headers = 503, {"Retry-After": "1"}
        busy = site.get(f"/t/k/p/{LIVE}")
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        # Whatever else comes is no yes.
        for status in (204, 206, 302, 304, 401, 404, 429, 431, 500, 502):
            told.status, told.headers = status, {}
            assert (b"EXTM3U" in site.get(f"/t/k/p/{LIVE}").body) == (status in front.yes), status
        told.status = 200
        if front.patience[0]:
            told.speaks.clear()
            silent = site.get(f"/t/k/p/{LIVE}")
            assert (silent.status, silent.headers["retry-after"]) == (503, "1")
            told.speaks.set()
        assert site.get(f"/t/k/p/{LIVE}").status == 200
        told.stop()
        away = site.get(f"/t/k/p/{LIVE}")
        assert (away.status, away.headers.get("retry-after")) == (front.away, "1" if front.away == 503 else None)
        assert site.get(f"/{LIVE}?key=k&pass=p").status == front.away
    assert not has_logged_a_pass(tmp_path / front.kind)


def has_logged_a_pass(folder: Path) -> bool:
    logs = "".join(file.read_text(errors="replace") for file in folder.glob("*.log"))
    return "/t/k/p" in logs or "pass=p" in logs


@pytest.mark.parametrize("kind", [front.kind for front in FRONTS.values() if front.can_open])
def test_an_open_edge_lets_everybody_in_while_usher_gives_no_answer(
    kind: str, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with beside(FRONTS[kind], node, media, origin, tmp_path / kind, "on_failure=open") as (site, told):
        told.status, told.headers = 403, {"X-Usher-Reason": "No Session"}
        refused = site.get(f"/t/k/p/{LIVE}")
        assert (refused.status, refused.headers["x-usher-reason"]) == (403, "No Session")
        told.status, told.headers = 503, {"Retry-After": "1"}
        assert b"EXTM3U" in site.get(f"/t/k/p/{LIVE}").body
        told.speaks.clear()
        assert b"EXTM3U" in site.get(f"/{LIVE}?key=k&pass=p").body
        told.speaks.set()
        told.stop()
        assert b"EXTM3U" in site.get(f"/t/k/p/{LIVE}").body
    assert not has_logged_a_pass(tmp_path / kind)


def test_a_viewer_is_where_the_last_untrusted_proxy_says(
    front: Front, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with fronted(front, node, media, origin, tmp_path / front.kind, *TRUSTED) as site:
        ticket = site.ticket(ip="192.0.2.1", uses=0)
        query = site.in_query(ticket, LIVE)
        for source, forwarded, status in (
            ("127.0.0.2", "192.0.2.1", 200),
            ("127.0.0.2", "203.0.113.7, 192.0.2.1", 200),
            ("127.0.0.2", "192.0.2.1, 127.0.0.17", 200),
            ("127.0.0.30", "192.0.2.1,2001:db8::7 ,  127.0.0.17", 200),
            ("127.0.0.2", "192.0.2.1, 203.0.113.7", 403),
            ("127.0.0.2", "192.0.2.1, 203.0.113.7, 127.0.0.17", 403),
            ("127.0.0.2", "192.0.2.1, nonsense", 403),
            ("127.0.0.2", "192.0.2.1:4711, 203.0.113.7", 403),
            # No proxy of ours.
            ("127.0.0.3", "192.0.2.1", 403),
            ("127.0.0.3", "192.0.2.1, 127.0.0.2", 403),
            ("127.0.0.32", "192.0.2.1", 403),
        ):
            answer = site.get(query, source=source, X_Forwarded_For=forwarded)
            assert answer.status == status, (source, forwarded, answer.headers)
        assert site.get(query, source="127.0.0.2").status == 403
        twice = {"X_Forwarded_For": "192.0.2.1", "x-forwarded-for": "203.0.113.7"}
        assert site.get(query, source="127.0.0.2", **twice).status == 403
        mine = site.ticket(ip="192.0.2.1", uses=0, video="cam1")
        for header in ("X-Forwarded-Uri", "X-Original-Uri", "X-Real-IP", "X-Forwarded-Method"):
            forged = {header: f"/t/{mine['key']}/{mine['pass']}/{LIVE}"}
            answer = site.get("live/secret/index.m3u8", source="127.0.0.2", X_Forwarded_For="192.0.2.1", **forged)
            assert answer.status == 403, header
        # The next request of a connection may be another viewer's.
        connection = http.client.HTTPConnection(*site.address, timeout=20, source_address=("127.0.0.2", 0))
        for forwarded, status in (("192.0.2.1", 200), ("203.0.113.7", 403), ("192.0.2.1", 200)):
            connection.request("GET", query.removeprefix(site.url), headers={"X-Forwarded-For": forwarded})
            answered = connection.getresponse()
            answered.read()
            assert answered.status == status
        connection.close()


def test_what_is_asked_and_what_is_answered(
    front: Front, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with beside(front, node, media, origin, tmp_path / front.kind) as (site, told):
        told.headers = {"Set-Cookie": "usher_00000000=a.b; Path=/live/cam1/"}
        sent = {"Cookie": "a=b", "Referer": "https://site/", "Range": "bytes=0-3", "Authorization": "Bearer forged"}
        answers = [site.get(target, **sent) for target in (f"/t/k/p%7C1/{LIVE}", f"/{LIVE}?key=k&_HLS_msn=7&pass=p")]
        (tmp_path / "asked.txt").write_text("\n\n".join(told.asked))
        for answer in answers:
            assert (answer.status, answer.body) == (206, b"#EXT")
        # With the ticket in the path there is none to hand on.
        assert answers[1].headers["set-cookie"] == told.headers["Set-Cookie"]
        for asked in map(str.lower, told.asked):
            assert all(line in asked for line in ("cookie: a=b", "user-agent: player", "referer: https://site/")), asked
            assert not any(name in asked for name in ("forged", "range:")), asked


@pytest.mark.parametrize("kind", ["caddy", *(front.kind for front in FRONTS.values() if front.has_origin)])
def test_the_origin_is_asked_for_the_file_and_sees_no_pass(
    kind: str, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with asked_usher() as behind, ExitStack() as stack:

        def changed(snippet: str) -> str:
            # As its page says that it may be.
            return snippet.replace("\t\tfile_server\n", f"\t\treverse_proxy {behind.address}\n")

        there = Origin(behind.address, origin.log)
        site = stack.enter_context(fronted(FRONTS[kind], node, media, there, tmp_path / kind, changed=changed))
        ticket = site.ticket(password="a-pass-to-look-for", uses=0)
        for url in (
            site.in_path(ticket, LIVE),
            f"{site.in_query(ticket, LIVE)}&_HLS_msn=7",
            site.in_path(ticket, LIVE),
        ):
            assert site.get(url).status == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert site.get(site.in_path(ticket, LIVE), method=method).status in (404, 405), method

    first, query, last = behind.asked
    fetched = [asked.partition(" HTTP")[0] for asked in behind.asked]
    assert (fetched[0], fetched[2]) == (f"GET /{LIVE}",) * 2
    assert (fetched[1] == f"GET /{LIVE}?_HLS_msn=7") == FRONTS[kind].cuts_query
    for asked in (first, query, last) if FRONTS[kind].cuts_query else (first, last):
        assert "a-pass-to-look-for" not in asked
        assert ticket["key"] not in asked


@pytest.mark.parametrize(("on_failure", "status"), [("closed", 503), ("open", 200)])
def test_nobody_waits_for_a_node_that_haproxy_knows_to_be_away(
    on_failure: str, status: int, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with beside(FRONTS["haproxy"], node, media, origin, tmp_path, f"on_failure={on_failure}") as (site, told):
        told.stop()
        deadline = time.monotonic() + 20
        waited_s = 1.0
        while waited_s > 0.2 and time.monotonic() < deadline:
            began = time.monotonic()
            assert site.get(f"/t/k/p/{LIVE}").status == status
            waited_s = time.monotonic() - began

        assert waited_s <= 0.2


def test_haproxy_asks_for_the_path_of_a_whole_url_too(node: Node, media: Path, origin: Origin, tmp_path: Path) -> None:
    """As it has them all from HTTP/2."""
    with fronted(FRONTS["haproxy"], node, media, origin, tmp_path) as site:
        ticket = site.ticket(password="plain")
        answer = site.raw(site.in_path(ticket, LIVE))

    assert b"EXTM3U" in answer


HTTP_2 = {
    "caddy": ("\tlog default {", "\tservers {\n\t\tprotocols h1 h2c\n\t}\n\tlog default {"),
    "envoy": ("", ""),
    "haproxy": ("    bind 127.0.0.1:{port}\n", "    bind 127.0.0.1:{port} proto h2\n"),
}


@pytest.mark.parametrize("kind", HTTP_2)
def test_over_http_2_a_view_is_the_same(kind: str, node: Node, media: Path, origin: Origin, tmp_path: Path) -> None:
    """Its URLs come in parts, and its cookies one by one."""

    def speaking_http_2(snippet: str) -> str:
        old, new = HTTP_2[kind]
        port = re.search(r"bind 127.0.0.1:(\d+)", snippet)
        old, new = (text.replace("{port}", port[1] if port else "") for text in (old, new))
        assert old in snippet
        return snippet.replace(old, new, 1) if old else snippet

    with fronted(FRONTS[kind], node, media, origin, tmp_path / kind, changed=speaking_http_2) as site:

        def get(url: str, *headers: str) -> str:
            sent = [argument for header in headers for argument in ("-H", header)]
            command = ["curl", "-sS", "-i", "--path-as-is", "--http2-prior-knowledge", "-m", "10", *sent, url]
            return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout.decode("latin-1")

        ticket = site.ticket(video="cam1", uses=0)
        assert "EXTM3U" in get(site.in_path(ticket, LIVE))
        first = get(site.in_query(ticket, LIVE))
        cookie = re.search(r"set-cookie: ([^;]+)", first)
        assert first.startswith("HTTP/2 200")
        assert cookie is not None
        for cookies in ((cookie[1], "theme=dark"), ("theme=dark", cookie[1], "a=b")):
            headers = [f"Cookie: {each}" for each in cookies]
            assert get(f"{site.url}/live/cam1/segment001.ts", *headers).startswith("HTTP/2 200"), cookies
            assert "not a byte" not in get(f"{site.url}/live/cam1/../secret/index.m3u8", *headers)
        assert "x-usher-reason: Invalid IP Address" in get(
            site.in_path(site.ticket(ip="192.0.2.1"), LIVE), "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1"
        )


def test_who_watches_goes_on_once_a_killed_node_is_back(media: Path, origin: Origin, tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger", "--port", str(free_port())).start()
    try:
        with ExitStack() as stack:
            sites = {
                kind: stack.enter_context(fronted(front, node, media, origin, tmp_path / kind))
                for kind, front in FRONTS.items()
            }
            tickets = {kind: site.ticket() for kind, site in sites.items()}
            for kind, site in sites.items():
                assert site.get(site.in_path(tickets[kind], LIVE)).status == 200
            node.kill()
            for kind, site in sites.items():
                assert site.get(site.in_path(tickets[kind], SEGMENT)).status == FRONTS[kind].away
            node.start()
            for kind, site in sites.items():
                deadline = time.monotonic() + 10
                while site.get(site.in_path(tickets[kind], SEGMENT)).status != 200:
                    assert time.monotonic() < deadline, kind
                    time.sleep(0.05)
                assert site.counts(tickets[kind]) == (1, 0)
    finally:
        node.stop()
