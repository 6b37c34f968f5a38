"""Writes lines to stderr as long as somebody reads them: a node must not stand still because its log does."""

from __future__ import annotations

import logging
import os
import select

import structlog

# What a pipe that says it takes something takes at once.
_PIECE_BYTES = select.PIPE_BUF


class ReadableLines(logging.Handler):
    """Writes to the file of this number. What does not fit while nobody reads is lost, and counted in the next line."""

    def __init__(self, file: int, log: structlog.stdlib.BoundLogger) -> None:
        super().__init__()
        self._file = file
        self._log = log
        self._lost = 0
        self._is_torn = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            if self._lost and self._takes_some():
                lost, self._lost = self._lost, 0
                self._log.warning("log.lines_lost", lines=lost, limited=True)
            self._write(b"\n" + line if self._is_torn else line)
        except Exception:
            self.handleError(record)

    def _write(self, line: bytes) -> None:
        for begin in range(0, len(line), _PIECE_BYTES):
            if not self._takes_some():
                self._lost += 1
                self._is_torn = self._is_torn or begin > 0
                return
            os.write(self._file, line[begin : begin + _PIECE_BYTES])
        self._is_torn = False

    def _takes_some(self) -> bool:
        asked = select.poll()
        asked.register(self._file, select.POLLOUT)
        return any(found & select.POLLOUT for _, found in asked.poll(0))
