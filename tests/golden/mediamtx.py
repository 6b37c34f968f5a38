"""Questions of MediaMTX, as its source has Go's encoder write them (internal/auth/manager.go of 1.20: the members and
their order), and in which order it asks for each protocol (internal/servers/, internal/playback/). Not captured."""

from __future__ import annotations

import json
from typing import Any

HEADERS = {"content-type": "application/json", "user-agent": "Go-http-client/1.1", "accept-encoding": "gzip"}
# Of connections and sessions: random UUIDs.
CONN, SESSION = "0f8c2d4e-77aa-4c1b-9a55-3d1f0b8e6c21", "b1a0c9f2-5c1e-4f3a-8d77-90e1f2a3b4c5"

# One whole, to see what `question` makes.
PLAY_RTMP = (
    b'{"ip":"192.0.2.7","user":"","password":"pass-of-K","token":"pass-of-K","action":"read","path":"live/cam1",'
    b'"protocol":"rtmp","id":"0f8c2d4e-77aa-4c1b-9a55-3d1f0b8e6c21","query":"key=K\\u0026pass=pass-of-K",'
    b'"userAgent":"FMLE/3.0"}'
)
# Before 1.12.3, which has neither token nor userAgent.
PLAY_HLS_OLD = (
    b'{"ip":"192.0.2.7","user":"","password":"","action":"read","path":"live/cam1","protocol":"hls","id":null,'
    b'"query":"key=K\\u0026pass=pass-of-K"}'
)


def question(**members: Any) -> bytes:
    """A question with these members, in Go's order and escapes; what is Ellipsis is left out."""
    usual = {
        "ip": "192.0.2.7",
        "user": "",
        "password": "",
        "token": "",
        "action": "read",
        "path": "live/cam1",
        "protocol": "rtmp",
        "id": CONN,
        "query": "",
        "userAgent": "VLC/3.0.20",
    }
    asked = {name: value for name, value in {**usual, **members}.items() if value is not ...}
    text = json.dumps(asked, separators=(",", ":"), ensure_ascii=False)
    for character in "&<>":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


_QUERY = "key=K&pass=pass-of-K"

# How a viewer gives the ticket -> what of the question differs.
FORMS: dict[str, dict[str, Any]] = {
    "RTMP, key and pass": {"query": _QUERY, "password": "pass-of-K", "token": "pass-of-K"},
    "RTMP, user and pass": {
        "query": "user=K&pass=pass-of-K", "user": "K", "password": "pass-of-K", "token": "pass-of-K",
    },
    "RTMP, token": {"query": "token=K%3Apass-of-K", "token": "K:pass-of-K"},
    "RTSP, Basic": {"protocol": "rtsp", "user": "K", "password": "pass-of-K", "token": "pass-of-K"},
    "RTSP, query": {"protocol": "rtsp", "query": _QUERY},
    "RTSP, key in the query and pass in Basic": {
        "protocol": "rtsp", "query": "key=K", "user": "any", "password": "pass-of-K", "token": "pass-of-K",
    },
    "RTSP, both in the password": {"protocol": "rtsp", "password": "K:pass-of-K", "token": "K:pass-of-K"},
    "HLS, query": {"protocol": "hls", "query": _QUERY},
    "HLS, Basic": {"protocol": "hls", "user": "K", "password": "pass-of-K", "token": "pass-of-K"},
    "HLS, Bearer user:pass": {"protocol": "hls", "user": "K", "password": "pass-of-K", "token": "pass-of-K"},
    "WebRTC, query": {"protocol": "webrtc", "query": _QUERY},
    "WebRTC, Bearer": {"protocol": "webrtc", "token": "K:pass-of-K"},
    "SRT, read:path:query": {"protocol": "srt", "query": _QUERY},
    "SRT, read:path:user:pass": {"protocol": "srt", "user": "K", "password": "pass-of-K", "token": "pass-of-K"},
    "a field twice": {"query": "key=K&key=other&pass=pass-of-K&pass=other", "password": "other", "token": "other"},
    "percent-encoded": {"protocol": "hls", "query": "key=%4B&pass=pass%2Dof-K"},
    "before 1.19": {"protocol": "srt", "query": _QUERY, "userAgent": ...},
    "before 1.12.3": {"protocol": "srt", "query": _QUERY, "userAgent": ..., "token": ...},
}  # fmt: skip
