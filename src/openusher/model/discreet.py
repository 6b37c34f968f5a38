"""Values that hold a pass, a secret or a signature and do not show it."""

from __future__ import annotations

import msgspec

# A user filter may be a whole pass: one without a `|` names itself.
_HIDDEN = frozenset({"password", "user", "secret", "replay_digest", "session_id"})
# What a request says may hold passes and tokens.
_HIDDEN |= {"target", "headers", "body", "cookies", "token", "query"}
# Attempts as they travel.
_HIDDEN |= {"rows"}


class Discreet(msgspec.Struct, frozen=True):
    """A base for structs with such a value: their `repr`, and so any log line or traceback, shows `***` for it."""

    def __repr__(self) -> str:
        shown = (
            f"{name}='***'" if name in _HIDDEN and value else f"{name}={value!r}"
            for name, value in ((name, getattr(self, name)) for name in self.__struct_fields__)
        )
        return f"{type(self).__name__}({', '.join(shown)})"
