"""Work of many steps in pieces, between which the event loop goes on with all else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# At a microsecond each, half a millisecond.
_PIECE = 500


async def in_pieces(items: Iterable[T], *, size: int = _PIECE) -> AsyncIterator[list[T]]:
    """All `items`, some at a time. Whatever they are of must not change meanwhile."""
    remaining = iter(items)
    piece = list(islice(remaining, size))
    while piece:
        yield piece
        if len(piece) < size:
            return
        await asyncio.sleep(0)
        piece = list(islice(remaining, size))
