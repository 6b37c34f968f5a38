"""What an edge can be set to. Options are texts by name, as `usher edge create --option` takes them."""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from openusher.errors import InvalidParameter
from openusher.model.account import Edge, token_digest
from openusher.model.address import parse_address, parse_net
from openusher.model.limits import checked_text
from openusher.model.pathmap import DEFAULT_TEMPLATES, PathMap

_OPTION_BYTES_MAX = 8_192
_CONTROL_URL = re.compile(r"https?://[!->@-~]+")
# The session's cookie is named so, and for its video; where a server has to know the name, all videos share the second.
COOKIE = "usher"
ONE_COOKIE = f"{COOKIE}_00000000"
RECHECK_S_MAX = 3_600
KEEPALIVE_MAX = 65_535
# Less than `session_idle_s`, or a viewer would lose the place under `max_sessions` between two updates.
UPDATE_S_MAX = 240
# What a configuration file could take for something else.
_UNSAFE = frozenset("\"'`;{}\\$#\r\n\0")
# As browsers write it: in lower case, and without the port that goes without saying.
_ORIGIN = re.compile(r"\*|(?!http:.*:80$|https:.*:443$)https?://[a-z0-9.-]+(:[1-9][0-9]{0,4})?")
_HOST_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


class EdgeKind(StrEnum):
    """How an edge asks: by the plain door, or as its media server does."""

    GENERIC = "generic"
    NGINX = "nginx"
    ENVOY = "envoy"
    CADDY = "caddy"
    HAPROXY = "haproxy"
    TRAEFIK = "traefik"
    NGINX_RTMP = "nginx-rtmp"
    SRS = "srs"
    MEDIAMTX = "mediamtx"


class Option(msgspec.Struct, frozen=True):
    """An option of some kinds of edge: its default, and what it does. It takes these `words`, or a whole number up to
    `most`, or a `host_port`, or any text. The values of one that is given `many` times stand on a line each."""

    default: str
    help: str
    words: tuple[str, ...] = ()
    many: bool = False
    most: int | None = None
    host_port: bool = False


