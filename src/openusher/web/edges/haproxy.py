"""How HAProxy asks: by our Lua file (snippets/haproxy.lua), since it has no subrequest of its own (edges/haproxy.md).

The file hands on what we say; the configuration makes of it an answer to the viewer.
"""

from __future__ import annotations

from openusher.model.edge import EdgeKind
from openusher.web.asgi import Headers
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed
from openusher.web.edges.viewer import viewer_of


class HaproxySkin:
    """All of its headers are the file's own, but for cookie, user agent and referer."""

    kind = EdgeKind.HAPROXY
    has_one_cookie = False

    def read(self, call: Call) -> Viewed:
        headers = call.headers
        return Viewed(
            target=headers[b"x-original-uri"].decode(),
            method=headers[b"x-original-method"].decode("latin-1"),
            ip=viewer_of(headers[b"x-forwarded-for"].decode(), call.edge),
        )

    def keeps(self, seconds: str) -> Headers:
        return []
