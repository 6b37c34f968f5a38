"""A stand-in for Traefik, which cannot run here: it reads the configuration that Usher prints, and asks and fetches as
Traefik does. `python traefikstandin.py FILE PORT TRUSTED-NET…`

After its source, v3: pkg/middlewares/forwardedheaders (what an entry point takes from whom), headers (an empty value
takes a header away), auth/forward.go (writeHeader, buildModifier), replacepathregex. Paths are Go's: net/url escapes
what may not stand in one, and refuses what it cannot read.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

X_HEADERS = ("x-forwarded-for", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-host", "x-forwarded-proto",
             "x-forwarded-port", "x-forwarded-server", "x-forwarded-prefix", "x-real-ip")  # fmt: skip
HOP_BY_HOP = ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
              "transfer-encoding", "upgrade", "proxy-connection", "expect", "content-length")  # fmt: skip
Fields = dict[str, list[str]]


class Settings:
    """What stands in the printed file. Nothing else of YAML is read than its lines, which are ours."""

    def __init__(self, text: str) -> None:
        def one(pattern: str) -> str:
            found = re.search(pattern, text)
            assert found is not None, pattern
            return found[1]

        self.ask = urlsplit(one(r'address: "([^"]+)"'))
        self.trusts_forwarded = one(r"trustForwardHeader: (\w+)") == "true"
        self.asked_headers = [name.strip().lower() for name in one(r"authRequestHeaders: \[([^]]+)\]").split(",")]
        self.cookie = one(r"addAuthCookiesToResponse: \[ (\w+) \]")
        self.cut = re.compile(one(r'replacePathRegex: \{ regex: "([^"]+)"'))
        self.origin = urlsplit(one(r'servers: \[ \{ url: "([^"]+)"'))
        self.taken_away = [name.lower() for name in re.findall(r'^ +([\w-]+): ""$', text, re.MULTILINE)]
        self.cache_control = one(r'Cache-Control: "([^"]+)"')
        self.methods = re.findall(r"Method\(`(\w+)`\)", text)
        assert "[ usher-before, usher-ask, usher-cut, usher-after ]" in text


def handler_of(settings: Settings, trusted: list[str]) -> type[BaseHTTPRequestHandler]:
    nets = [ipaddress.ip_network(net) for net in trusted]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self.close_connection |= self.headers.get("Transfer-Encoding") is not None
            fields: Fields = {}
            for name, value in self.headers.items():
                fields.setdefault(name.lower(), []).append(value)
            uri = escaped(self.path)
            if uri is None:
                self.answer(400, [], b"")
            elif self.command not in settings.methods:
                self.answer(404, [], b"404 page not found\n")
            else:
                self.serve(uri, fields)

        def serve(self, uri: str, fields: Fields) -> None:
            peer = self.client_address[0]
            # The entry point.
            if not any(ipaddress.ip_address(peer) in net for net in nets):
                for name in X_HEADERS:
                    fields.pop(name, None)
            if "x-forwarded-for" in fields:
                fields["x-forwarded-for"] = [", ".join(fields["x-forwarded-for"])]
            # usher-before
            for name in settings.taken_away:
                fields.pop(name, None)
            # usher-ask
            try:
                status, said, body = fetch(settings.ask.netloc, "GET", settings.ask.path, self.asked(uri, fields, peer))
            except (OSError, http.client.HTTPException):
                self.answer(500, [], b"")
                return
            if not 200 <= status < 300:
                self.answer(status, [pair for pair in said if pair[0].lower() not in HOP_BY_HOP], body)
                return
            cookies = [("Set-Cookie", value) for name, value in said if name.lower() == "set-cookie"]
            cookies = [pair for pair in cookies if pair[1].partition("=")[0] == settings.cookie]
            # usher-cut
            path, mark, query = uri.partition("?")
            if settings.cut.search(path):
                fields["x-replaced-path"] = [path]
                path = settings.cut.sub("/", path)
            # usher-after
            for name in settings.taken_away:
                fields.pop(name, None)
            kept = [(n, value) for n, values in fields.items() if n not in HOP_BY_HOP for value in values]
            status, said, body = fetch(settings.origin.netloc, self.command, path + mark + query, kept)
            own = [("Cache-Control", settings.cache_control), ("Referrer-Policy", "no-referrer")]
            kept = [(n, v) for n, v in said if n.lower() not in (*HOP_BY_HOP, "cache-control", "referrer-policy")]
            self.answer(status, [*kept, *cookies, *own], body)

        def asked(self, uri: str, fields: Fields, peer: str) -> list[tuple[str, str]]:
            """forward.go's writeHeader."""
            named = {name: list(values) for name, values in fields.items()}
            for name in [part.strip().lower() for line in fields.get("connection", []) for part in line.split(",")]:
                if name not in X_HEADERS:
                    named.pop(name, None)
            allowed = [*settings.asked_headers, *(X_HEADERS if settings.trusts_forwarded else ())]
            sent = {name: values for name, values in named.items() if name in allowed and name not in HOP_BY_HOP}
            sent["x-forwarded-for"] = [", ".join([*sent.get("x-forwarded-for", []), peer])]
            sent.setdefault("x-forwarded-method", [self.command])
            sent.setdefault("x-forwarded-proto", ["http"])
            sent.setdefault("x-forwarded-host", [self.headers.get("Host", "")])
            sent.setdefault("x-forwarded-uri", [uri])
            return [(name.title(), value) for name, values in sent.items() for value in values]

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def escaped(target: str) -> str | None:
    """What net/url's RequestURI makes of a request's target; None for one that it does not parse."""
    target = re.sub(r"^https?://[^/?]*", "", target)
    path, mark, query = target.partition("?")
    if not path.startswith("/") or re.search(r"%(?![0-9A-Fa-f]{2})", path):
        return None
    # A path that is no valid encoding is encoded anew, decoded once.
    return quote(path, safe="/%$&+,:;=@!'()*[]~") + mark + query


def fetch(
    address: str, method: str, target: str, headers: list[tuple[str, str]]
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", address), *(pair for pair in headers if pair[0].lower() != "host")]:
            connection.putheader(name, value)
        connection.endheaders()
        found = connection.getresponse()
        return found.status, found.getheaders(), found.read()
    finally:
        connection.close()


if __name__ == "__main__":
    settings = Settings(Path(sys.argv[1]).read_text())
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), handler_of(settings, sys.argv[3:])).serve_forever()