_WATCHED = {
    "path": Option("", "A template of the path map, in order; see usher edge test-path. Without it: the usual ones.",
                   many=True),
    "cookie_secure": Option("on", "Whether players send the session's cookie over TLS only.", ("on", "off")),
    "cookie_same_site": Option("Lax", "None where the player's site is another one than the media's.",
                               ("Lax", "Strict", "None")),
}  # fmt: skip
_SERVER = {
    "usher": Option("127.0.0.1:8088", "Where the server reaches this node: host:port."),
    "listen": Option("80", "What the server listens on."),
    "server_name": Option("_", "The media's host names."),
    "certificate": Option("", "The file of the server's certificate, for a listen with ssl."),
    "certificate_key": Option("", "The file of its key."),
    "cors_origin": Option(
        "",
        "A site whose pages play the media from another host: https://www.example.com. * is any, without cookies.",
        many=True,
    ),
    "root": Option("/srv/media", "The folder of the media."),
    "recheck_s": Option(
        "0",
        "For so many seconds the server keeps an allowed follow-up; so late a revocation bites.",
        most=RECHECK_S_MAX,
    ),
    "keepalive": Option(
        "32",
        "How many idle connections to this node each of nginx's workers keeps; a question beyond them opens one.",
        most=KEEPALIVE_MAX,
    ),
    "cache": Option("/var/cache/nginx/usher", "Where the server keeps them."),
    "log": Option("/var/log/nginx/usher.log", "Where the server logs what it sent, without the passes in the URLs."),
    "error_log": Option("/var/log/nginx/usher-error.log", "Where it logs what it could not do."),
    "trusted_proxy": Option("", "A net of a CDN or balancer in front, whose X-Forwarded-For is believed.", many=True),
}
_TRUSTED = {"trusted_proxy": _SERVER["trusted_proxy"]}
# Of a proxy whose media lie on a server behind it.
_PROXY = {
    "usher": Option("127.0.0.1:8088", "Where the server reaches this node: host:port.", host_port=True),
    "listen": Option("0.0.0.0:80", "The address and port that the server listens on.", host_port=True),
    "origin": Option("127.0.0.1:8080", "The server behind that has the media: host:port.", host_port=True),
}
_ON_FAILURE = {
    "on_failure": Option(
        "closed", "Who gets in while Usher gives no answer: nobody, or with open everybody.", ("closed", "open")
    ),
}
# Of servers that ask about a connection, and can be told to drop it.
CONTROL, PUBLISH_PASSWORD = "control", "publish_password"
_CONNECTED = {
    "usher": _SERVER["usher"],
    CONTROL: Option(
        "", "The URL of the server's control API as this node reaches it; without it nobody is dropped while playing."
    ),
    PUBLISH_PASSWORD: Option("", "What encoders publish with, as pass; without it nobody publishes."),
}
OPTIONS: dict[EdgeKind, dict[str, Option]] = {
    EdgeKind.GENERIC: {},
    EdgeKind.NGINX: {
        **_WATCHED,
        **_SERVER,
        "rewrite": Option(
            "off", "Whether a playlist's ticket is written behind each URL in it: no cookie is needed.", ("on", "off")
        ),
        **_ON_FAILURE,
    },
    EdgeKind.SRS: {
        **_CONNECTED,
        "hls_path": Option(
            "/srv/media",
            "The folder that SRS writes HLS into, for nginx to serve; none of those that it serves itself.",
        ),
        "own_hls": Option("off", "Whether SRS serves HLS itself, which lets in who asks twice.", ("on", "off")),
        "http": Option("8080", "What SRS serves HTTP-FLV on, and HLS with own_hls."),
        "api": Option("127.0.0.1:1985", "What SRS's control API listens on."),
        "srt": Option("", "The port of SRT; without it there is none."),
        "rtc": Option("", "The UDP port of WebRTC; without it there is none."),
    },
    EdgeKind.MEDIAMTX: {
        **_CONNECTED,
        "app": Option("live", "The app of a path in one part, such as cam1; of live/cam1 it is live."),
        "api": Option("127.0.0.1:9997", "What MediaMTX's control API listens on."),
    },
    EdgeKind.ENVOY: {
        **_WATCHED,
        **_PROXY,
        "log": Option("/dev/stdout", "The file in which the server logs what it sent, without the passes."),
        **_TRUSTED,
        **_ON_FAILURE,
    },
    EdgeKind.CADDY: {
        **_WATCHED,
        "usher": _PROXY["usher"],
        "listen": Option(":80", "The site's address: with a host name Caddy sees to its certificate."),
        "bind": Option("", "The machine's addresses that the site is bound to; without it all."),
        "root": _SERVER["root"],
        "log": Option("/var/log/caddy/usher.log", "Where the server logs what it sent, without the passes."),
        **_TRUSTED,
    },
    EdgeKind.HAPROXY: {
        **_WATCHED,
        **_PROXY,
        "lua": Option("/etc/haproxy/usher.lua", "Where the file lies that `usher edge lua` prints."),
        "log": Option("/dev/log local0", "Where the server logs what it sent, without the passes."),
        **_TRUSTED,
        **_ON_FAILURE,
    },
    EdgeKind.TRAEFIK: {
        **_WATCHED,
        "usher": _PROXY["usher"],
        "origin": _PROXY["origin"],
        "entry_point": Option("websecure", "The entry point that the media are at, as Traefik calls it."),
        "server_name": Option("", "The media's host name; without it every."),
        **_TRUSTED,
    },
    EdgeKind.NGINX_RTMP: {
        **_CONNECTED,
        "listen": Option("1935", "What the server takes RTMP on."),
        "app": Option("live", "An application of the server.", many=True),
        "update_s": Option(
            "30",
            "How often the server asks whether a viewer may go on; each update also ends who plays while this node is "
            "away. 0: never, and without a control API nobody is dropped while playing.",
            most=UPDATE_S_MAX,
        ),
        "hls": Option("", "The folder that streams are written to as HLS too, for an edge of kind nginx to guard."),
        "http": Option("", "The files of your sites, which stand in the http block: /etc/nginx/conf.d/*.conf."),
        "user": Option("www-data", "Whom the server's workers run as."),
        "module": Option("/usr/lib/nginx/modules/ngx_rtmp_module.so", "Where its RTMP module is."),
        "log": Option("/var/log/nginx/usher-rtmp.log", "Where it logs who played, without the passes."),
        "error_log": Option("/var/log/nginx/usher-rtmp-error.log", "Where it logs what it could not do."),
    },
}


def checked_options(kind: EdgeKind, given: dict[str, list[str]]) -> dict[str, str]:
    """The options as an edge keeps them. Raises InvalidParameter naming the option."""
    options = _checked_each(kind, given)
    _check_together(kind, options)
    return options


def changed_options(edge: Edge, given: dict[str, list[str]]) -> dict[str, str]:
    """The options of an edge with those `given` for the ones that it has, all values of each; given as one empty value
    it is as if it had never been. Raises InvalidParameter naming the option."""
    kind = EdgeKind(edge.kind)
    kept = {name: text for name, text in edge.options.items() if name not in given}
    taken_back = [name for name, values in given.items() if values == [""]]
    for name in taken_back:
        _known(kind, name)
    options = kept | _checked_each(kind, {name: given[name] for name in given if name not in taken_back})
    _check_together(kind, options)
    return options


