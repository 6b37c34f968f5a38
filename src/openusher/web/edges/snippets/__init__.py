"""What a media server's configuration needs so that it asks Usher: one file a kind of edge."""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple

from openusher.model.account import Edge
from openusher.model.edge import ONE_COOKIE, OPTIONS, EdgeKind, option
from openusher.web.edges.snippets.rtmp import rtmp_values

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
# One that holds no other.
_SECTION = re.compile(r"^@if ([a-z_]+)@\n((?:(?!^@if ).)*?)^@end@\n", re.MULTILINE | re.DOTALL)


class _Form(NamedTuple):
    """How a kind's configuration is written: the file here that it is made of, and how the proxies stand in it that may
    say where a viewer is; he is at the right-most address that is none of theirs."""

    file: str
    # Of an address: `{net}`, or `{address}` and `{bits}`; between two of them: `between`.
    trusted: str = "{net}"
    between: str = " "


_FORMS = {
    EdgeKind.NGINX: _Form("nginx.conf", "    set_real_ip_from {net};", "\n"),
    EdgeKind.ENVOY: _Form("envoy.yaml", '{{ address_prefix: "{address}", prefix_len: {bits} }}', ", "),
    EdgeKind.CADDY: _Form("Caddyfile"),
    EdgeKind.HAPROXY: _Form("haproxy.cfg"),
    EdgeKind.TRAEFIK: _Form("traefik.yaml", '"{net}"', ", "),
    EdgeKind.NGINX_RTMP: _Form("nginx-rtmp.conf"),
    EdgeKind.SRS: _Form("srs.conf"),
    EdgeKind.MEDIAMTX: _Form("mediamtx.yml"),
}


def snippet_of(edge: Edge, *, token: str = TOKEN_PLACE) -> str:
    """The configuration with the edge's values in it; empty for a kind that needs none."""
    kind = EdgeKind(edge.kind)
    form = _FORMS.get(kind)
    if form is None:
        return ""
    values = {"name": edge.name, "cdn": str(edge.cdn), "token": token}
    for name, known in OPTIONS[kind].items():
        values[name] = option(edge, name)
        if known.host_port:
            values[f"{name}_host"], _, values[f"{name}_port"] = values[name].rpartition(":")
            values[f"{name}_host"] = values[f"{name}_host"].strip("[]")
    values["trusted"] = _trusted(edge, form)
    if kind is EdgeKind.NGINX_RTMP:
        values |= rtmp_values(edge)
    if kind is EdgeKind.NGINX:
        values |= {"origins": _origins(edge), "cors": _CORS}
    values["asks_always"] = "yes" if values.get("recheck_s") == "0" else ""
    values["srs_hls"] = "yes" if values.get("own_hls") == "on" else ""
    values["nginx_hls"] = "yes" if values.get("own_hls") == "off" else ""
    values["fails_open"] = "yes" if values.get("on_failure") == "open" else ""
    values["rewrites"] = "yes" if values.get("rewrite") == "on" else ""
    values["fails_closed"] = "" if values["fails_open"] else "yes"
    values["nobody_trusted"] = "" if values["trusted"] else "yes"
    values["host_rule"] = f" && Host(`{values['server_name']}`)" if values.get("server_name") else ""
    values["cookie"] = ONE_COOKIE
    text = resources.files(__package__).joinpath(form.file).read_text()
    found = 1
    while found:
        # A section is there for those that have a value for its option.
        text, found = _SECTION.subn(lambda section: section[2] if values[section[1]] not in ("", "0") else "", text)
    return _PLACE.sub(lambda place: values[place[1]], text)


def haproxy_lua() -> str:
    """What HAProxy loads beside its configuration, the same for all edges."""
    return resources.files(__package__).joinpath("haproxy.lua").read_text()


def _trusted(edge: Edge, form: _Form) -> str:
    written = []
    given = option(edge, "trusted_proxy") if "trusted_proxy" in OPTIONS[EdgeKind(edge.kind)] else ""
    for net in filter(None, given.split("\n")):
        address, _, bits = net.partition("/")
        bits = bits or ("128" if ":" in address else "32")
        written.append(form.trusted.format(net=net, address=address, bits=bits))
    return form.between.join(written)


def _origins(edge: Edge) -> str:
    """The sites of `cors_origin`, as patterns: nginx limits the length of plain names."""
    origins = option(edge, "cors_origin").split("\n")
    named = [f'    "~^{each.replace(".", "[.]")}$" $http_origin;' for each in origins if each not in ("", "*")]
    return "\n".join([f'    default "{"*" if "*" in origins else ""}";', *named])
