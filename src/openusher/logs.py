"""How a node's processes log: a line on stderr, which a supervisor keeps."""

from __future__ import annotations

import logging
import sys


def log_to_stderr() -> None:
    """From here on this process logs what is worth an operator's reading."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    # What these warn of is what a stranger sends, a line for each; it would fill the log, and is answered anyway.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # It has whole URLs of the calls that we make, and those of control APIs may have a password.
    logging.getLogger("httpx").setLevel(logging.WARNING)
