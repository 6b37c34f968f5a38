"""How a node's processes log: an event and its fields, a line on stderr, which a supervisor keeps.

    log = event_log()
    log.info("block.shipped", number=7, rows=20_000)

An event is named in the past tense, `thing.happened`; docs/reference/log-events.md says what each means. Fields hold
numbers and short texts, never a pass, secret, signature or token. form.py makes a line of it, whatever stands in the
texts, floods.py keeps lines few, and stderr.py writes them while somebody reads.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from typing import Any, cast

import msgspec
import structlog

from openusher.logs.floods import FewOfEach, tell_all_left_out
from openusher.logs.form import line_formatter
from openusher.logs.stderr import ReadableLines

_OURS = logging.getLogger("openusher")
# The process's own, whatever stands in for `sys.stderr`.
_STDERR = 2


class LogForm(msgspec.Struct, frozen=True):
    """How a process logs, as the settings `log_format` and `log_level` say it; given on to those that it starts."""

    format: str = "auto"
    level: str = "info"


_form = LogForm()


def event_log() -> structlog.stdlib.BoundLogger:
    """What a module logs with. Before `log_to_stderr`, its events are records of the standard library like any."""
    bound = structlog.wrap_logger(
        _OURS,
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast(structlog.stdlib.BoundLogger, bound)


def log_form() -> LogForm:
    """How this process logs."""
    return _form


def log_to_stderr(form: LogForm, *, process: str) -> None:
    """From here on this process logs what is worth an operator's reading, its own end by an exception included."""
    global _form
    _form = form
    is_terminal = sys.stderr.isatty()
    is_console = form.format == "console" or (form.format == "auto" and is_terminal)
    handler = ReadableLines(_STDERR, event_log())
    handler.setFormatter(line_formatter(process=process, console=is_console, colours=is_terminal))
    handler.addFilter(FewOfEach(event_log()))
    # Libraries only warn: below that they tell of each request, with URLs and headers.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)
    _OURS.setLevel(form.level.upper())
    # What these warn of is what a stranger sends, a line for each, which `http.answered` tells.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    _log_ends()
    atexit.register(tell_all_left_out)


def _log_ends() -> None:
    """An exception that nobody caught is told like all else, which shows no values."""
    log = event_log()

    def failed(kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            sys.__excepthook__(type(error), error, traceback)
        else:
            log.critical("process.failed", exc_info=error)

    sys.excepthook = failed
    threading.excepthook = lambda ended: failed(ended.exc_type, ended.exc_value, ended.exc_traceback)
