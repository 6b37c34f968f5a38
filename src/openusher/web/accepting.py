"""Takes connections: as many as wait, at each turn of the event loop.

uvloop's own servers take one a turn. While thousands of viewers start, a turn is milliseconds long, and an edge that
opens a few hundred connections more would wait for seconds until the last of them is heard.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from openusher.logs import event_log

# At a turn, for which those who are connected wait: some 30 ms where so many come at once. Fewer than come, and the
# kernel's queue of 4,096 runs over: it answers by SYN cookies then, and some of these connections it resets later.
TAKEN_MAX = 512
# Where there is no descriptor or no memory for one more, those who wait are not looked at for so long.
_PAUSE_S = 0.5
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = event_log()


class Accepting:
    """To the server like one of the event loop's own, on one listening socket, which stays open at its end.

    `connect` makes the protocol of a connection; `tls` are what `connect_accepted_socket` takes.
    """

    def __init__(
        self,
        listening: socket.socket,
        connect: Callable[[], asyncio.BaseProtocol],
        *,
        tls: dict[str, Any],
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._connect = connect
        self._tls = tls
        self._pause_s = pause_s
        self._pause: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[Any]] = set()
        listening.setblocking(False)
        self._look()

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """The connections that were taken end by themselves."""

    def _look(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._take)

    def _take(self) -> None:
        for _ in range(TAKEN_MAX):
            try:
                taken, _ = self._listening.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._loop.remove_reader(self._listening)
                    self._pause = self._loop.call_later(self._pause_s, self._look)
                    log.error("node.no_room_for_connections", error=errno.errorcode[error.errno])
                # Else there is none left, or one that has gone while it waited.
                return
            taken.setblocking(False)
            connecting = self._loop.create_task(self._loop.connect_accepted_socket(self._connect, taken, **self._tls))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connected)

    def _connected(self, connecting: asyncio.Task[Any]) -> None:
        self._connecting.discard(connecting)
        if not connecting.cancelled() and (error := connecting.exception()) is not None:
            # A stranger who does not speak TLS, or went away.
            log.debug("connection.not_made", error=type(error).__name__)
