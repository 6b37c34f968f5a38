"""`sevu.request`: signed commands that create a ticket each."""

from __future__ import annotations

import random
from pathlib import Path

from bench.counting import HEADERS, PATH, form_line
from bench.load import Load, Report, run_load
from bench.process import Account, Server

CONNECTIONS = 64
# More than one core can take, so that the commands last for the time measured: each is taken once only.
_COMMANDS_A_SECOND = 12_000


def measure_issue(server: Server, account: Account, *, seconds: float, folder: Path) -> Report:
    chance = random.Random(0)
    warmup_s = seconds / 4
    bodies = folder / "commands.txt"
    with bodies.open("w") as lines:
        for _ in range(int(_COMMANDS_A_SECOND * (warmup_s + seconds))):
            wanted: dict[str, str | int] = {
                "app": "acme-live",
                "video": "live/cam1|vod/*",
                "pass": f"user{chance.randrange(20_000)}|{chance.getrandbits(64):016x}",
                "ip": f"10.{chance.randrange(256)}.{chance.randrange(256)}.7",
                "uses": 99,
                "expire": "+24 hours",
            }
            lines.write(form_line("sevu.request", wanted, account) + "\n")
    return run_load(
        Load(
            host=server.host,
            port=server.port,
            path=PATH,
            headers=HEADERS,
            bodies=str(bodies),
            expected='"status":"success"',
            connections=CONNECTIONS,
            warmup_s=warmup_s,
            seconds=seconds,
            once=True,
        )
    )
