"""What a media server's configuration needs so that it asks Usher: one file a kind of edge."""

from __future__ import annotations

import re
from importlib import resources

from openusher.model.account import Edge
from openusher.model.edge import OPTIONS, EdgeKind, option

TOKEN_PLACE = "THE-TOKEN-OF-THIS-EDGE"
_PLACE = re.compile(r"@([a-z_]+)@")
# For pages on another host: whose they may be, and what they may read beside the body. A location that adds headers has
# none of the server's, so each has them all. Refusals too: the player could not tell 403 from a dead network otherwise.
_CORS = """\
        add_header Access-Control-Allow-Origin $usher_origin always;
        add_header Access-Control-Allow-Credentials $usher_credentials always;
        add_header Access-Control-Allow-Headers $usher_preflight_headers always;
        add_header Access-Control-Max-Age $usher_preflight_s always;
        add_header Access-Control-Expose-Headers "X-Usher-Reason, Retry-After" always;
        add_header Vary Origin always;"""
_SECTION = re.compile(r"^@if ([a-z_]+)@\n(.*?)^@end@\n", re.MULTILINE | re.DOTALL)


def snippet_of(edge: Edge, *, token: str = TOKEN_PLACE) -> str:
    """The configuration with the edge's values in it; empty for a kind that needs none."""
    if edge.kind == EdgeKind.GENERIC:
        return ""
    values = {name: option(edge, name) for name in OPTIONS[EdgeKind(edge.kind)]}
    values |= {"name": edge.name, "cdn": str(edge.cdn), "token": token, "trusted": _trusted(edge)}
    values |= {"origins": _origins(edge), "cors": _CORS}
    values["asks_always"] = "yes" if values["recheck_s"] == "0" else ""
    text = resources.files(__package__).joinpath(f"{edge.kind}.conf").read_text()
    # A section is there for those that have a value for its option.
    text = _SECTION.sub(lambda found: found[2] if values[found[1]] not in ("", "0") else "", text)
    return _PLACE.sub(lambda place: values[place[1]], text)


def _trusted(edge: Edge) -> str:
    """The proxies that may say where a viewer is: it is at the right-most address that is none of theirs."""
    return "\n".join(f"    set_real_ip_from {net};" for net in option(edge, "trusted_proxy").split("\n") if net)


def _origins(edge: Edge) -> str:
    """The sites of `cors_origin`, as patterns: nginx limits the length of plain names."""
    origins = option(edge, "cors_origin").split("\n")
    named = [f'    "~^{each.replace(".", "[.]")}$" $http_origin;' for each in origins if each not in ("", "*")]
    return "\n".join([f'    default "{"*" if "*" in origins else ""}";', *named])
