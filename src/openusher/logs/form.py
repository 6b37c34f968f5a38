"""What a line looks like: JSON for programs, aligned and coloured for people; one line, whatever its values are."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# A whole path or agent is no use in a log, and a line must stay one write.
TEXT_MAX = 300
_FRAMES_MAX = 20
_EXCEPTION_MAX = 6_000
_EVENT_WIDTH = 24


def line_formatter(*, process: str, console: bool, colours: bool) -> logging.Formatter:
    """Makes lines of this process's events, and of what libraries log, which is the event `library.said`."""
    render: Processor
    if console:
        render = structlog.dev.ConsoleRenderer(
            colors=colours,
            sort_keys=False,
            timestamp_key="time",
            pad_event_to=_EVENT_WIDTH,
            # The usual one shows the values of variables.
            exception_formatter=structlog.dev.plain_traceback,
        )
    else:
        render = _as_json

    def headed(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        record = event.pop("_record")
        event.pop("_from_structlog")
        told = _told_exception(event.pop("exc_info", None) or record.exc_info)
        return {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "event": event.pop("event"),
            "process": process,
            **{name: _bounded(value) for name, value in event.items() if value is not None},
            **({"exception": told} if told else {}),
        }

    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[_library], processors=[headed, render])


def escaped(text: str, *, most: int = TEXT_MAX) -> str:
    """`text` without anything that could begin a line, move a cursor or turn the direction of writing; cut to its
    limit."""
    if len(text) > most:
        text = text[:most] + "…"
    return text if text.isprintable() else "".join(map(_escaped_character, text))


def _escaped_character(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _bounded(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    return escaped(str(value))


def _library(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    # Some add what they were working on in further lines.
    said = str(event.pop("event")).strip().partition("\n")[0]
    return {"logger": event["_record"].name, "said": said, **event, "event": "library.said"}


def _told_exception(given: Any) -> str:
    """Where it was raised and what it is. Its text only where it is one of ours, or the system's: whatever else was
    raised may have in it what it stumbled over, such as a pass."""
    error = sys.exception() if given is True else given[1] if isinstance(given, tuple) else given
    if not isinstance(error, BaseException):
        return ""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:])
        parts.append(f"Traceback (most recent call last):\n{''.join(frames)}{_name_and_text(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    told = "\nwhich came of:\n".join(parts)
    return told[:_EXCEPTION_MAX]


def _name_and_text(error: BaseException) -> str:
    kind = type(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{kind.__name__}: {escaped(error.strerror)}"
    if kind.__module__.startswith("openusher."):
        return f"{kind.__name__}: {escaped(str(error))}"
    return kind.__name__


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()
