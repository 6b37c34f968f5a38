"""Edges that let everybody in while Usher gives no answer: no viewer can bring that about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes import Node
from tests.servers.fronts import FRONTS, Origin, fronted
from tests.servers.guarded import LIVE

pytestmark = pytest.mark.client

SECRET = "/live/secret/index.m3u8"
# What some server between a viewer and Usher takes for too long, or for no HTTP.
ODD = {
    "a control character": ["X-Any: a\x01b"],
    "one in a header that is read": ["Cookie: a=\x01b"],
    "no name": [": x"],
    "a long header": ["Cookie: a=" + "x" * 7_000],
    "long headers": [f"{name}: {'x' * 8_100}" for name in ("Cookie", "Referer", "X-Any")],
    "a header longer than a question may be": ["Cookie: a=" + "x" * 55_000],
    "many headers": [f"X-{n}: {n}" for n in range(900)],
    "another protocol": ["Connection: Upgrade", "Upgrade: websocket"],
    "a body that never comes": ["Content-Length: 9"],
    "an expectation": ["Expect: 100-continue"],
}
LONG = {
    "a long query": f"{SECRET}?{'q' * 8_100}",
    "a longer query": f"{SECRET}?{'q' * 14_500}",
    "an escape that is none": f"{SECRET}?%zz%ff",
    "too many fields": f"{SECRET}?" + "&".join(map(str, range(200))),
    "a long ticket": f"/t/{'k' * 4_000}/{'p' * 3_500}{SECRET}",
}


@pytest.mark.parametrize("kind", [front.kind for front in FRONTS.values() if front.can_open])
def test_nothing_that_a_viewer_sends_opens_an_open_edge(
    kind: str, node: Node, media: Path, origin: Origin, tmp_path: Path
) -> None:
    with fronted(FRONTS[kind], node, media, origin, tmp_path / kind, "on_failure=open") as site:
        opened = [what for what, headers in ODD.items() if b"not a byte" in site.raw(SECRET, *headers)]
        opened += [what for what, target in LONG.items() if b"not a byte" in site.raw(target)]
        opened += [what for what, target in LONG.items() if b"not a byte" in site.raw(target, *ODD["long headers"])]
        ticket = site.ticket()
        plays = site.get(site.in_path(ticket, LIVE)).status

    assert (opened, plays) == ([], 200)
