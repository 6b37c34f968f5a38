"""What a media server's configuration needs so that it asks Usher: one file a kind of edge."""

from __future__ import annotations

import re
from importlib import resources

from openusher.model.account import Edge
from openusher.model.edge import OPTIONS, EdgeKind, option

TOKEN_PLACE = "THE-TOKEN-OF-THIS-EDGE"
_PLACE = re.compile(r"@([a-z_]+)@")


def snippet_of(edge: Edge, *, token: str = TOKEN_PLACE) -> str:
    """The configuration with the edge's values in it; empty for a kind that needs none."""
    if edge.kind == EdgeKind.GENERIC:
        return ""
    text = resources.files(__package__).joinpath(f"{edge.kind}.conf").read_text()
    values = {name: option(edge, name) for name in OPTIONS[EdgeKind(edge.kind)]}
    values |= {"name": edge.name, "cdn": str(edge.cdn), "token": token, "trusted": _trusted(edge)}
    return _PLACE.sub(lambda place: values[place[1]], text)


def _trusted(edge: Edge) -> str:
    """The viewer's address behind proxies that may say it: the right-most that is none of theirs."""
    nets = [net for net in option(edge, "trusted_proxy").split("\n") if net]
    if not nets:
        return ""
    lines = [f"    set_real_ip_from {net};" for net in nets]
    return "\n".join([*lines, "    real_ip_header X-Forwarded-For;", "    real_ip_recursive on;", ""])
