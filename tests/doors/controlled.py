"""A node whose kicks are paid to a control API, for test_control.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from openusher.model.edge import EdgeKind
from openusher.web.edges.control import Controller
from tests.doors.controlapi import Behaviour, ControlApi, Said, control_api
from tests.doors.doornode import DoorNode
from tests.golden.srs import hook

_WAIT_S_MAX = 15.0
RETRY_S = 0.1
DONE = Said()
GONE = Said(body=b'{"code":2049}')


def always(said: Said | None) -> Behaviour:
    return lambda method, path: said


async def until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


async def called(api: ControlApi, number: int) -> None:
    await until(lambda: len(api.calls) >= number, f"called {len(api.calls)} times, not {number}")


class Controlled:
    """A node whose kicks are paid, and a viewer of it."""

    def __init__(self, node: DoorNode, api: ControlApi, controller: Controller) -> None:
        self.node = node
        self.api = api
        self.controller = controller

    async def play(self, client: str, key: str = "K", *, ip: str = "192.0.2.7") -> int:
        answer = await self.node.post(
            hook("on_play", client, param=f"?key={key}&pass=pass-of-{key}", ip=ip), **{"user-agent": "SRS"}
        )
        return answer.status

    async def owed(self) -> int:
        return len(await self.node.usher.owed_kicks(after=0, limit=100))

    async def paid(self) -> None:
        """Return once nothing is owed."""

        async def nothing() -> bool:
            return await self.owed() == 0

        await until(nothing, f"still owed; asked {self.api.asked}")


@asynccontextmanager
async def controlled(
    folder: Path, behaviour: Behaviour, *, kind: EdgeKind = EdgeKind.SRS, give_up_s: float = 3600.0
) -> AsyncIterator[Controlled]:
    with control_api(behaviour) as api:
        node = DoorNode(folder, kind, control=api.url)
        await node.start()
        for key in ("K", "L"):
            await node.issue(key)
        await node.issue("new", max_sessions=1, newest_wins=True)
        controller = Controller(node.usher, node.app.controls, retry_s=RETRY_S, give_up_s=give_up_s)
        controller.start()
        try:
            yield Controlled(node, api, controller)
        finally:
            await controller.close()
            await node.stop()


def dropped(*clients: str) -> list[tuple[str, str]]:
    return [("DELETE", f"/api/v1/clients/{client}") for client in clients]
