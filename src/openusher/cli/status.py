"""`usher status`: where the node stands, on one screen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from openusher.cli.connect import admin, ask
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import print_fields, print_json
from openusher.settings import Settings


def status(data: Data = None, as_json: AsJson = False) -> None:
    """Show how many attempts are recorded, how many wait in the ledger, and since when.

    \b
    Example: usher status --data /var/lib/usher
    """
    answer = asyncio.run(_status(settings_of(data=data)))
    if as_json:
        print_json(answer)
        return
    oldest, ahead_s = answer["oldest_pending_ms"], answer["clock_ahead_s"]
    fields = {
        "version": answer["version"],
        "attempts recorded": answer["last_attempt_id"],
        "waiting in the ledger": answer["pending"],
        "oldest of them": "-" if oldest is None else f"{max(0.0, time.time() - oldest / 1000):.0f} s",
        "blocks shipped": f"{answer['shipped_block']} of {answer['last_block']}",
        "ledger's clock": f"{ahead_s} s ahead of this machine's" if ahead_s else "as this machine's",
        "fault": answer["fault"] or "none",
    }
    print_fields(fields)


async def _status(settings: Settings) -> Any:
    async with admin(settings) as client:
        return await ask(client, "GET", "/status")
