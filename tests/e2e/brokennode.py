"""What holds a data folder and answers an export on its admin socket, but not to the end."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from openusher.ledger.folder import ADMIN_SOCKET, LEDGER_FILE, hold_folder

_ROW = [1, 158, 1_793_484_000_000, "k", "p", "live", "", "cam1", "0" * 32, "", "", "", "0" * 32, 1, 0, ""]
_LINES = [{"last_id": 3, "attempts": 3}, _ROW, [2, *_ROW[1:]]]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"


class BrokenNode:
    """Sends the cut and two rows of three; then it `breaks` the connection, `ends` its answer, sends an `error`, or
    `hangs` until whoever asked goes away, with `said` set."""

    def __init__(self, data: Path, answer: str) -> None:
        self._folder = hold_folder(data)
        (data / LEDGER_FILE).touch()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(data / ADMIN_SOCKET))
        self._listening.listen()
        self._answer = answer
        self.said = Event()
        self._thread = Thread(target=self._serve)

    def __enter__(self) -> BrokenNode:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # Nobody may have come.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        self._folder.release()

    def _serve(self) -> None:
        with suppress(OSError), self._listening.accept()[0] as connection:
            connection.recv(65_536)
            lines = [*_LINES, {"error": "the log is away"}] if self._answer == "error" else _LINES
            piece = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            connection.sendall(_HEAD + b"%x\r\n%b\r\n" % (len(piece), piece))
            self.said.set()
            if self._answer == "hangs":
                # What is left of the request, then the end.
                while connection.recv(65_536):
                    pass
            if self._answer != "breaks":
                connection.sendall(b"0\r\n\r\n")
