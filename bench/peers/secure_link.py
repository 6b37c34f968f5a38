"""nginx's secure_link: a link with a hash over its expiry and the viewer's address, checked without any store.

What sites use today where nothing is counted. It answers from its configuration, writes its access log as Debian's
does, and runs a worker a core.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path

import msgspec

from bench import traffic
from bench.nginxserver import free_port, nginx
from bench.process import Address

BODY = "ok"
_SECRET = "bench"
_LINKS = 100_000
_EXPIRES_S = 4_102_444_800
_LINK = """
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      secure_link $arg_md5,$arg_expires;
      secure_link_md5 "$secure_link_expires$uri$remote_addr {secret}";
      if ($secure_link = "") {{ return 403; }}
      if ($secure_link = "0") {{ return 410; }}
      return 200 {body};
    }}
  }}
"""


def link(path: str, *, address: str, expires_s: int = _EXPIRES_S) -> str:
    """What a site puts into its page for the viewer at `address`."""
    digest = md5(f"{expires_s}{path}{address} {_SECRET}".encode()).digest()
    return f"{path}?md5={urlsafe_b64encode(digest).rstrip(b'=').decode()}&expires={expires_s}"


def write_links(folder: Path, *, tickets: int) -> Path:
    """What viewers ask for, one a line."""
    links = folder / "links.txt"
    with links.open("wb") as lines:
        for n in range(min(_LINKS, tickets)):
            path = f"/{traffic.APPS[n % len(traffic.APPS)]}/live/cam{n % traffic.CAMERAS}/{n}/index.m3u8"
            lines.write(msgspec.json.encode({":path": link(path, address="127.0.0.1")}) + b"\n")
    return links


@contextmanager
def secure_link_server(folder: Path) -> Iterator[Address]:
    """An nginx with this check while the context lasts; all that it writes is in `folder`."""
    port = free_port()
    with nginx(folder, _LINK.format(port=port, secret=_SECRET, body=BODY), port=port) as address:
        yield address
