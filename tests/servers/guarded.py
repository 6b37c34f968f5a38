"""Media behind a real nginx that asks a real node, by the very snippet that `usher edge create` prints."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import re
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.nodes import Node, usher_here
from tests.servers.nginx import running_nginx
from tests.servers.ports import free_port
from tests.servers.tls import Certificate
from tests.sevuclient import Account

# The media that conftest.py makes.
SECONDS = 20
LIVE, DASH, FILM = "live/cam1/index.m3u8", "live/dash1/manifest.mpd", "vod/film.mp4"
SECRET = b"not a byte of this without its ticket\n"

_numbers = itertools.count(1)


class Answer(NamedTuple):
    """What a viewer gets; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def cookie_of(answer: Answer) -> str:
    """The cookie that an answer sets, as a player sends it."""
    return answer.headers["set-cookie"].partition(";")[0]


class Server(Protocol):
    """What guards the media. All that it writes is in `folder`."""

    @property
    def folder(self) -> Path: ...


class Site:
    """A publisher's site: its node, its account, and the server that guards its media."""

    def __init__(self, node: Node, account: Account, server: Server, url: str, edge: int) -> None:
        self.node = node
        self.account = account
        self.server = server
        self.url = url
        self.edge = edge

    def ticket(
        self, *, video: str = "*", uses: int = 1, ip: str = "0.0.0.0/0", password: str = "", **more: Any
    ) -> dict[str, Any]:
        """Issue a ticket through the API."""
        # Two commands alike in one second have one signature.
        password = password or f"user|{next(_numbers)}"
        with self.node.connect() as connection:
            wanted = {"app": "*", "video": video, "pass": password, "ip": ip, "uses": uses, **more}
            reply = connection.call(self.account, "sevu.request", **wanted)
        assert reply["status"] == "success", reply
        ticket: dict[str, Any] = reply["ticket"]
        return ticket

    def revoke(self, ticket: dict[str, Any]) -> None:
        with self.node.connect() as connection:
            assert connection.call(self.account, "sevu.revoke", key=ticket["key"])["status"] == "success"

    def count(self, **filters: Any) -> int:
        """What `sevu.errorcount` says, refused and accepted attempts together unless told otherwise."""
        with self.node.connect() as connection:
            reply = connection.call(self.account, "sevu.errorcount", **filters)
        count: int = reply["error_count"]
        return count

    def counts(self, ticket: dict[str, Any]) -> tuple[int, int]:
        """How many of the ticket's attempts were accepted, and how many refused."""
        return self.count(key=ticket["key"], success=1), self.count(key=ticket["key"], success=0)

    def in_path(self, ticket: dict[str, Any], file: str) -> str:
        password = ticket["pass"]
        if set("/%") & set(password):
            sent = "~" + base64.urlsafe_b64encode(password.encode()).decode().rstrip("=")
        else:
            sent = urllib.parse.quote(password, safe="")
        return f"{self.url}/t/{ticket['key']}/{sent}/{file}"

    def in_query(self, ticket: dict[str, Any], file: str) -> str:
        return f"{self.url}/{file}?" + urllib.parse.urlencode({"key": ticket["key"], "pass": ticket["pass"]})

    def get(self, url: str, *, method: str = "GET", source: str = "127.0.0.1", **headers: str) -> Answer:
        """Ask as a player does, from the address `source`; `_` in a header's name stands for `-`.

        The URL is sent as it is written.
        """
        parts = urllib.parse.urlsplit(self.url)
        named = {"User-Agent": "player", **{name.replace("_", "-"): value for name, value in headers.items()}}
        target = url.removeprefix(self.url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=20, source_address=(source, 0)
        )
        try:
            connection.request(method, target if target.startswith("/") else f"/{target}", headers=named)
            found = connection.getresponse()
            return Answer(found.status, {n.lower(): v for n, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    @property
    def address(self) -> tuple[str, int]:
        parts = urllib.parse.urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    def raw(self, target: str, *headers: str) -> bytes:
        """All bytes of the answer to a GET of `target`, sent as it is written, even where no client would."""
        host, port = self.address
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}:{port}", "User-Agent: player", "Connection: close", *headers]
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = b""
            while not _is_whole(answer) and (part := connection.recv(65536)):
                answer += part
            return answer


def _is_whole(answer: bytes) -> bool:
    """By its length, where it has one: some servers hang up late after what they do not understand."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])


@contextmanager
def guarded(
    node: Node,
    media: Path,
    folder: Path,
    *options: str,
    name: str = "nginx",
    changed: Callable[[str], str] = lambda snippet: snippet,
    certificate: Certificate | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Site]:
    """An account of its own on `node`, and an nginx in front of `media` that asks it, by its edge's configuration.

    With a `certificate` it is reached over TLS; `host` is a name of 127.0.0.1 for the site's URL.
    """
    account = node.create_account(f"site-{folder.name}-{name}")
    port = free_port()
    folder.mkdir(exist_ok=True)
    told = [
        f"usher={node.url.removeprefix('http://')}",
        f"listen=127.0.0.1:{port}{' ssl' if certificate else ''}",
        f"root={media}",
        f"log={folder}/usher.log",
        f"error_log={folder}/usher-error.log",
        *options,
    ]
    if certificate:
        told += [f"certificate={certificate.chain}", f"certificate_key={certificate.key}"]
    else:
        told += ["cookie_secure=off"]
    flags = [flag for option in told for flag in ("--option", option)]
    made = usher_here("edge", "create", str(account.cdn), "--kind", "nginx", *flags, "--data", str(node.data), "--json")
    assert made.returncode == 0, made.stderr
    edge = json.loads(made.stdout)
    with running_nginx(folder, changed(edge["snippet"]), [port]) as nginx:
        yield Site(node, account, nginx, f"{'https' if certificate else 'http'}://{host}:{port}", edge["edge"])
