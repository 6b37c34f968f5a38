"""What the log process says on its stderr: its own events, and whatever the engine writes there by itself.

The engine's own lines are passed on whole only while it opens. Later they may have in them what a statement was bound
to, or the rows of a block: then only the names of damage and of signals are, which are known beforehand.
"""

from __future__ import annotations

import logging
import re
import signal
from typing import Any

import msgspec

from openusher.attemptlog.engine import DAMAGE
from openusher.logs import event_log

# The reason for a failed start is its last lines; chDB puts a whole CREATE TABLE into one.
_BYTES_KEPT = 32_768
_WORD = re.compile(r"[A-Z][A-Z0-9_]+")
_NAMES = DAMAGE | {"MEMORY_LIMIT_EXCEEDED", "NOT_ENOUGH_SPACE"} | {each.name for each in signal.Signals}
_decoder = msgspec.json.Decoder(dict[str, Any])
# Of its line, what the door's own line says anew.
_OWN_HEAD = ("time", "level", "event")

log = event_log()


class Heard:
    """Takes its bytes as they come, logs them in the door's form, and keeps the last."""

    def __init__(self) -> None:
        self._kept = b""
        self._rest = b""
        self._is_ready = False

    def be_ready(self) -> None:
        """It is open: from here on it works with viewers' values."""
        self._is_ready = True

    def hear(self, said: bytes) -> None:
        """Whatever was read of it, in pieces of any size."""
        self._kept = (self._kept + said)[-_BYTES_KEPT:]
        *lines, self._rest = (self._rest + said).split(b"\n")
        # Nobody needs more of a line that does not end.
        self._rest = self._rest[:_BYTES_KEPT]
        for line in lines:
            if line.strip():
                self._tell(line)

    def text(self) -> str:
        """The last that it said."""
        return self._kept.decode(errors="replace")

    def _tell(self, line: bytes) -> None:
        if (event := _own_event(line)) is not None:
            level = logging.getLevelNamesMapping().get(str(event["level"]).upper(), logging.WARNING)
            fields = {name: value for name, value in event.items() if name not in _OWN_HEAD}
            log.log(level, str(event["event"]), **fields)
            return
        text = line.decode(errors="replace")
        if not self._is_ready:
            log.warning("log.said", process="log", said=text.strip())
            return
        names = sorted(_NAMES.intersection(_WORD.findall(text)))
        if names:
            log.warning("log.said", process="log", names=", ".join(names))


def _own_event(line: bytes) -> dict[str, Any] | None:
    """What our own logging wrote there; None for a line of the engine's."""
    if not line.startswith(b'{"time":'):
        return None
    try:
        event = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event if event.keys() >= set(_OWN_HEAD) else None
