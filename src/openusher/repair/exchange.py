"""Two folders that change places in one step, so that a kill leaves one of them there, whole, or the other."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(new: Path, old: Path, *, kept_as: Path) -> None:
    """Put `new` in the place of `old`, which is then found at `kept_as`; where there is no `old`, only the former.

    Raises OSError; both are then where they were, or, on a file system that cannot exchange names, `old` is at
    `kept_as`.
    """
    if not old.exists():
        new.rename(old)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(new), _AT_FDCWD, os.fsencode(old))
    if libc.renameat2(_AT_FDCWD, *names, _RENAME_EXCHANGE) == 0:
        new.rename(kept_as)
        return
    # Not by all file systems: in two steps then.
    old.rename(kept_as)
    new.rename(old)
