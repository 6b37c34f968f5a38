"""What servers that ask for each file send, as it came from them, and what it says of the viewer.

Caddy 2.11.7, Envoy 1.40.0, HAProxy 2.6.12 and nginx 1.22.1 were listened to behind the configuration that Usher prints;
Traefik's are made after its source, v3, pkg/middlewares/auth/forward.go. TOKEN stands for the edge's.
"""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """A request's head, and the viewer's target, method and address that it tells of."""

    kind: str
    head: str
    target: str
    method: str
    ip: str
    # Whose word is taken for it.
    trusted: str = ""


IN_PATH, IN_QUERY = "/t/k/p%7C1/live/cam1/index.m3u8", "/live/cam1/index.m3u8?key=k&_HLS_msn=7&pass=p"

ASKED = [
    Asked(
        "caddy",
        """\
GET /v1/edges/caddy HTTP/1.1
Host: 127.0.0.1:51867
User-Agent: player
Accept-Encoding: identity
Authorization: Bearer TOKEN
Cookie: a=b
Referer: https://site/
Via: 1.1 Caddy
X-Forwarded-For: 127.0.0.1
X-Forwarded-Host: 127.0.0.1:51867
X-Forwarded-Method: GET
X-Forwarded-Proto: http
X-Forwarded-Uri: /t/k/p%7C1/live/cam1/index.m3u8
""",
        IN_PATH,
        "GET",
        "127.0.0.1",
    ),
    # Of its short form, forward_auth with `uri /e/TOKEN/caddy`: the viewer's query comes twice.
    Asked(
        "caddy",
        """\
GET /e/TOKEN/caddy?key=k&_HLS_msn=7&pass=p HTTP/1.1
Host: 127.0.0.1:29751
User-Agent: curl/7.88.1
Accept: */*
Cookie: a=b
Referer: https://site/
Via: 1.1 Caddy
X-Forwarded-For: 127.0.0.1
X-Forwarded-Host: 127.0.0.1:29751
X-Forwarded-Method: GET
X-Forwarded-Proto: http
X-Forwarded-Uri: /live/cam1/index.m3u8?key=k&_HLS_msn=7&pass=p
Accept-Encoding: gzip
""",
        IN_QUERY,
        "GET",
        "127.0.0.1",
    ),
    # Behind a trusted proxy.
    Asked(
        "caddy",
        """\
GET /v1/edges/caddy HTTP/1.1
Host: 127.0.0.1:51867
User-Agent: player
Authorization: Bearer TOKEN
Via: 1.1 Caddy
X-Forwarded-For: 192.0.2.1, 127.0.0.17, 127.0.0.2
X-Forwarded-Method: HEAD
X-Forwarded-Proto: http
X-Forwarded-Uri: /t/k/p%7C1/live/cam1/index.m3u8
""",
        IN_PATH,
        "HEAD",
        "192.0.2.1",
        trusted="127.0.0.0/8",
    ),
    Asked(
        "envoy",
        """\
GET /v1/edges/envoy/t/k/p%7C1/live/cam1/index.m3u8 HTTP/1.1
host: 127.0.0.1:46361
content-length: 0
x-real-ip: 127.0.0.1
referer: https://site/
cookie: a=b
user-agent: player
authorization: Bearer TOKEN
x-envoy-internal: true
x-envoy-expected-rq-timeout-ms: 300
""",
        IN_PATH,
        "GET",
        "127.0.0.1",
    ),
    # With the token in the prefix, which Envoy takes as well.
    Asked(
        "envoy",
        """\
HEAD /e/TOKEN/envoy/live/cam1/index.m3u8?key=k&_HLS_msn=7&pass=p HTTP/1.1
host: 127.0.0.1:46361
content-length: 0
x-real-ip: 2001:db8::7
user-agent: player
x-envoy-expected-rq-timeout-ms: 1000
""",
        IN_QUERY,
        "HEAD",
        "2001:db8::7",
    ),
    Asked(
        "haproxy",
        """\
GET /v1/edges/haproxy HTTP/1.1
user-agent: player
authorization: Bearer TOKEN
cookie: a=b
x-original-method: OPTIONS
x-original-uri: /t/k/p%7C1/live/cam1/index.m3u8
referer: https://site/
x-forwarded-for: 198.51.100.9, 127.0.0.1
host: 127.0.0.1:34927
accept: */*
""",
        IN_PATH,
        "OPTIONS",
        "127.0.0.1",
    ),
    Asked(
        "nginx",
        """\
GET /v1/edges/nginx HTTP/1.1
Authorization: Bearer TOKEN
X-Original-URI: /live/cam1/index.m3u8?key=k&_HLS_msn=7&pass=p
X-Original-Path: /live/cam1/index.m3u8
X-Original-Method: GET
X-Real-IP: 127.0.0.1
Host: usher
Accept-Encoding: identity
User-Agent: player
Cookie: a=b
Referer: https://site/
""",
        IN_QUERY,
        "GET",
        "127.0.0.1",
    ),
    Asked(
        "traefik",
        """\
GET /e/TOKEN/traefik HTTP/1.1
Host: 127.0.0.1:36659
User-Agent: player
Cookie: a=b
Referer: https://site/
X-Forwarded-For: 127.0.0.1
X-Forwarded-Host: media.example.com
X-Forwarded-Method: GET
X-Forwarded-Port: 443
X-Forwarded-Proto: https
X-Forwarded-Uri: /t/k/p%7C1/live/cam1/index.m3u8
Accept-Encoding: gzip
""",
        IN_PATH,
        "GET",
        "127.0.0.1",
    ),
    # trustForwardHeader, behind a trusted proxy: X-Forwarded-* of the viewer's that the proxy let through are gone.
    Asked(
        "traefik",
        """\
GET /e/TOKEN/traefik HTTP/1.1
Host: 127.0.0.1:36659
User-Agent: player
X-Forwarded-For: 203.0.113.7, 192.0.2.1, 127.0.0.17, 127.0.0.2
X-Forwarded-Host: media.example.com
X-Forwarded-Method: GET
X-Forwarded-Port: 443
X-Forwarded-Proto: https
X-Forwarded-Server: edge-1
X-Forwarded-Uri: /live/cam1/index.m3u8?key=k&_HLS_msn=7&pass=p
Accept-Encoding: gzip
""",
        IN_QUERY,
        "GET",
        "192.0.2.1",
        trusted="127.0.0.2\n127.0.0.16/28",
    ),
]
