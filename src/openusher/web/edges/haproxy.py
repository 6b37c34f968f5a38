"""How HAProxy asks: by our Lua file (snippets/haproxy.lua), since it has no subrequest of its own (edges/haproxy.md).

The file hands on what we say; the configuration makes of it an answer to the viewer.
"""

from __future__ import annotations

from openusher.model.edge import EdgeKind
from openusher.web.asgi import Headers
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed
from openusher.web.edges.viewer import viewed_by_headers


class HaproxySkin:
    """All of its headers are the file's own, but for cookie, user agent and referer."""

    kind = EdgeKind.HAPROXY
    has_one_cookie = False

    def read(self, call: Call) -> Viewed:
        return viewed_by_headers(call, uri=b"x-original-uri", method=b"x-original-method")

    def keeps(self, seconds: str) -> Headers:
        return []
