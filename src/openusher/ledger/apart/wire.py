"""What door and ledger process say to each other: JSON, since msgpack has no numbers of 128 bits, which addresses are.

The contract itself (base.py) says what travels: the arguments and results of its methods are read off it.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec

from openusher import errors
from openusher.errors import UsherError
from openusher.ledger.base import Done, Ledger
from openusher.logs import LogForm
from openusher.model.account import Secret
from openusher.model.attempt import Decision
from openusher.model.session import Started
from openusher.model.ticket import Ticket


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger process is told on its command line. `lock_fd` holds the data folder as long as it lives."""

    socket_fd: int
    lock_fd: int
    parent_pid: int
    file: str
    demo: bool
    read_s_max: float
    form: LogForm


class Ask(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Call a method; the answer carries the same number."""

    number: int
    method: str
    arguments: msgspec.Raw


class Forget(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Whoever asked this has gone: it may be broken off, and gets no answer."""

    number: int


class End(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Close the ledger and exit."""


class Failure(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One of our errors: its class, its text and what else it holds."""

    kind: str
    text: str
    fields: dict[str, str | int | bool]


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The ledger is open."""

    clock_ms: int


class Refused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """It cannot be opened; the process exits."""

    problem: str


class Answer(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What a method returned, and the largest clock that the ledger has seen by then."""

    number: int
    clock_ms: int
    result: msgspec.Raw


class Rows(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """An answer that is bytes: they follow in a frame of their own, since JSON would stop the door for as long as it
    takes to read a block's 32 MiB out of it."""

    number: int


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What a method raised."""

    number: int
    failure: Failure


ToLedger = Ask | Forget | End
ToDoor = Ready | Refused | Answer | Rows | Failed
# As `Outcome`, of which one kind is an error.
Sent = Decision | Started | Ticket | Done | Failure

_COMMIT = "commit_batch"
METHODS = (
    _COMMIT,
    "ticket",
    "count_pending",
    "group_pending",
    "totals_pending",
    "newest_pending",
    "oldest_pending",
    "directory",
    "create_account",
    "set_account_active",
    "add_api_key",
    "revoke_api_key",
    "see_api_keys",
    "count_tickets",
    "find_tickets",
    "begin_import",
    "import_tickets",
    "finish_import",
    "drop_imports",
    "create_edge",
    "change_edge",
    "add_cookie_key",
    "live_sessions",
    "ended_sessions",
    "owed_sessions",
    "prune_sessions",
    "forget",
    "delete_forgotten",
    "release_blocks",
    "anonymise",
    "anonymise_rows",
    "anonymise_blocks",
    "anonymise_sessions",
    "next_block",
    "block_rows",
    "write_rows",
    "mark_shipped",
    "delete_shipped",
    "blocks",
    "stats",
    "tally",
    "be_ready",
    "is_demo",
    "check",
    "copy_to",
    "set_indexes",
)
# What changes nothing, so that it was surely not done where no answer came.
READS = frozenset(
    {
        "ticket",
        "count_tickets",
        "find_tickets",
        "count_pending",
        "group_pending",
        "totals_pending",
        "newest_pending",
        "oldest_pending",
        "directory",
        "live_sessions",
        "ended_sessions",
        "owed_sessions",
        "block_rows",
        "write_rows",
        "blocks",
    }
    | {"stats", "tally", "be_ready", "is_demo", "check", "copy_to"}
)


def _to_json(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, UsherError):
        return failure_of(value)
    raise TypeError(type(value).__name__)


def _from_json(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise TypeError(kind.__name__)


class _Method(msgspec.Struct):
    """How a method's arguments and its result are read."""

    arguments: msgspec.json.Decoder[Any]
    result: msgspec.json.Decoder[Any]


def _method(name: str) -> _Method:
    hints = get_type_hints(getattr(Ledger, name))
    returned = list[Sent] if name == _COMMIT else hints["return"]
    arguments = msgspec.defstruct(name, [(field, kind) for field, kind in hints.items() if field != "return"])
    return _Method(
        msgspec.json.Decoder(arguments, dec_hook=_from_json), msgspec.json.Decoder(returned, dec_hook=_from_json)
    )


_methods = {name: _method(name) for name in METHODS}
encoder = msgspec.json.Encoder(enc_hook=_to_json)
to_ledger = msgspec.json.Decoder(ToLedger)
to_door = msgspec.json.Decoder(ToDoor)


def raw(value: Any) -> msgspec.Raw:
    """Arguments by name, a result, or one of our errors, as they travel."""
    return msgspec.Raw(encoder.encode(value))


def arguments_of(ask: Ask) -> dict[str, Any]:
    """The arguments by name. Raises msgspec's errors for what no door of this version sends."""
    return msgspec.structs.asdict(_methods[ask.method].arguments.decode(ask.arguments))


def result_of(method: str, result: msgspec.Raw) -> Any:
    """What the method returned."""
    return _methods[method].result.decode(result)


def failure_of(error: UsherError) -> Failure:
    return Failure(type(error).__name__, str(error), vars(error))


def error_of(failure: Failure) -> UsherError:
    """The same error again, without its traceback."""
    kind: type[UsherError] = getattr(errors, failure.kind)
    error = kind.__new__(kind)
    error.args = (failure.text,)
    vars(error).update(failure.fields)
    return error
