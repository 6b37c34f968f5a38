"""Calls of nginx's RTMP module, as sent: Debian's libnginx-mod-rtmp 1.2.2, by on_play and its like with POST.

Captured from ffmpeg 5.1 and from a client that sends what no player would (tests/servers/rtmpclient.py).
"""

from __future__ import annotations

from typing import NamedTuple


class Sent(NamedTuple):
    """A body, and what it says: the call, app, name and number of the connection, the address, the player, the page,
    and the ticket."""

    name: str
    body: bytes
    says: tuple[str, str, str, str, str, str, str, str, str]


_LNX = "LNX 9,0,124,2"
_PLAYER = (
    b"app=live&flashver=LNX%209,0,124,2&swfurl=&tcurl=rtmp://127.0.0.1:19350/live&pageurl=&addr=127.0.0.1&clientid=28"
)
# What a viewer put into each of its texts: the module escapes it.
_FORGER = (
    b"app=live&flashver=A%26addr=9.9.9.9%3B%2B%25%3F%23=x&swfurl=s%26tcurl=x"
    b"&tcurl=rtmp://h/live%3Fa=b%26addr=1.1.1.1%26x=%2B&pageurl=http://p/%3Fa=1%26clientid=7%26call=play%26name=z"
    b"&addr=127.0.0.1"
)
_FORGERS = ("127.0.0.1", "A&addr=9.9.9.9;+%?#=x", "http://p/?a=1&clientid=7&call=play&name=z")
_ELSE = ("127.0.0.1", _LNX, "")

SENT = (
    Sent(
        "play",
        _PLAYER + b"&call=play&name=cam1&start=4294965296&duration=0&reset=0&key=K&pass=user%7Cp",
        ("play", "live", "cam1", "28", *_ELSE, "K", "user|p"),
    ),
    Sent(
        "play without a ticket",
        _PLAYER + b"&call=play&name=cam1&start=4294965296&duration=0&reset=0",
        ("play", "live", "cam1", "28", *_ELSE, "", ""),
    ),
    Sent(
        "play by a forger",
        _FORGER
        + b"&clientid=1&call=play&name=cam1%26name=oth%20er=%2B%2541/%C3%A9%3B&start=4294965296&duration=0&reset=0"
        b"&key=K&pass=a+b%20c&name=other&addr=1.2.3.4",
        ("play", "live", "cam1&name=oth er=+%41/é;", "1", *_FORGERS, "K", "a b c"),
    ),
    Sent(
        "play without a name",
        _PLAYER + b"&call=play&name=&start=4294965296&duration=0&reset=0&name=q&key=1",
        ("play", "live", "", "28", *_ELSE, "1", ""),
    ),
    Sent(
        "play of a file",
        _PLAYER + b"&call=play&name=flv:cam1.flv&start=4294965296&duration=0&reset=0",
        ("play", "live", "flv:cam1.flv", "28", *_ELSE, "", ""),
    ),
    Sent(
        "update",
        _PLAYER + b"&call=update_play&time=3&timestamp=0&name=a&key=K&pass=P",
        ("update_play", "live", "a", "28", *_ELSE, "K", "P"),
    ),
    Sent(
        "end of a play",
        _PLAYER + b"&call=play_done&name=a&key=K&pass=P",
        ("play_done", "live", "a", "28", *_ELSE, "K", "P"),
    ),
    Sent("end of either", _PLAYER + b"&call=done&name=a&key=K", ("done", "live", "a", "28", *_ELSE, "K", "")),
    Sent(
        "publish",
        _PLAYER + b"&call=publish&name=cam1&type=live&pass=secret",
        ("publish", "live", "cam1", "28", *_ELSE, "", "secret"),
    ),
    Sent(
        "update of a publish",
        _PLAYER + b"&call=update_publish&time=3&timestamp=3071&name=cam1&pass=secret",
        ("update_publish", "live", "cam1", "28", *_ELSE, "", "secret"),
    ),
    Sent(
        "end of a publish",
        _PLAYER + b"&call=publish_done&name=cam1&pass=secret",
        ("publish_done", "live", "cam1", "28", *_ELSE, "", "secret"),
    ),
    # Not captured: as the module's source writes it.
    Sent(
        "a recording that is whole",
        _PLAYER + b"&call=record_done&recorder=all&name=cam1&path=/var/rec/cam1.flv&pass=secret",
        ("record_done", "live", "cam1", "28", *_ELSE, "", "secret"),
    ),
    Sent(
        "connection",
        b"app=live&flashver=LNX%209,0,124,2&swfurl=&tcurl=rtmp://127.0.0.1:19350/live%3Fkey=K%26pass=P&pageurl="
        b"&addr=127.0.0.1&epoch=25431767&call=connect&key=K&pass=P",
        ("connect", "live", "", "", *_ELSE, "K", "P"),
    ),
    Sent(
        "its end",
        b"app=live&flashver=LNX%209,0,124,2&swfurl=&tcurl=rtmp://127.0.0.1:19350/live%3Fkey=K%26pass=P&pageurl="
        b"&addr=127.0.0.1&clientid=10&call=disconnect&app=live&key=K&pass=P",
        ("disconnect", "live", "", "10", *_ELSE, "K", "P"),
    ),
)
