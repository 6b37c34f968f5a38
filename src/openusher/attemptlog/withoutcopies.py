"""What an attempt log shares with others that give the rows of a span from where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from openusher.attemptlog.base import Copy, Span
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter


class WithoutCopies(ABC):
    """Sets nothing aside for an export."""

    @property
    @abstractmethod
    def starts(self) -> int: ...

    async def copy(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, spans: Sequence[Span]) -> Copy:
        return Copy("", self.starts)

    async def drop(self, copy: Copy) -> None:
        return
