"""What a node tells the supervisor that started it, in systemd's words (sd_notify(3)): a datagram of lines NAME=VALUE.

Our own, since the protocol is one call of sendto, and the libraries for it are wrappers that need a compiler or that
nobody has touched for years.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Supervisor:
    """Made once, at the start of the process: it takes systemd's variables, so that no other process answers for this
    one. Where none of them is set nobody is told anything."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            # A name without a file.
            self._address = "\0" + self._address[1:]
        watchdog_us = environment.pop("WATCHDOG_USEC", "0")
        is_ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(watchdog_us) / 1e6 if is_ours else 0.0

    def ready(self, status: str) -> None:
        """The node answers; also after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """From here to the next `ready` it reads anew what may have changed."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self, why: str) -> None:
        """It has begun to end."""
        self._tell("STOPPING=1", f"STATUS=Stopping: {why}")

    async def say_alive(self) -> None:
        """As often as is asked for, until cancelled: as long as the loop turns, requests are read and answered."""
        while self._watchdog_s:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to, contextlib.suppress(OSError):
            # It is not waited for, and that it cannot be told must not end what it supervises.
            to.setblocking(False)
            to.sendto("\n".join(lines).encode(), self._address)
