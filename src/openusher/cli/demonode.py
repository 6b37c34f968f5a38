"""The demo's node: a real `usher serve` as its own process, ended by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openusher.cli import page
from openusher.cli.connect import admin, ask
from openusher.cli.credentials import Signer
from openusher.cli.output import fail
from openusher.cli.serve import READY
from openusher.model.account import Secret
from openusher.settings import LogKind, Settings

_START_S_MAX = 30.0
_STOP_S_MAX = 20.0
# Low, so that the demo's counts come from ledger and log together.
_SHIP_ROWS = 1_000


class DemoNode:
    """A running node and what is needed to talk to it."""

    def __init__(self, process: asyncio.subprocess.Process, data: Path, url: str) -> None:
        self._process = process
        self._data = data
        self.url = url
        self.edge_token = ""

    @classmethod
    @asynccontextmanager
    async def started(cls, data: Path, *, port: int, log: LogKind) -> AsyncIterator[DemoNode]:
        """Start a node and await its readiness; at the end stop it, and see that it ended well."""
        flags = ["--demo", "--data", str(data), "--port", str(port), "--log", log, "--ship-rows", str(_SHIP_ROWS)]
        # The file has the settings of this machine's real node.
        flags += ["--config", ""]
        errors = data.with_name("serve.log")
        with errors.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "openusher", "serve", *flags, stdout=asyncio.subprocess.PIPE, stderr=stderr
            )
        try:
            yield cls(process, data, await _ready_url(process, errors))
        finally:
            await _stop(process)

    async def create_page_account(self) -> tuple[Signer, str]:
        """Make the page's account; returns who signs, and the token of its edge."""
        body = {"name": "demo", "cdn": page.CDN, "api_key": page.API_KEY, "secret": page.SECRET}
        made = await self._ask("POST", "/accounts", body)
        return Signer(page.CDN, page.API_KEY, Secret(page.SECRET)), str(made["edge_token"])

    async def import_page_ticket(self) -> None:
        """Take over the page's ticket under its own key."""
        ticket = {
            "key": page.KEY,
            "pass": page.PASS,
            "app": page.APP,
            "video": page.VIDEO,
            "ip": "192.168.0.0/24",
            "uses": 4,
            "expire": "2100-01-01",
        }
        await self._ask("POST", f"/accounts/{page.CDN}/tickets", ticket)

    async def _ask(self, method: str, path: str, body: Any) -> Any:
        async with admin(Settings(data=self._data)) as client:
            return await ask(client, method, path, body)

    async def wait(self) -> None:
        """Return when the node ends, or this process is told to."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._process.wait()


async def _ready_url(process: asyncio.subprocess.Process, errors: Path) -> str:
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), _START_S_MAX)).decode()
    except TimeoutError:
        line = ""
    if not line.startswith(READY):
        last_words = await asyncio.to_thread(errors.read_text)
        fail(f"the node did not start; its last words: {last_words[-2000:].strip()}")
    return line.removeprefix(READY).split(" ", 1)[0]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        status = await asyncio.wait_for(process.wait(), _STOP_S_MAX)
    except TimeoutError:
        process.kill()
        status = await process.wait()
    if status != 0:
        fail(f"the node ended with status {status}")
