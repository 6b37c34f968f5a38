"""`usher status`: where the node stands, on one screen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from openusher.backup.last import last_backup
from openusher.cli.connect import admin, ask
from openusher.cli.footprint import disk_bytes, folder_bytes, memory_bytes, shown_bytes
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import print_fields, print_json
from openusher.errors import SetupError
from openusher.ledger.folder import FolderInUse, Holder, hold_folder
from openusher.settings import Settings
from openusher.sevu.dates import format_instant


def status(data: Data = None, as_json: AsJson = False) -> None:
    """Show how a node is doing: since when it is up, what it decides, what waits to be shipped, what it takes of memory
    and disk, and when it was backed up last. Where none runs on the folder, what the folder holds.

    \b
    Example: usher status --data /var/lib/usher
    """
    settings = settings_of(data=data)
    holder = _holder(settings)
    answer = asyncio.run(_status(settings))
    running = answer["running"]
    last = last_backup(settings.data)
    answer |= {
        "last_backup": None if last is None else msgspec.to_builtins(last),
        "holder": None if holder is None else msgspec.to_builtins(holder),
        "memory_bytes": memory_bytes(running["pids"]) if running else {},
        "folder_bytes": folder_bytes(settings.data),
        "disk_bytes": disk_bytes(settings.data),
    }
    if as_json:
        print_json(answer)
        return
    print_fields(
        {
            "version": answer["version"],
            **(_shown_node(running, answer["holder"]) if running else {"node": "does not run"}),
            **_shown_attempts(answer),
            **_shown_footprint(answer),
            "last backup": f"{last.made_at} UTC, up to attempt {last.attempt}" if last else "none",
            "fault": answer["fault"] or "none",
        }
    )


def _holder(settings: Settings) -> Holder | None:
    """The process that has the data folder; None where none has."""
    try:
        hold_folder(settings.data, create=False).release()
    except FolderInUse as error:
        return error.holder
    except SetupError:
        # Whoever asks next says what is wrong with it.
        pass
    return None


async def _status(settings: Settings) -> Any:
    async with admin(settings) as client:
        return await ask(client, "GET", "/status")


def _shown_node(running: dict[str, Any], holder: dict[str, Any] | None) -> dict[str, Any]:
    since = format_instant(int(time.time() - running["up_s"]))
    process = f", process {holder['pid']}" if holder else ""
    rates = running["rates"]
    share = f", {rates['accepted'] / rates['decisions']:.0%} of them accepted" if rates["decisions"] else ""
    shown = {
        "node": f"up since {since} UTC{process}",
        "ready": f"no: {running['not_ready']}" if running["not_ready"] else "yes",
        "decisions": f"{rates['decisions']:,.1f} a second in the last {rates['over_s']:.0f} s{share}",
        "follow-ups": f"{rates['follow_ups']:,.1f} a second",
        "sessions": f"{running['sessions']:,} live",
    }
    if running["log_restarts"] is not None:
        state = "running" if "log" in running["pids"] else "away"
        shown["log process"] = f"{state}, restarted {running['log_restarts']} times"
    return shown


def _shown_attempts(answer: dict[str, Any]) -> dict[str, Any]:
    oldest, ahead_s = answer["oldest_pending_ms"], answer["clock_ahead_s"]
    late = f", {answer['ship_lag_s']:.0f} s late" if answer["ship_lag_s"] else ""
    return {
        "attempts recorded": answer["last_attempt_id"],
        "waiting in the ledger": answer["pending"],
        "oldest of them": "-" if oldest is None else f"{max(0.0, time.time() - oldest / 1000):.0f} s{late}",
        "blocks shipped": f"{answer['shipped_block']} of {answer['last_block']}",
        "ledger's clock": f"{ahead_s} s ahead of this machine's" if ahead_s else "as this machine's",
    }


def _shown_footprint(answer: dict[str, Any]) -> dict[str, Any]:
    memory = ", ".join(f"{name} {shown_bytes(size)}" for name, size in answer["memory_bytes"].items())
    parts = ", ".join(f"{name} {shown_bytes(size)}" for name, size in answer["folder_bytes"].items() if size)
    disk = answer["disk_bytes"]
    return {
        **({"memory": memory} if memory else {}),
        "data folder": parts,
        "disk": f"{shown_bytes(disk['free'])} free of {shown_bytes(disk['size'])}",
    }
