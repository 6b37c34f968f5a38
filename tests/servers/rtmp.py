"""Streams behind a real nginx with its RTMP module that asks a real node, by the very configuration that `usher edge
create` prints; and ffmpeg as an encoder."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.nodes import Node, usher_here
from tests.servers.guarded import Site
from tests.servers.media import Player
from tests.servers.nginx import in_folder, running_configuration, temp_paths
from tests.servers.ports import free_port
from tests.servers.rtmpclient import connected

PUBLISH_PASSWORD = "what-encoders-know"
# nginx asks for none; a proxy before a control API may.
CONTROL_PASSWORD = "what-only-the-node-knows"
# Within so long who may not play any more must be gone.
DROPPED_S_MAX = 2.0
_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning")
# A key frame, which comes every two seconds, and no more: of its own accord ffmpeg looks at five before it plays.
AT_ONCE = ("-analyzeduration", "2500000", "-rw_timeout", "10000000")


class RtmpSite(Site):
    """A publisher's site whose streams come from `url`, an application's, without a name."""

    port: int

    def url_of(self, ticket: dict[str, Any], name: str = "cam1", more: str = "") -> str:
        """What a player is given; `more` stands behind the ticket."""
        return f"{self.url}/{name_with(ticket, name, more)}"

    def sessions(self, **filters: str) -> list[dict[str, Any]]:
        """What `sevu.sessions` lists."""
        with self.node.connect() as connection:
            reply = connection.call(self.account, "sevu.sessions", **filters)
        listed: list[dict[str, Any]] = reply["sessions"]
        return listed

    def refuses(self, name: str, app: str = "live") -> bool:
        """Whether the server closes the connection for this play."""
        with connected(self.port, app) as connection:
            connection.play(name)
            return not connection.await_media()

    def last_attempts(self, number: int) -> list[dict[str, Any]]:
        """The newest attempts, oldest of them first."""
        with self.node.connect() as connection:
            reply = connection.call(self.account, "sevu.errorlog", limit=number)
        attempts: list[dict[str, Any]] = reply["attempts"]
        return list(reversed(attempts[:number]))

    def logs(self) -> str:
        """All that the node and nginx have written."""
        files = [self.node.log_file, *self.server.folder.glob("*.log")]
        return "".join(file.read_text(errors="replace") for file in files)


def name_with(ticket: dict[str, Any], name: str = "cam1", more: str = "") -> str:
    """A stream's name as a player asks for it."""
    return f"{name}?key={ticket['key']}&pass={ticket['pass']}{more}"


@contextmanager
def guarded_rtmp(
    node: Node,
    folder: Path,
    *options: str,
    node_url: str = "",
    flags: tuple[str, ...] = ("--publish-password", PUBLISH_PASSWORD),
    has_control: bool = True,
    changed: Callable[[str], str] = lambda snippet: snippet,
) -> Iterator[RtmpSite]:
    """An account of its own on `node`, and an nginx that asks it; through `node_url` where that is given."""
    account = node.create_account(f"rtmp-{folder.name}")
    port, control_port = free_port(), free_port()
    folder.mkdir(exist_ok=True)
    told = [
        f"usher={(node_url or node.url).removeprefix('http://')}",
        f"listen=127.0.0.1:{port}",
        f"log={folder}/usher.log",
        f"error_log={folder}/error.log",
        *(["user=root"] if os.geteuid() == 0 else []),
        *options,
    ]
    control = ("--control", f"http://usher:{CONTROL_PASSWORD}@127.0.0.1:{control_port}/control") if has_control else ()
    given = [*control, *flags, *(flag for option in told for flag in ("--option", option))]
    made = usher_here(
        "edge", "create", str(account.cdn), "--kind", "nginx-rtmp", *given, "--data", str(node.data), "--json"
    )
    assert made.returncode == 0, made.stderr
    edge = json.loads(made.stdout)
    snippet = changed(edge["snippet"]).replace("http {\n", f"http {{\n{temp_paths(folder)}\n")
    ports = [port, control_port] if has_control else [port]
    with running_configuration(folder, f"{in_folder(folder)}\n{snippet}", ports) as nginx:
        site = RtmpSite(node, account, nginx, f"rtmp://127.0.0.1:{port}/live", edge["edge"])
        site.port = port
        yield site


@contextmanager
def publishing(film: Path, url: str) -> Iterator[Player]:
    """An encoder that sends a film again and again while the context lasts. Its frames are those that it has sent."""
    sent = ("-re", "-stream_loop", "-1", "-i", str(film), "-c", "copy", "-f", "flv", url)
    with tempfile.TemporaryFile() as reports, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["ffmpeg", *_QUIET, "-progress", "pipe:1", "-stats_period", "0.1", *sent],
            stdin=subprocess.DEVNULL,
            stdout=reports,
            stderr=said,
        )
        encoder = Player(process, reports, said)
        try:
            yield encoder
        finally:
            encoder.stop()
