"""What an attempt log shares with others that make nothing of their blocks."""

from __future__ import annotations

from collections.abc import Sequence


class WithoutDerived:
    """Answers from what it was given, and so has nothing that could be wrong or be made anew."""

    async def derive(self, upto: int, *, released: int) -> None:
        return

    async def wrongly_derived(self, *, released: int, anonymised_upto: int) -> Sequence[int]:
        return ()

    async def derive_anew(self) -> None:
        return
