"""What a running node is told by signals: SIGTERM and SIGINT end it within a bounded time, SIGHUP has it reload."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import time
from collections.abc import Callable

import uvicorn

from openusher.logs import event_log

# Requests 3 s, the log's process 2 s, the ledger's 3 s; the rest takes milliseconds. A supervisor may wait no longer
# than 10 s, and what is written is safe at every moment.
_GONE_S_MAX = 9.5

log = event_log()


class Signals:
    """From before the node opens until it is closed: the first that ends it ends its servers, more change nothing,
    since what is left is bounded in time and must not be torn. Logs why the node stops, and when it has."""

    def __init__(self, *, on_stop: Callable[[str], None]) -> None:
        self._on_stop = on_stop
        self._servers: tuple[uvicorn.Server, ...] = ()
        self._asked_s: float | None = None
        self.ledger_is_lost = False
        # On SIGHUP. It must raise nothing.
        self.reload = _nothing_to_reload

    def end(self, *servers: uvicorn.Server) -> None:
        """These are told, also where the signal came before they were made."""
        self._servers = servers
        self._tell()

    def ask_for_lost_ledger(self) -> None:
        """End: without the ledger nothing can be decided, and a supervisor starts both again."""
        self.ledger_is_lost = True
        self._ask("the ledger's process ended")

    def _ask(self, why: str) -> None:
        if self._asked_s is None:
            self._asked_s = time.monotonic()
            log.log(logging.ERROR if self.ledger_is_lost else logging.INFO, "node.stopping", why=why)
            self._on_stop(why)
            # Whatever hangs, on a disk that does not answer say, is shown with its place in the code and left.
            faulthandler.dump_traceback_later(_GONE_S_MAX, exit=True)
            self._tell()

    def _tell(self) -> None:
        for server in self._servers:
            server.should_exit = server.should_exit or self._asked_s is not None

    async def __aenter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._ask, number.name)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: self.reload())
        return self

    async def __aexit__(self, *error: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)
            # The process has nothing left to do but to end, with the status of how it went.
            signal.signal(number, signal.SIG_IGN)
        faulthandler.cancel_dump_traceback_later()
        if self._asked_s is not None:
            log.info("node.stopped", seconds=round(time.monotonic() - self._asked_s, 3))


def _nothing_to_reload() -> None:
    log.info("node.not_reloaded")
