"""Values that hold a viewer's pass and do not show it."""

from __future__ import annotations

import msgspec

# A user filter may be a whole pass: one without a `|` names itself.
_HIDDEN = frozenset({"password", "user"})


class Discreet(msgspec.Struct, frozen=True):
    """A base for structs with a pass: their `repr`, and so any log line or traceback, shows `***` in its place."""

    def __repr__(self) -> str:
        shown = (
            f"{name}='***'" if name in _HIDDEN and value else f"{name}={value!r}"
            for name, value in ((name, getattr(self, name)) for name in self.__struct_fields__)
        )
        return f"{type(self).__name__}({', '.join(shown)})"
