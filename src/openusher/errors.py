"""Everything Usher raises, in one tree. The class says whose fault it is and what may be done next.

UsherError
├── CallerError              what was asked cannot be answered as asked; nothing was changed
│   ├── InvalidParameter     one field, named, with the forms that are taken
│   ├── CommandRefused       a SEVU command answered with a failure: its code and message
│   ├── UnknownTicket        no ticket of this account has that key
│   ├── ReplayedCommand      this signature has already created something
│   ├── AttemptIdReused      this attempt_id came before, with other content
│   ├── NotAuthorised        no such account, API key or edge token, or a disabled one
│   └── AlreadyExists        a name or number that is taken
├── StoreError               our ledger or attempt log
│   ├── Busy                 nothing was done; ask again after `retry_after_s`
│   ├── LedgerUnavailable    nothing was written; the same may be sent again
│   ├── CommitUnknown        it may have been written: look before sending again
│   ├── LogUnavailable       the attempt log does not answer; the ledger goes on
│   ├── LogDamaged           the attempt log does not hold what the ledger says it must
│   └── CountUnavailable     an exact count cannot be given now
└── SetupError               the node cannot start or run like this: folder, settings, versions
    └── BackupDamaged        a backup is not as it was made
"""

from __future__ import annotations


class UsherError(Exception):
    """The root of the tree above."""


class CallerError(UsherError):
    """What was asked cannot be answered as asked; nothing was changed."""


class InvalidParameter(CallerError):
    """One field is wrong. The text is `field: what is wrong; what is taken` and never shows a secret.

    With `is_callers_name` the field's name is the caller's own text, which goes back to the caller and nowhere else.
    """

    def __init__(self, field: str, problem: str, *, is_callers_name: bool = False) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.is_callers_name = is_callers_name


class CommandRefused(CallerError):
    """A SEVU command is answered with this failure: `code` and `message` as in `sevu/codes.py`. `debug` is for the
    developer who sent it, empty for most; it never holds a secret."""

    def __init__(self, code: int, message: str, *, debug: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.debug = debug


class UnknownTicket(CallerError):
    """No ticket of this account has that key."""


class ReplayedCommand(CallerError):
    """This signature has already created something."""


class AttemptIdReused(CallerError):
    """This attempt_id was asked before, with other content."""


class NotAuthorised(CallerError):
    """No such account, API key or edge token, or a disabled one."""


class AlreadyExists(CallerError):
    """A name or number that is taken."""


class StoreError(UsherError):
    """Our ledger or attempt log could not do it."""


class Busy(StoreError):
    """Nothing was done; the same may be asked again after `retry_after_s` seconds."""

    def __init__(self, problem: str, *, retry_after_s: int = 1) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class LedgerUnavailable(StoreError):
    """Nothing was written; the same may be sent again."""


class CommitUnknown(StoreError):
    """It may have been written: look before sending again."""


class LogUnavailable(StoreError):
    """The attempt log does not answer; decisions go on, attempts wait in the ledger."""


class LogDamaged(StoreError):
    """The attempt log does not hold what the ledger says it must; `usher check` names what and the repair."""


class CountUnavailable(StoreError):
    """An exact count cannot be given now, so none is."""


class SetupError(UsherError):
    """The node cannot start or run like this: folder, settings, versions. The text says what to do."""


class BackupDamaged(SetupError):
    """A backup is not as it was made; another one may be."""