def _known(kind: EdgeKind, name: str) -> Option:
    known = OPTIONS[kind]
    if name not in known:
        taken = ", ".join(sorted(known)) or "none"
        raise InvalidParameter(name, f"is no option of {kind}; it takes {taken}", is_callers_name=True)
    return known[name]


def _checked_each(kind: EdgeKind, given: dict[str, list[str]]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, values in given.items():
        option = _known(kind, name)
        if len(values) > 1 and not option.many:
            raise InvalidParameter(name, "is given twice")
        for value in values:
            _check_value(name, value, option)
        options[name] = checked_text(name, "\n".join(values), bytes_max=_OPTION_BYTES_MAX)
    if password := options.get(PUBLISH_PASSWORD):
        options[PUBLISH_PASSWORD] = token_digest(password)
    return options


def _check_together(kind: EdgeKind, options: dict[str, str]) -> None:
    """What one option says of another."""
    if options.get("cookie_same_site") == "None" and options.get("cookie_secure") == "off":
        raise InvalidParameter("cookie_same_site", "None is taken by browsers over TLS only; leave cookie_secure on")
    if ("certificate" in options) != ("certificate_key" in options):
        raise InvalidParameter("certificate", "goes with certificate_key: give both or none")
    if "certificate" in options and "ssl" not in options.get("listen", "").split():
        raise InvalidParameter("listen", "has no ssl, which a certificate is for; give '443 ssl'")
    if kind is EdgeKind.HAPROXY and "usher" in options:
        try:
            parse_address(options["usher"].rpartition(":")[0].strip("[]"))
        except ValueError:
            raise InvalidParameter(
                "usher", "give an address and port such as 192.0.2.10:8088: HAProxy's Lua looks up no names"
            ) from None
    if options.get("path"):
        path_map(options["path"])


def _check_value(name: str, value: str, option: Option) -> None:
    if option.words and value not in option.words:
        raise InvalidParameter(name, f"give one of {', '.join(option.words)}")
    if option.most is not None and not (re.fullmatch("[0-9]{1,9}", value) and int(value) <= option.most):
        raise InvalidParameter(name, f"give a whole number from 0 to {option.most}")
    if option.host_port and not _HOST_PORT.fullmatch(value):
        raise InvalidParameter(name, "give host:port, such as 127.0.0.1:8088")
    # A template has braces, and never stands in a configuration.
    if not value:
        raise InvalidParameter(name, "is empty")
    if name != "path" and not _UNSAFE.isdisjoint(value):
        raise InvalidParameter(
            name, "holds what a configuration takes for its own, one of \" ' ` ; { } \\ $ # or a line end"
        )
    if name == CONTROL and not (_CONTROL_URL.fullmatch(value) and _has_host(value)):
        raise InvalidParameter(name, "give a URL such as http://127.0.0.1:8080/control, without a query")
    if name == "cors_origin" and not _ORIGIN.fullmatch(value):
        raise InvalidParameter(name, "give scheme, host and port as browsers do, such as https://www.example.com, or *")
    if name == "trusted_proxy":
        try:
            parse_net(value)
        except ValueError:
            raise InvalidParameter(name, "give an address or a net such as 192.0.2.0/24") from None


def _has_host(url: str) -> bool:
    """Also not where a slash in a password ends what stands for the host."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def shown_options(edge: Edge) -> dict[str, str]:
    """The options without what opens anything."""
    shown = dict(edge.options)
    if PUBLISH_PASSWORD in shown:
        shown[PUBLISH_PASSWORD] = "***"
    if CONTROL in shown:
        # To the last @, as those read it who call it: a password may have one.
        shown[CONTROL] = re.sub("//[^/]*@", "//***@", shown[CONTROL])
    return shown


def may_publish(edge: Edge, password: str) -> bool:
    """Whether an encoder that shows this password may publish through the edge."""
    digest = edge.options.get(PUBLISH_PASSWORD, "")
    return digest != "" and hmac.compare_digest(digest, token_digest(password))


def option(edge: Edge, name: str) -> str:
    """What the edge is set to, or the default."""
    return edge.options.get(name) or OPTIONS[EdgeKind(edge.kind)][name].default


def path_map_of(edge: Edge) -> PathMap:
    """How the edge reads paths."""
    return path_map(edge.options.get("path", ""))


@lru_cache(maxsize=1024)
def path_map(templates: str) -> PathMap:
    """The map of templates that stand on a line each; empty: the usual ones. Raises InvalidParameter."""
    return PathMap(templates.split("\n") if templates else DEFAULT_TEMPLATES)
