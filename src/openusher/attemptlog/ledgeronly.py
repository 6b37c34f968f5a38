"""No attempt log at all (`--log ledger`): nothing is shipped, and every count comes from the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from openusher.attemptlog.base import AttemptLog, Copy, Frozen, GroupedLog, Held, Rows, Span
from openusher.attemptlog.withoutcopies import WithoutCopies
from openusher.attemptlog.withoutderived import WithoutDerived
from openusher.errors import LogUnavailable
from openusher.model.attempt import Attempt
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter, GroupBy, GroupValue, Total


class LedgerOnlyLog(WithoutCopies, WithoutDerived):
    """An `AttemptLog` that holds nothing. An insert is refused: what it took would be gone."""

    @property
    def ships(self) -> bool:
        return False

    @property
    def starts(self) -> int:
        return 1

    @property
    def pid(self) -> int | None:
        return None

    async def start(self) -> None:
        return

    async def tables(self) -> Sequence[str]:
        return ()

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        raise LogUnavailable("there is no attempt log to ship to (--log ledger)")

    async def held(self, number: int, *, table: str) -> Held:
        return Held(rows=0, first_id=0, last_id=0, digest="")

    async def held_between(self, first: int, last: int, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        return {}

    async def all_held(self, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        return {}

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        return {}

    async def last_block_before(self, at_ms: int, *, table: str) -> int:
        return 0

    async def remove(self, *, upto: int, table: str) -> int:
        return 0

    async def anonymise(self, *, upto: int, table: str) -> int:
        return 0

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        return 0

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int) -> GroupedLog:
        return GroupedLog([], 0, 0)

    async def counts_of(
        self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, values: Sequence[GroupValue]
    ) -> dict[GroupValue, int]:
        return {}

    async def totals(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int) -> list[Total]:
        return []

    async def newest(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, seek: int = 0, limit: int
    ) -> list[Attempt]:
        return []

    async def spans(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> Sequence[Span]:
        return ()

    async def rows(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, span: Span, copy: Copy | None = None
    ) -> bytes:
        return b""

    async def broken_parts(self, *, table: str) -> list[str]:
        return []

    async def freeze(self) -> Frozen:
        return Frozen()

    async def thaw(self) -> None:
        return

    async def close(self) -> None:
        return


_: type[AttemptLog] = LedgerOnlyLog
