"""What the doors of servers that ask for each file read of a question, without a server."""

from __future__ import annotations

import re
from typing import Any

import pytest

from openusher.errors import InvalidParameter
from openusher.model.account import Edge
from openusher.model.edge import OPTIONS, EdgeKind, checked_options
from openusher.model.limits import URL_BYTES_MAX
from openusher.web.asgi import Respond
from openusher.web.edges.caddy import CaddySkin
from openusher.web.edges.endpoint import Call, EdgeEndpoint
from openusher.web.edges.envoy import EnvoySkin
from openusher.web.edges.forward import Skin
from openusher.web.edges.haproxy import HaproxySkin
from openusher.web.edges.nginx import NginxSkin
from openusher.web.edges.snippets import TOKEN_PLACE, snippet_of
from openusher.web.edges.tickets import carried_ticket, served_path
from openusher.web.edges.traefik import TraefikSkin
from openusher.web.edges.viewer import viewer_of
from openusher.web.observed import begun
from tests.golden.forward_requests import ASKED, Asked

SKINS: dict[str, Skin] = {
    skin.kind: skin for skin in (NginxSkin(), EnvoySkin(), CaddySkin(), HaproxySkin(), TraefikSkin())
}


def edge_of(kind: str, **options: str) -> Edge:
    return Edge(number=1, cdn=158, name="media", token_digest="", kind=kind, options=options)


# What they ask


class Listening:
    """A door that keeps what it is handed."""

    method = "GET"

    def __init__(self, kind: str) -> None:
        self.kind = EdgeKind(kind)
        self.call: Call | None = None

    def ask(self, call: Call, answer: Respond) -> None:
        self.call = call

    def refused(self, error: Exception) -> Any:
        raise error


