"""The ledger process: holds the SQLite ledger, and carries out what comes over the socket it inherited.

Run by exec only (`python -m openusher.ledger.apart.process LAUNCH`). It lives no longer than the door.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import uvloop

from openusher.beside import DoorSocket, framed, framed_bytes, live_with
from openusher.errors import CommitUnknown, InvalidParameter, SetupError, UsherError
from openusher.ledger.apart.wire import (
    Answer,
    Ask,
    End,
    Failed,
    Forget,
    Launch,
    Ready,
    Refused,
    Rows,
    ToDoor,
    arguments_of,
    encoder,
    failure_of,
    raw,
    to_ledger,
)
from openusher.ledger.base import Drawn, Outcome
from openusher.ledger.sqlite import SqliteLedger
from openusher.logs import event_log, log_to_stderr
from openusher.logs.floods import tell_all_left_out

log = event_log()


def main() -> None:
    """Open the ledger, carry out until told to end, close it and exit."""
    launch = msgspec.json.decode(sys.argv[1], type=Launch)
    live_with(launch.parent_pid)
    log_to_stderr(launch.form, process="ledger")
    door = DoorSocket(socket.socket(fileno=launch.socket_fd))
    loop = uvloop.new_event_loop()
    # This thread receives; what it receives must reach the writer's thread without waiting for the loop's turn.
    Thread(target=loop.run_forever, daemon=True, name="ledger-loop").start()
    try:
        ledger = asyncio.run_coroutine_threadsafe(_open(launch), loop).result()
    except SetupError as error:
        door.send(framed(Refused(str(error)), encoder))
        os._exit(1)
    door.send(framed(Ready(ledger.clock_ms), encoder))
    _Desk(ledger, door, loop).serve()
    tell_all_left_out()
    os._exit(0)


async def _open(launch: Launch) -> SqliteLedger:
    return await SqliteLedger.open(Path(launch.file), demo=launch.demo, read_s_max=launch.read_s_max)


class _Desk:
    """Takes what comes, and answers it."""

    def __init__(self, ledger: SqliteLedger, door: DoorSocket, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._door = door
        self._loop = loop
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def serve(self) -> None:
        """Until told to end; then close the ledger."""
        while True:
            match to_ledger.decode(self._door.receive()):
                case Ask(_, "commit_batch") as ask:
                    self._commit(ask)
                case Ask() as ask:
                    self._loop.call_soon_threadsafe(self._begin, ask)
                case Forget(number):
                    self._loop.call_soon_threadsafe(self._forget, number)
                case End():
                    asyncio.run_coroutine_threadsafe(self._ledger.close(), self._loop).result()
                    return

    def _commit(self, ask: Ask) -> None:
        def answer(outcome: list[Outcome] | Exception) -> None:
            """On the writer's thread, before it begins on the next batch."""
            self._answer(ask.number, outcome if isinstance(outcome, list | UsherError) else _failed(outcome))

        try:
            drawn = Drawn(**arguments_of(ask))
        except msgspec.ValidationError:
            self._answer(ask.number, InvalidParameter("operations", "one of them cannot be understood"))
        else:
            self._ledger.commit_soon(drawn, answer)

    def _begin(self, ask: Ask) -> None:
        task = self._loop.create_task(self._carry_out(ask))
        self._tasks[ask.number] = task
        task.add_done_callback(lambda task: self._tasks.pop(ask.number))

    def _forget(self, number: int) -> None:
        if number in self._tasks:
            self._tasks[number].cancel()

    async def _carry_out(self, ask: Ask) -> None:
        result: Any
        try:
            result = await getattr(self._ledger, ask.method)(**arguments_of(ask))
        except UsherError as error:
            result = error
        except Exception as error:
            result = _failed(error)
        self._answer(ask.number, result)

    def _answer(self, number: int, result: Any) -> None:
        match result:
            case UsherError():
                self._send(Failed(number, failure_of(result)))
            case bytes() if result:
                self._send(Rows(number), result)
            case _:
                self._send(Answer(number, self._ledger.clock_ms, raw(result)))

    def _send(self, message: ToDoor, rows: bytes | None = None) -> None:
        frame = framed(message, encoder)
        if rows is not None:
            frame += framed_bytes(rows)
        self._door.send(frame)


def _failed(error: Exception) -> UsherError:
    """What nobody thought of is seen in the log, and whoever asked is not left waiting."""
    log.error("ledger.failed", exc_info=error)
    return CommitUnknown(f"the ledger failed ({type(error).__name__}); what was asked may or may not be written")


if __name__ == "__main__":
    main()
