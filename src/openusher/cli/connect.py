"""The way from a command to a data folder: through its running node's admin socket, or by holding it ourselves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from openusher.cli.output import Exit, err, fail
from openusher.errors import SetupError
from openusher.ledger.folder import ADMIN_SOCKET, FolderInUse, hold_folder, short_path
from openusher.settings import Settings

if TYPE_CHECKING:
    import httpx

# A full check reads everything; all else answers in milliseconds.
_TIMEOUT_S = 3_600.0
_BASE_URL = "http://admin"
# It has the folder before it has the socket; of one that was killed the socket is still there.
_STARTING = "if it has just been started, ask again in a moment"


@asynccontextmanager
async def admin(
    settings: Settings, *, create: bool = False, with_log: bool = False, running: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the admin API on `settings.data`, whether or not its node runs. Ends the command on failure.

    With `running` it has to: what is asked is in its memory. Only with `create` may the folder become a data folder by
    this. Without a running node nothing is shipped.
    Imports late: a node's parts take half a second to load, and most commands only talk to one that runs.
    """
    try:
        hold_folder(settings.data, create=create).release()
    except FolderInUse as error:
        if not (settings.data / ADMIN_SOCKET).exists():
            fail(f"{error}; {_STARTING}")
        async with _client_of_running_node(settings) as client:
            yield client
        return
    except SetupError as error:
        fail(str(error))
    if running:
        fail(f"no node runs on {settings.data}; start it with usher serve", Exit.UNREACHABLE)
    async with _client_of_own_node(settings, create=create, with_log=with_log) as client:
        yield client


@asynccontextmanager
async def _client_of_running_node(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    import httpx

    with short_path(settings.data) as folder:
        socket = httpx.AsyncHTTPTransport(uds=f"{folder}/{ADMIN_SOCKET}")
        async with httpx.AsyncClient(transport=socket, base_url=_BASE_URL, timeout=_TIMEOUT_S) as client:
            yield client


@asynccontextmanager
async def _client_of_own_node(settings: Settings, *, create: bool, with_log: bool) -> AsyncIterator[httpx.AsyncClient]:
    import httpx

    from openusher.cli.inprocess import AppTransport
    from openusher.logs import LogForm, log_to_stderr
    from openusher.node import open_node
    from openusher.web.admin import admin_app

    if os.geteuid() == 0 and settings.data.exists() and (owner := settings.data.stat().st_uid) != 0:
        err.print(
            f"usher: {settings.data} belongs to user {owner}, whom files that root makes there may shut out: give such "
            "commands as that user (sudo -u), or hand the files over afterwards (chown -R)",
            markup=False,
        )
    # For whoever has typed the command.
    log_to_stderr(LogForm("console", "warning"), process="usher")
    try:
        async with open_node(settings, create=create, with_log=with_log, ships=False) as usher:
            transport = AppTransport(admin_app(usher))
            async with httpx.AsyncClient(transport=transport, base_url=_BASE_URL, timeout=_TIMEOUT_S) as client:
                yield client
    except SetupError as error:
        fail(str(error))


async def ask(
    client: httpx.AsyncClient, method: str, path: str, body: Any = None, *, put: Callable[[str], str] = str
) -> Any:
    """The answer's content. Ends the command with the node's own words when it refuses, or as `put` puts them."""
    import httpx

    try:
        answer = await client.request(method, path, json=body)
    except httpx.TransportError as error:
        _fail_unreachable(error)
    return _content(answer, put)


async def ask_lines(
    client: httpx.AsyncClient, method: str, path: str, body: Any, *, put: Callable[[str], str] = str
) -> AsyncGenerator[list[bytes], None]:
    """As `ask`, of an answer that comes in lines for as long as it takes: some of them at a time, as they come."""
    import httpx

    try:
        async with client.stream(method, path, json=body, timeout=None) as answer:
            if answer.is_error:
                await answer.aread()
                _content(answer, put)
            rest = b""
            async for piece in answer.aiter_raw():
                *lines, rest = (rest + piece).split(b"\n")
                yield lines
    except httpx.TransportError as error:
        _fail_unreachable(error)


async def send_file(client: httpx.AsyncClient, path: str, pieces: AsyncIterator[bytes]) -> Any:
    """As `ask`, of what is sent as it is, for as long as it takes."""
    import httpx

    try:
        answer = await client.post(path, content=pieces, timeout=None)
    except httpx.TransportError as error:
        _fail_unreachable(error)
    return _content(answer, str)


def _content(answer: httpx.Response, put: Callable[[str], str]) -> Any:
    try:
        content = answer.json()
    except ValueError:
        fail(f"the node failed at this (status {answer.status_code}); its log says why")
    if answer.is_error:
        error = content["error"]
        said = put(error)
        # Of an option that was typed: as if this command had seen it.
        fail(said, Exit.FAILED if said == error else Exit.USAGE)
    return content


def _fail_unreachable(error: Exception) -> NoReturn:
    # Some say nothing, such as one for a connection that was closed at once.
    said = str(error) or type(error).__name__
    fail(f"the node does not answer on its admin socket: {said}; {_STARTING}", Exit.UNREACHABLE)


def ask_node(
    settings: Settings,
    method: str,
    path: str,
    body: Any = None,
    *,
    create: bool = False,
    with_log: bool = False,
    running: bool = False,
    put: Callable[[str], str] = str,
) -> Any:
    """One question to the admin API, for commands that have no more; ends the command as `admin` and `ask` do."""

    async def run() -> Any:
        async with admin(settings, create=create, with_log=with_log, running=running) as client:
            return await ask(client, method, path, body, put=put)

    return asyncio.run(run())
