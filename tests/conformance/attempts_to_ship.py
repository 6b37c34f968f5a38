"""Blocks of odd attempts, and filters to look for them with, for the suite of every attempt log."""

from __future__ import annotations

import random
from typing import Any

from openusher.model.address import parse_filter_net
from openusher.model.attempt import Reason
from openusher.model.block import Block, Horizon
from openusher.model.pattern import is_pattern, parse_pattern
from openusher.model.search import AttemptFilter
from tests.oracles import attempt_rows as oracle
from tests.oracles.attempt_rows import Filter, Row

CDN, OTHER_CDN = 158, 159
# 2026-10-31 22:00 UTC: the rows run over the end of a month.
START_MS = 1_793_484_000_000
MONTH_END_MS = 1_793_491_200_000
# One text of each kind that a query language could take for something else.
TEXTS = (
    "plain", "Plain", "a%b_c", "axbyc", "a\\b", "a\\%b", "it's", 'say "hi"', "*", "tab\there", "line\nfeed", "r\rn",
    "é", "e\u0301", "☃𝄞", "{p0:String}", "'; DROP TABLE attempts; --", "NULL", "\\N", "", " ", "0", "\\n", "]", "],[",
    "\x01\x7f", "[1]\n", "–" * 30,
)  # fmt: skip
NAMES = (*TEXTS, "shows/one.mp4", "shows/two/three.mp4", "Shows/one.mp4", "shows/", "one.mp4")
IPS = ("192.0.2.1", "192.0.2.2", "192.0.2.200", "198.51.100.7", "0.0.0.0", "255.255.255.255", "2001:db8::1",
       "2001:db8::2", "2001:db8:1::1", "::", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
       "::fffe:0:1")  # fmt: skip
NETS = (*IPS, "192.0.2.0/24", "192.0.2.77/25", "192.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::/127",
        "::/1", "8000::/1", "::ffff:192.0.2.1", "::ffff:0:0/96", "::/64", "0.0.0.0/1")  # fmt: skip
PATTERNS = ("*", "shows/*", "*.mp4", "s*o*.mp4", "shows/one.mp4|one.mp4", "*%*", "*_*", "a*c", "*\\*", "*'*", "*é*",
            "*\n*", "*]*", "|plain|", "*☃*", "P*|*hi*|nothing", "x*y*z", "**", "{*}", "a%*", "*\t*")  # fmt: skip
REASONS = tuple(reason.value for reason in Reason)


def block_of(number: int, rows: list[Row]) -> Block:
    ids = [row["id"] for row in rows]
    return Block(
        number=number,
        incarnation=7_000_000_000_000_000_001,
        first_id=min(ids),
        last_id=max(ids),
        rows=len(rows),
        digest=oracle.digest(rows),
        shipped=True,
    )


def a_row(number: int, *, at_ms: int, rng: random.Random) -> Row:
    return {
        "id": number,
        "cdn": CDN if number % 5 else OTHER_CDN,
        "at_ms": at_ms,
        "key": rng.choice(TEXTS),
        "pass": rng.choice(TEXTS) + rng.choice(("", "|", "|rnd", "|a|b")),
        "app": rng.choice(NAMES),
        "appinst": rng.choice(TEXTS),
        "video": rng.choice(NAMES),
        "ip": rng.choice(IPS),
        "pageurl": rng.choice(TEXTS) * rng.choice((1, 20)),
        "refurl": rng.choice(TEXTS),
        "user_agent": rng.choice(TEXTS),
        "server_ip": rng.choice(IPS),
        "edge": rng.choice((0, 1, 2**63 - 1)),
        "cut": rng.choice((0, 1, 255)),
        "reason": rng.choice(("", "", "", *REASONS)),
    }


def make_blocks() -> dict[int, list[Row]]:
    """Blocks 1 to 8, ids rising with gaps, each of one month, the last one alone in its hour."""
    rng = random.Random(20261101)
    blocks: dict[int, list[Row]] = {}
    for number in range(1, 9):
        month_ms = START_MS if number <= 4 else MONTH_END_MS
        rows = [
            a_row(number * 1000 + 3 * i, at_ms=month_ms + rng.randrange(7_200_000), rng=rng)
            for i in range(2 if number == 8 else 120)
        ]
        blocks[number] = rows
    blocks[8][1]["at_ms"] = MONTH_END_MS
    return blocks


BLOCKS = make_blocks()
WHOLE = Horizon(upto=8)


def inside(horizon: Horizon, *, cdn: int = CDN) -> list[Row]:
    numbers = [number for number in BLOCKS if horizon.behind < number <= horizon.upto and number not in horizon.but]
    rows = [row for number in numbers for row in BLOCKS[number] if row["cdn"] == cdn]
    return [row for row in rows if row["at_ms"] >= horizon.from_ms]


def search_of(wanted: Filter) -> AttemptFilter:
    """The filter as the border would make it from a client's words."""
    members: dict[str, Any] = dict(wanted)
    for name in ("app", "video"):
        if name in members and is_pattern(members[name]):
            members[name] = parse_pattern(name, members[name])
    for name in ("ip", "server_ip"):
        if name in members:
            members[name] = parse_filter_net(name, members[name])
    if "reason" in members:
        members["reason"] = Reason(members["reason"])
    return AttemptFilter(**members)


def expected(wanted: Filter, horizon: Horizon = WHOLE) -> list[Row]:
    return [row for row in inside(horizon) if oracle.is_meant(row, wanted)]


def single_filters() -> list[Filter]:
    filters: list[Filter] = [{}]
    filters += [
        {name: text} for name in ("key", "password", "user") for text in (*TEXTS, "absent", "plain|rnd", "é|a|b")
    ]
    filters += [{name: text} for name in ("app", "video") for text in (*NAMES, *PATTERNS) if text]
    filters += [{name: net} for name in ("ip", "server_ip") for net in NETS]
    filters += [{"accepted": True}, {"accepted": False}, *({"reason": reason} for reason in REASONS)]
    filters += [{name: MONTH_END_MS + step} for name in ("from_ms", "before_ms") for step in (-1, 0, 1)]
    filters += [{name: 5003 + step} for name in ("after_id", "before_id") for step in (-1, 0, 1)]
    filters += [{"from_ms": -(2**63)}, {"before_ms": 2**63 - 1}, {"after_id": -1}, {"before_id": 2**63 - 1}]
    return filters


def combined_filters(number: int) -> list[Filter]:
    """Filters of two to five members, each drawn from a row that exists so that most of them find something."""
    rng = random.Random(number)
    rows = inside(WHOLE)
    filters = []
    for _ in range(number):
        row = rng.choice(rows)
        every: Filter = {
            "key": row["key"],
            "password": row["pass"],
            "user": oracle.user(row),
            "app": rng.choice((row["app"] or "*", "*", f"{row['app'][:1]}*", f"*{row['app'][-1:]}")),
            "video": rng.choice((row["video"] or "*", f"{row['video'][:2]}*|plain")),
            "ip": rng.choice((row["ip"], f"{row['ip']}/24")),
            "server_ip": row["server_ip"],
            "accepted": row["reason"] == "",
            "reason": row["reason"],
            "from_ms": row["at_ms"] - 1_000_000,
            "before_ms": row["at_ms"] + 1_000_000,
            "after_id": row["id"] - 2000,
            "before_id": row["id"] + 2000,
        }
        filters.append({name: every[name] for name in rng.sample(sorted(every), rng.randrange(2, 6))})
    return filters
