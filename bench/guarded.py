"""Static HLS behind a real nginx that asks a node, by the very configuration that `usher edge create` prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import traffic
from bench.crowd import PLAYLIST, segment
from bench.nginxserver import free_port, nginx
from bench.process import Account, Address, Server, descriptors_max, usher

_SEGMENT_BYTES = 10_000
# nginx has so many descriptors besides connections: logs, files, what it listens on.
_OTHER_DESCRIPTORS = 200
# The kernel cuts it to net.core.somaxconn. nginx would take 511, and whoever comes while so many wait is not heard for
# a second.
_BACKLOG = 65_535
_KEEPALIVE = 512


@contextmanager
def guarded_media(
    folder: Path, door: Server, account: Account, *, segments: int, recheck_s: int, connections: int
) -> Iterator[Address]:
    """The media of all tickets of traffic.py, a playlist and so many segments each, on an nginx that takes so many
    viewers' connections and believes who a balancer says they are. Raises ServerFailed."""
    _write_media(folder / "media", segments=segments)
    port = free_port()
    options = {
        "usher": f"{door.host}:{door.port}",
        "listen": f"127.0.0.1:{port} backlog={_BACKLOG}",
        "root": folder / "media",
        "recheck_s": recheck_s,
        # As docs/how-to/guard-nginx.md says for a crowd.
        "keepalive": _KEEPALIVE,
        "cache": folder / "kept",
        "log": folder / "media.log",
        "error_log": folder / "media-error.log",
        "trusted_proxy": "127.0.0.0/8",
    }
    flags = [flag for name, value in options.items() for flag in ("--option", f"{name}={value}")]
    data = str(folder / "data")
    edge = usher(
        "edge", "create", str(account.signer.cdn), "--kind", "nginx", "--name", "media", *flags, "--data", data
    )
    # A viewer's connection, and the one to the node that asks for him.
    wanted = min(2 * connections, descriptors_max()) + _OTHER_DESCRIPTORS
    with nginx(folder, str(edge["snippet"]), port=port, connections=wanted) as address:
        yield address


def _write_media(root: Path, *, segments: int) -> None:
    files = [(PLAYLIST, _playlist(segments)), *((segment(n), b"\x47" * _SEGMENT_BYTES) for n in range(1, segments + 1))]
    for n in range(traffic.CAMERAS):
        video = root / traffic.media_folder(n)
        video.mkdir(parents=True)
        for name, content in files:
            (video / name).write_bytes(content)


def _playlist(segments: int) -> bytes:
    listed = "".join(f"#EXTINF:4.0,\n{segment(n)}\n" for n in range(1, segments + 1))
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n{listed}".encode()
