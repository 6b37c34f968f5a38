"""What the configuration of nginx's RTMP module has beside the options themselves."""

from __future__ import annotations

from urllib.parse import urlsplit

from openusher.model.account import Edge
from openusher.model.address import parse_address
from openusher.model.edge import CONTROL, option

_APPLICATION = """\
        application {app} {{
            live on;{hls}
        }}"""
_HLS = """
            hls on;
            hls_path {folder};
            hls_nested on;
            hls_fragment 2s;
            hls_playlist_length 20s;"""


def rtmp_values(edge: Edge) -> dict[str, str]:
    """The applications, and where the control API is and who may call it, by the URL that this node calls."""
    hls = option(edge, "hls")
    applications = "\n\n".join(
        _APPLICATION.format(app=app, hls=_HLS.format(folder=f"{hls}/{app}") if hls else "")
        for app in option(edge, "app").split("\n")
    )
    parts = urlsplit(option(edge, CONTROL))
    # Without a user's name, which the URL may have for a proxy in between.
    listen = parts.netloc.rpartition("@")[2]
    callers = ["127.0.0.1", "::1", *_address_of(option(edge, "usher"))]
    return {
        "applications": applications,
        "control_listen": listen if ":" in listen.rpartition("]")[2] else f"{listen}:80",
        "control_path": parts.path or "/",
        "control_callers": "\n".join(f"            allow {caller};" for caller in dict.fromkeys(callers)),
    }


def _address_of(host_port: str) -> list[str]:
    """The address of a host that is given by it; nginx allows no names."""
    host = host_port.rpartition(":")[0].strip("[]")
    try:
        parse_address(host)
    except ValueError:
        return []
    return [host]
