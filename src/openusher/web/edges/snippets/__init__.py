"""What a media server's configuration needs so that it asks Usher: one file a kind of edge."""

from __future__ import annotations

import re
from importlib import resources

from openusher.model.account import Edge
from openusher.model.edge import OPTIONS, EdgeKind, option

TOKEN_PLACE = "THE-TOKEN-OF-THIS-EDGE"
_PLACE = re.compile(r"@([a-z_]+)@")
_SECTION = re.compile(r"^@if ([a-z_]+)@\n(.*?)^@end@\n", re.MULTILINE | re.DOTALL)


def snippet_of(edge: Edge, *, token: str = TOKEN_PLACE) -> str:
    """The configuration with the edge's values in it; empty for a kind that needs none."""
    if edge.kind == EdgeKind.GENERIC:
        return ""
    values = {name: option(edge, name) for name in OPTIONS[EdgeKind(edge.kind)]}
    values |= {"name": edge.name, "cdn": str(edge.cdn), "token": token, "trusted": _trusted(edge)}
    values["asks_always"] = "yes" if values.get("recheck_s") == "0" else ""
    values["nginx_hls"] = "yes" if values.get("own_hls") == "off" else ""
    text = resources.files(__package__).joinpath(f"{edge.kind}.conf").read_text()
    # A section is there for those that have a value for its option.
    text = _SECTION.sub(lambda found: found[2] if values[found[1]] not in ("", "0", "off") else "", text)
    return _PLACE.sub(lambda place: values[place[1]], text)


def _trusted(edge: Edge) -> str:
    """The proxies that may say where a viewer is: it is at the right-most address that is none of theirs."""
    nets = option(edge, "trusted_proxy").split("\n") if edge.kind == EdgeKind.NGINX else []
    return "\n".join(f"    set_real_ip_from {net};" for net in nets if net)