class Tokens:
    """Stands for the application, which knows one edge by its token."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def edge(self, token: str) -> Edge:
        assert token == "TOKEN"
        return self._edge

    def is_served(self, cdn: int) -> bool:
        return cdn == self._edge.cdn


@pytest.mark.parametrize("asked", ASKED, ids=[f"{asked.kind}-{number}" for number, asked in enumerate(ASKED)])
def test_a_question_is_read_as_the_server_means_it(asked: Asked) -> None:
    first, *lines = asked.head.splitlines()
    method, target, _ = first.split(" ")
    headers = [(name.lower().encode(), value.encode()) for name, _, value in (line.partition(": ") for line in lines)]
    listening = Listening(asked.kind)
    usher: Any = Tokens(edge_of(asked.kind, trusted_proxy=asked.trusted))
    endpoint = EdgeEndpoint(usher, listening, request_s_max=1)
    endpoint.ask(target, headers, b"", lambda *_: None, begun(method, None))
    assert listening.call is not None
    viewed = SKINS[asked.kind].read(listening.call)

    assert (viewed.target, viewed.method, viewed.ip) == (asked.target, asked.method, asked.ip)


@pytest.mark.parametrize("kind", SKINS)
def test_a_question_without_a_header_that_it_rests_on_is_none(kind: str) -> None:
    for asked in (asked for asked in ASKED if asked.kind == kind):
        lines = [line.partition(": ") for line in asked.head.splitlines()[1:]]
        all_headers = {name.lower().encode(): value.encode() for name, _, value in lines}
        needed = {b"x-real-ip", b"x-original-uri", b"x-original-path", b"x-forwarded-for", b"x-forwarded-uri",
                  b"x-forwarded-method"} & set(all_headers)  # fmt: skip
        for name in needed:
            headers = {other: value for other, value in all_headers.items() if other != name}
            with pytest.raises(KeyError):
                SKINS[kind].read(Call(edge=edge_of(kind), method="GET", target=asked.target, headers=headers, body=b""))


# Which file is meant


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/live/cam1/index.m3u8", "/live/cam1/index.m3u8"),
        ("/live/cam1/index.m3u8?key=k&pass=p?/../x", "/live/cam1/index.m3u8"),
        ("/t/k/p%7C1/live/cam1/index.m3u8?x=//..", "/live/cam1/index.m3u8"),
        ("/t/k/~cC8x/live/a%20b/%C3%A9.m3u8", "/live/a b/é.m3u8"),
        ("/t/k/p/vod/100%25%20why%3f%20%231.mp4", "/vod/100% why? #1.mp4"),
        ("/t/k/p/t/k/p/live/x.ts", "/t/k/p/live/x.ts"),
        ("/t/k/p", "/t/k/p"),
        # A server that looks for /t/ in the raw path finds none.
        ("/%74/k/p/live/x.ts", "/t/k/p/live/x.ts"),
    ],
)
def test_the_file_behind_the_ticket_is_read_once_decoded(target: str, path: str) -> None:
    assert served_path(target, carried_ticket(target)) == path


@pytest.mark.parametrize(
    "target",
    [
        "/live/cam1/../cam2/x.ts",
        "/t/k/p/live/cam1/%2e%2e/cam2/x.ts",
        "/t/k/p//live/x.ts",
        "/t//k/p/live/x.ts",
        "//t/k/p/live/x.ts",
        "/t/k%2fp/live/cam1/live/x.ts",
        "/t/k/p%2Flive/x.ts",
        "/t/../t/k/p/live/x.ts",
        "/t/k/../live/x.ts",
        "/t/k/%2e%2e/live/x.ts",
        "/t/./k/live/x.ts",
        "/t/k/p%5c/live/x.ts",
        "/t/k/p%0a/live/x.ts",
        "/t/k/p%252e/live/x.ts",
        "/t/k/..;/live/x.ts",
        "/live/x.ts#/live/y.ts",
        "/live/%00.ts",
        "/live/%c0%ae%c0%ae/x.ts",
        "/live/%zz.ts",
        "live/x.ts",
        "http://x/live/x.ts",
        "*",
        "",
        "/" + "x" * URL_BYTES_MAX,
    ],
)
def test_what_servers_read_in_different_ways_is_no_file(target: str) -> None:
    with pytest.raises(InvalidParameter):
        served_path(target, carried_ticket(target))


# Where the viewer is


@pytest.mark.parametrize(
    ("forwarded_for", "ip"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.7, 192.0.2.1", "192.0.2.1"),
        ("203.0.113.7,192.0.2.1 ,10.0.0.1,\t10.255.0.1", "192.0.2.1"),
        ("192.0.2.1, 2001:db8::7, 10.0.0.1", "192.0.2.1"),
        ("nonsense, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("192.0.2.1:4711, 10.0.0.1", "192.0.2.1"),
        ("[2001:db9::1]:4711, 10.0.0.1", "2001:db9::1"),
        ("[2001:db9::1], 10.0.0.1", "2001:db9::1"),
        ("2001:db9::1, 10.0.0.1", "2001:db9::1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_viewer_is_at_the_right_most_address_that_is_no_trusted_proxys(forwarded_for: str, ip: str) -> None:
    edge = edge_of("caddy", trusted_proxy="10.0.0.0/8\n2001:db8::/32")

    assert viewer_of(forwarded_for, edge) == ip


@pytest.mark.parametrize("forwarded_for", ["", "192.0.2.1, ", "192.0.2.1, unknown", "192.0.2.1, nonsense, 10.0.0.1",
                                           "192.0.2.1, , 10.0.0.1", "192.0.2.1, 10.0.0.1, _hidden"])  # fmt: skip
def test_where_no_address_stands_nobody_further_left_is_believed(forwarded_for: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        viewer_of(forwarded_for, edge_of("caddy", trusted_proxy="10.0.0.0/8"))


def test_without_a_trusted_proxy_the_last_address_is_the_viewers() -> None:
    assert viewer_of("192.0.2.1, 10.0.0.1", edge_of("haproxy")) == "10.0.0.1"


# How it is set


@pytest.mark.parametrize("kind", [kind for kind in EdgeKind if kind in SKINS])
def test_a_configuration_has_no_place_left_open(kind: EdgeKind) -> None:
    filled = {name: option.words[-1] if option.words else "" for name, option in OPTIONS[kind].items()}
    everything = {name: value for name, value in filled.items() if value} | {
        "trusted_proxy": "192.0.2.0/24\n2001:db8::1",
        "recheck_s": "3",
        "server_name": "media.example.com",
        "bind": "::1",
    }
    for options in ({}, {name: value for name, value in everything.items() if name in OPTIONS[kind]}):
        text = snippet_of(edge_of(kind, **options))

        assert TOKEN_PLACE in text
        assert "\n@" not in text.replace("@usher_busy", "")
        assert not any(f"@{word}@" in text for word in ("end", "token", "trusted", "usher", "listen"))
        assert ("2001:db8::1" in text) == ("trusted_proxy" in options and kind != EdgeKind.HAPROXY)


@pytest.mark.parametrize(("keepalive", "expected"), [("512", ["512"]), ("0", [])])
def test_nginx_keeps_as_many_connections_to_the_node_as_is_said(keepalive: str, expected: list[str]) -> None:
    text = snippet_of(edge_of(EdgeKind.NGINX, keepalive=keepalive))

    assert re.findall(r"^ +keepalive (\d+);$", text, re.MULTILINE) == expected


@pytest.mark.parametrize("kind", [EdgeKind.CADDY, EdgeKind.TRAEFIK, EdgeKind.NGINX_RTMP, EdgeKind.SRS])
def test_a_server_that_cannot_open_has_no_such_option(kind: EdgeKind) -> None:
    with pytest.raises(InvalidParameter, match=f"is no option of {kind}"):
        checked_options(kind, {"on_failure": ["open"]})


@pytest.mark.parametrize("value", ["8088", ":8088", "127.0.0.1", "127.0.0.1:", "a b:1", "127.0.0.1:8088/x", "::1:80"])
def test_an_address_is_given_with_its_port(value: str) -> None:
    assert checked_options(EdgeKind.ENVOY, {"usher": ["[::1]:8088"], "origin": ["media.local:80"]})
    with pytest.raises(InvalidParameter, match="give host:port"):
        checked_options(EdgeKind.ENVOY, {"usher": [value]})


@pytest.mark.parametrize("value", ["localhost:8088", "usher.example.com:8088"])
def test_haproxy_gets_the_nodes_address_since_its_lua_looks_up_no_names(value: str) -> None:
    assert checked_options(EdgeKind.HAPROXY, {"usher": ["[::1]:8088"], "origin": ["media.local:80"]})
    with pytest.raises(InvalidParameter, match="give an address and port"):
        checked_options(EdgeKind.HAPROXY, {"usher": [value]})


def test_a_query_that_begins_with_another_mark_has_no_key_as_in_the_servers_themselves() -> None:
    assert carried_ticket("/live/cam1/index.m3u8??key=k&pass=p")[:2] == ("", "p")
    assert carried_ticket("/live/cam1/index.m3u8?key=&key=k&pass=p&pass=q")[:2] == ("k", "p")
