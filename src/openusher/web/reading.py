"""Reads, at a turn of the event loop, what came on so many connections; the others have theirs in the next turns.

The event loop itself reads all that has come before anything else has its turn. Where twenty thousand connections ask
at once such a turn took seconds, in which nothing that the ledger answers was looked at: it decided a batch a turn, and
nearly everybody was told that the node is busy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# As many as a batch takes, and less than a tenth of a second.
READ_MAX = 512
# More than that does not wait, in memory, but is taken at once.
_WAITING_BYTES_MAX = 16 * 1024


class Readable(Protocol):
    """A connection whose bytes may have to wait."""

    def wait_to_be_read(self) -> None:
        """Take no more bytes from the other side until `read` is called."""
        ...

    def read(self, data: bytes) -> None:
        """What came, now that it has its turn."""
        ...


class Reading:
    """Whose bytes are read in this turn, in order of arrival. One for a server."""

    def __init__(self) -> None:
        self._read = 0
        self._later: deque[tuple[Readable, bytes]] = deque()

    def is_now(self, connection: Readable, data: bytes) -> bool:
        """Whether `data` is to be read at once. Else the connection is told to wait, and `read` is called later."""
        if (self._read < READ_MAX and not self._later) or len(data) > _WAITING_BYTES_MAX:
            if not self._read:
                asyncio.get_running_loop().call_soon(self._begin_turn)
            self._read += 1
            return True
        connection.wait_to_be_read()
        self._later.append((connection, data))
        return False

    def _begin_turn(self) -> None:
        self._read = min(len(self._later), READ_MAX)
        if self._read:
            loop = asyncio.get_running_loop()
            for _ in range(self._read):
                connection, data = self._later.popleft()
                loop.call_soon(connection.read, data)
            loop.call_soon(self._begin_turn)
