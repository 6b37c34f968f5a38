"""Requests of SRS as sent: the bytes of 6.0.157, captured on loopback on 2026-11-27, and bodies made from the source of
5.0 to 7.0.18 (srs_app_http_hooks.cpp, and where each protocol makes its `param`) where nothing was captured."""

from __future__ import annotations

import json
from typing import Any

HEADERS = {"connection": "Keep-Alive", "content-type": "application/json", "user-agent": "SRS/6.0.157(Hang)"}

_BEGIN = b'{"server_id":"vid-9ocn047","service_id":"52p81375",'
_RTMP = b'"ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live",'
_TC = b'"tcUrl":"rtmp://127.0.0.1:29735/live",'
_TICKET = b'"param":"?key=K&pass=P"'
_END = b'"stream_url":"/live/cam1","stream_id":"vid-098eaj6"}'

CONNECT = (
    _BEGIN
    + b'"action":"on_connect","client_id":"63baf804",'
    + _RTMP
    + b'"stream":"cam1",'
    + _TICKET
    + b","
    + _TC
    + b'"pageUrl":""}'
)
PLAY = (
    _BEGIN
    + b'"action":"on_play","client_id":"63baf804",'
    + _RTMP
    + b'"stream":"cam1",'
    + _TC
    + _TICKET
    + b',"pageUrl":"",'
    + _END
)
STOP = (
    _BEGIN + b'"action":"on_stop","client_id":"63baf804",' + _RTMP + _TC + b'"stream":"cam1",' + _TICKET + b"," + _END
)
CLOSE = _BEGIN + b'"action":"on_close","client_id":"63baf804",' + _RTMP + b'"send_bytes":77139,"recv_bytes":3505}'
PUBLISH = (
    _BEGIN
    + b'"action":"on_publish","client_id":"060tjo57",'
    + _RTMP
    + _TC
    + b'"stream":"cam1","param":"?user=pub&pass=secret",'
    + _END
)
PLAY_FLV = PLAY.replace(b"63baf804", b"04m42x7y").replace(b"127.0.0.1:29735", b"__defaultVhost__")
_HTTP = b'"tcUrl":"http://127.0.0.1/live",'
PLAY_HLS = PLAY.replace(b"63baf804", b"353nuc06").replace(b'"cam1"', b'"cam1.m3u8"').replace(_TC, _HTTP)
STOP_HLS = STOP.replace(b"63baf804", b"353nuc06").replace(b'"cam1"', b'"cam1.m3u8"').replace(_TC, _HTTP)
# How many bytes SRS said they have, by the Content-Length of the capture.
LENGTHS = {CONNECT: 244, PLAY: 293, STOP: 280, CLOSE: 188, PUBLISH: 291, PLAY_FLV: 294, PLAY_HLS: 292, STOP_HLS: 279}


def hook(action: str, client: str, **members: Any) -> bytes:
    """A hook of a viewer of live/cam1, with these members changed; one that is Ellipsis is left out."""
    usual = {
        "server_id": "vid-9ocn047",
        "service_id": "52p81375",
        "action": action,
        "client_id": client,
        "ip": "192.0.2.7",
        "vhost": "__defaultVhost__",
        "app": "live",
        "stream": "cam1",
        "tcUrl": "rtmp://h/live",
        "param": "?key=K&pass=pass-of-K",
        "pageUrl": "",
        "stream_url": "/live/cam1",
        "stream_id": "vid-098eaj6",
    }
    return json.dumps({name: value for name, value in {**usual, **members}.items() if value is not ...}).encode()


# How a player's URL names the stream and carries the ticket, by protocol -> the members that differ.
FORMS: dict[str, dict[str, Any]] = {
    "RTMP": {},
    "RTMP, ticket in the app's URL": {"tcUrl": "rtmp://h/live?key=K&pass=pass-of-K"},
    "RTMP before 5": {"stream_url": ..., "stream_id": ...},
    "RTMP before 4": {"client_id": 104, "stream_url": ..., "stream_id": ...},
    "HTTP-FLV": {"tcUrl": "rtmp://__defaultVhost__/live"},
    "HTTP-FLV, name with extension": {"stream": "cam1.flv"},
    "HTTP-TS, before 5": {"stream": "cam1.ts", "stream_url": ...},
    "HLS": {"stream": "cam1.m3u8", "tcUrl": "http://h/live"},
    "HLS, before 5": {"stream": "cam1.m3u8", "stream_url": ...},
    "WHEP": {"param": "app=live&stream=cam1&key=K&pass=pass-of-K"},
    "WebRTC JSON": {"tcUrl": "webrtc://h/live"},
    "SRT": {"param": "key=K&pass=pass-of-K"},
    "SRT with a host": {"param": "vhost=__defaultVhost__&key=K&pass=pass-of-K"},
    "a field twice": {"param": "?key=K&key=other&pass=pass-of-K&pass=other"},
    "percent-encoded": {"param": "?key=%4B&pass=pass%2Dof-K"},
}
