"""Who asks for what by a server's headers; and where he is, when proxies in front of it have said so in
`X-Forwarded-For`."""

from __future__ import annotations

from functools import lru_cache

from openusher.model.account import Edge
from openusher.model.address import Net, parse_address, parse_net
from openusher.model.edge import option
from openusher.web.edges.endpoint import Call
from openusher.web.edges.forward import Viewed


def viewed_by_headers(call: Call, *, uri: bytes, method: bytes) -> Viewed:
    """What the headers of these names say that the viewer asked for.

    Raises KeyError for one that is missing, ValueError where they are no UTF-8, or there is no address.
    """
    headers = call.headers
    return Viewed(
        target=headers[uri].decode(),
        method=headers[method].decode("latin-1"),
        ip=viewer_of(headers[b"x-forwarded-for"].decode(), call.edge),
    )


def viewer_of(forwarded_for: str, edge: Edge) -> str:
    """The right-most address that is none of the edge's trusted proxies', or the left-most where all are.

    The server itself must have written the last one, for which it took its connection's. Each proxy adds to the right
    of what it was sent, so that what a viewer writes stands left of where he is seen. Raises ValueError where what
    stands there is no address: further left anybody may have written.
    """
    nets = _nets(option(edge, "trusted_proxy"))
    text = ""
    for entry in reversed(forwarded_for.split(",")):
        text = _without_port(entry.strip())
        address = parse_address(text)
        if not any(net.holds(address) for net in nets):
            break
    return text


def _without_port(entry: str) -> str:
    """Some balancers add the port that they saw: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


@lru_cache(maxsize=1024)
def _nets(lines: str) -> tuple[Net, ...]:
    return tuple(parse_net(line) for line in lines.split("\n") if line)
