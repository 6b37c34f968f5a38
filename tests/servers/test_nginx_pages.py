"""What nginx tells browsers whose page is on another host than the media: CORS, preflights, certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Node
from tests.servers.guarded import LIVE, Answer, Site, guarded

pytestmark = pytest.mark.client

PAGE = "https://www.publisher.example"
# Longer than a name in a map of nginx may be by default.
LONG_PAGE = f"https://{'long-' * 12}name.{'sub.' * 20}publisher.example:8443"
ALLOWED = {
    "access-control-allow-origin": PAGE,
    "access-control-allow-credentials": "true",
    "access-control-expose-headers": "X-Usher-Reason, Retry-After",
    "vary": "Origin",
}


def cors(answer: Answer) -> dict[str, str]:
    return {n: value for n, value in answer.headers.items() if n.startswith("access-control-") or n == "vary"}


@pytest.fixture(scope="module")
def site(node: Node, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    origins = (f"cors_origin={PAGE}", f"cors_origin={LONG_PAGE}")
    with guarded(node, media, tmp_path_factory.mktemp("nginx"), *origins, name="pages") as opened:
        yield opened


def test_a_page_may_read_answers_and_refusals_alike(site: Site) -> None:
    ticket = site.ticket()
    wrong = {**ticket, "pass": "wrong"}
    for url, status in (
        (site.in_path(wrong, LIVE), 403),
        (site.in_query(wrong, LIVE), 403),
        (site.in_path(ticket, LIVE), 200),
        (site.in_query(ticket, LIVE), 200),
        (site.in_path(ticket, "live/cam1/absent.ts"), 404),
        ("live/cam1/%0a/index.m3u8", 400),
        (f"t/{ticket['key']}/x", 404),
    ):
        answer = site.get(url, Origin=PAGE)
        assert (answer.status, cors(answer)) == (status, ALLOWED), url
    # What the locations say besides is still said.
    assert site.get(site.in_path(wrong, LIVE), Origin=PAGE).headers["x-usher-reason"] == "Invalid Auth Token"
    played = site.get(site.in_query(ticket, LIVE), Origin=PAGE).headers
    assert (played["cache-control"], "set-cookie" in played) == ("private, no-cache", True)
    assert site.get(site.in_path(ticket, LIVE), Origin=LONG_PAGE).headers["access-control-allow-origin"] == LONG_PAGE


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        f"{PAGE}.evil.example",
        PAGE.replace("https", "http"),
        "https://wwwxpublisher.example",
    ],
)
def test_no_other_page_may(origin: str, site: Site) -> None:
    ticket = site.ticket(uses=0)
    for method in ("GET", "OPTIONS"):
        headers = cors(site.get(site.in_path(ticket, LIVE), method=method, Origin=origin))
        assert "access-control-allow-origin" not in headers
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("way", [Site.in_path, Site.in_query])
def test_a_preflight_is_answered_and_costs_nothing(way: Callable[[Site, dict[str, Any], str], str], site: Site) -> None:
    ticket = site.ticket()
    wanted = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "range,x-player"}
    for asked in (ticket, {**ticket, "pass": "wrong"}):
        answer = site.get(way(site, asked, LIVE), method="OPTIONS", Origin=PAGE, **wanted)
        assert (answer.status, answer.body) == (204, b"")
        assert cors(answer) == ALLOWED | {
            "access-control-allow-headers": "range,x-player",
            "access-control-max-age": "7200",
        }
    assert site.counts(ticket) == (0, 0)
    assert site.get(way(site, ticket, LIVE), Origin=PAGE).status == 200


def test_while_usher_is_away_the_page_is_told_so(media: Path, tmp_path: Path) -> None:
    node = Node(tmp_path / "data", "--log", "ledger").start()
    try:
        with guarded(node, media, tmp_path / "nginx", f"cors_origin={PAGE}") as site:
            ticket = site.ticket()
            node.kill()
            answer = site.get(site.in_path(ticket, LIVE), Origin=PAGE)
            assert (answer.status, answer.headers["retry-after"], cors(answer)) == (503, "1", ALLOWED)
    finally:
        node.stop()


def test_any_page_may_where_that_is_said_but_not_with_cookies(node: Node, media: Path, tmp_path: Path) -> None:
    with guarded(node, media, tmp_path / "nginx", "cors_origin=*", f"cors_origin={PAGE}", name="any") as site:
        ticket = site.ticket()
        any_page, named = (site.get(site.in_path(ticket, LIVE), Origin=each) for each in ("https://any.example", PAGE))

    assert any_page.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in any_page.headers
    assert cors(named) == ALLOWED


def test_without_the_option_no_header_says_anything_about_pages(node: Node, media: Path, tmp_path: Path) -> None:
    with guarded(node, media, tmp_path / "nginx", name="plain") as site:
        ticket = site.ticket()
        answer = site.get(site.in_path(ticket, LIVE), Origin=PAGE)
        assert (answer.status, cors(answer)) == (200, {})
        assert site.get(site.in_path(ticket, LIVE), method="OPTIONS", Origin=PAGE).status == 405
