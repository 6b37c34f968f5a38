"""The viewers of the bench: who holds which ticket, and what is asked with it. Everything follows from numbers, so
that fill, load and counts agree on what there is without telling each other."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from openusher.model.address import parse_address
from openusher.model.attempt import AttemptRequest
from openusher.model.ticket import NewTicket

TICKETS_MAX = 100_000
USERS = 20_000
KEY_FACTOR = 2_654_435_761
APPS = ("acme-live", "acme-vod", "globex-live", "globex-vod")
CAMERAS = 500
TITLES = 2_000
SERVERS = ("203.0.113.1", "203.0.113.2", "203.0.113.3", "2001:db8::1")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
    "VLC/3.0.21 LibVLC/3.0.21",
)
_PLAYER = {
    "user-agent": _AGENTS[0],
    "accept": "*/*",
    "accept-language": "en-US,en;q=0.5",
    "accept-encoding": "gzip, deflate, br",
    "referer": "https://www.example.com/",
}
# 2100-01-01
NEVER_S = 4_102_444_800

Question = dict[str, str]


def key(n: int) -> str:
    """The key of ticket `n`, in the form of a real one."""
    return f"cam{n % CAMERAS}.{n * KEY_FACTOR % 2**56:014x}.{n:08d}"


def user(n: int) -> str:
    return f"user{n % USERS}"


def password(n: int) -> str:
    return f"{user(n)}|{n:016x}"


def address(n: int) -> str:
    """Where the viewer of ticket `n` is."""
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def ticket(n: int, *, cdn: int) -> NewTicket:
    """Bound to its viewer's own address, as sites do it: no two rules are alike, and no cache of them helps."""
    return NewTicket(
        cdn=cdn,
        key=key(n),
        password=password(n),
        app=APPS[n % len(APPS)],
        video=f"live/cam{n % CAMERAS}|vod/*",
        ip=address(n),
        uses_limit=0,
        expires_s=1 if is_expired(n) else NEVER_S,
    )


def is_expired(n: int) -> bool:
    return n % 100 == 0


def is_revoked(n: int) -> bool:
    return n % 100 == 1


def question(chance: random.Random, *, tickets: int) -> Question:
    """What an edge asks: four in five are in order, the others are wrong in every way."""
    n = int(chance.random() * tickets)
    live = chance.random() < 0.7
    asked = {
        "key": key(n),
        "pass": password(n),
        "app": APPS[n % len(APPS)],
        "video": f"live/cam{n % CAMERAS}" if live else f"vod/title-{int(chance.random() * TITLES)}.mp4",
        "ip": address(n),
        "appinst": "play",
        "pageurl": f"https://www.example.com/watch/{n % CAMERAS}",
        "refurl": "https://www.example.com/",
        "server_ip": SERVERS[n % len(SERVERS)],
        "user_agent": _AGENTS[n % len(_AGENTS)],
    }
    if chance.random() < 0.2:
        chance.choice(_FAULTS)(asked)
    return asked


def _wrong(field: str, value: str) -> Callable[[Question], None]:
    def spoil(asked: Question) -> None:
        asked[field] = value

    return spoil


_FAULTS = (
    _wrong("pass", "user7|guessed"),
    _wrong("pass", ""),
    _wrong("key", "cam1.00000000000000.99999999"),
    _wrong("ip", "198.51.100.7"),
    _wrong("video", "live/another"),
    _wrong("app", "initech-live"),
)


def request(asked: Question, *, cdn: int, edge: int) -> AttemptRequest:
    """The question as the ledger takes it."""
    return AttemptRequest(
        cdn=cdn,
        edge=edge,
        key=asked["key"],
        password=asked["pass"],
        app=asked["app"],
        video=asked["video"],
        ip=parse_address(asked["ip"]),
        appinst=asked["appinst"],
        pageurl=asked["pageurl"],
        refurl=asked["refurl"],
        server_ip=parse_address(asked["server_ip"]),
        user_agent=asked["user_agent"],
    )


def media_folder(n: int) -> str:
    """Where the files lie that ticket `n` is for, from the root of all media."""
    return f"{APPS[n % len(APPS)]}/live/cam{n % CAMERAS}"


def viewer_url(n: int, file: str) -> str:
    """What ticket `n`'s viewer asks an nginx edge for: the ticket is in the path."""
    return f"/t/{key(n)}/{password(n).replace('|', '%7C')}/{media_folder(n)}/{file}"


def viewer_headers(n: int) -> dict[str, str]:
    """What ticket `n`'s player sends, and a balancer in front."""
    return {"x-forwarded-for": address(n), **_PLAYER}


def nginx_headers(n: int, file: str) -> bytes:
    """What nginx says of ticket `n`'s viewer when it asks for `file`."""
    return msgspec.json.encode(
        {
            "x-original-uri": viewer_url(n, file),
            "x-original-path": f"/{media_folder(n)}/{file}",
            "x-original-method": "GET",
            "x-real-ip": address(n),
            **_PLAYER,
        }
    )
