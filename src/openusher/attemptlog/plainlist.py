"""An attempt log that is a list in memory, for tests of what stands on a log. It keeps nothing past its process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from openusher.attemptlog.base import COLUMNS, AttemptLog, Copy, Frozen, GroupedLog, Held, Rows, Span
from openusher.attemptlog.withoutcopies import WithoutCopies
from openusher.attemptlog.withoutderived import WithoutDerived
from openusher.model.anonymity import anonymised, is_finer
from openusher.model.attempt import Attempt, user_of
from openusher.model.block import Block, Horizon, attempt_of, row_of
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, Total, in_order

_TABLE = "attempts"
_NONE_HELD = Held(rows=0, first_id=0, last_id=0, digest="")


class PlainListLog(WithoutCopies, WithoutDerived):
    """An `AttemptLog` of blocks, each a list of rows. Like the others it stores a repeated block twice: not to insert
    one that is held is the shipper's part."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[Attempt]] = {}

    @property
    def ships(self) -> bool:
        return True

    @property
    def starts(self) -> int:
        return 1

    @property
    def pid(self) -> int | None:
        return None

    async def start(self) -> None:
        return

    async def tables(self) -> Sequence[str]:
        return (_TABLE,)

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        lines = (rows if isinstance(rows, bytes) else rows.read_bytes()).splitlines()
        parsed = [attempt_of(msgspec.json.decode(line)) for line in lines if line]
        self._blocks.setdefault(block.number, []).extend(parsed)

    async def held(self, number: int, *, table: str) -> Held:
        attempts = self._blocks.get(number)
        return _held(attempts) if attempts else _NONE_HELD

    async def held_between(self, first: int, last: int, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        return {
            number: _held([anonymised(attempt) for attempt in attempts] if number <= anonymised_upto else attempts)
            for number, attempts in self._blocks.items()
            if first <= number <= last
        }

    async def all_held(self, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        return await self.held_between(0, max(self._blocks, default=0), table=table, anonymised_upto=anonymised_upto)

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        return {number: len(attempts) for number, attempts in self._blocks.items()}

    async def last_block_before(self, at_ms: int, *, table: str) -> int:
        kept = [number for number, attempts in self._blocks.items() if any(a.at_ms >= at_ms for a in attempts)]
        return max((number for number in self._blocks if number < min(kept, default=number + 1)), default=0)

    async def remove(self, *, upto: int, table: str) -> int:
        return sum(len(self._blocks.pop(number)) for number in list(self._blocks) if number <= upto)

    async def anonymise(self, *, upto: int, table: str) -> int:
        changed = 0
        for number in [number for number in self._blocks if number <= upto]:
            written = [anonymised(attempt) for attempt in self._blocks[number]]
            changed += sum(a != b for a, b in zip(written, self._blocks[number], strict=True))
            self._blocks[number] = written
        return changed

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int:
        return len(self._matching(cdn, search, horizon))

    async def groups(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int) -> GroupedLog:
        counts = self._counts(cdn, search, by, horizon)
        groups = in_order([Group(value, count) for value, count in counts.items()])
        return GroupedLog(groups[:top], len(groups), counts.total())

    async def counts_of(
        self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, values: Sequence[GroupValue]
    ) -> dict[GroupValue, int]:
        counts = self._counts(cdn, search, by, horizon)
        return {value: counts[value] for value in values if value in counts}

    async def totals(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int) -> list[Total]:
        counts = Counter((each.app, each.video, str(each.reason)) for each in self._matching(cdn, search, horizon))
        return [Total(*named, count) for named, count in counts.items()][:most]

    async def newest(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, seek: int = 0, limit: int
    ) -> list[Attempt]:
        matching = self._matching(cdn, search, horizon)
        return sorted(matching, key=lambda attempt: -attempt.id)[seek : seek + max(limit, 0)]

    async def spans(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> Sequence[Span]:
        counts = {number: len(self._in_block(number, cdn, search, horizon)) for number in sorted(self._blocks)}
        return [Span(number, number, count) for number, count in counts.items() if count]

    async def rows(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, span: Span, copy: Copy | None = None
    ) -> bytes:
        matching = self._in_block(span.first_block, cdn, search, horizon)
        return b"".join(row_of(attempt) + b"\n" for attempt in sorted(matching, key=lambda attempt: attempt.id))

    def _in_block(self, number: int, cdn: int, search: AttemptFilter, horizon: Horizon) -> list[Attempt]:
        if not horizon.behind < number <= horizon.upto or number in horizon.but:
            return []
        is_finer_ip = search.ip is not None and is_finer(search.ip)
        found = []
        for attempt in self._blocks[number]:
            if attempt.cdn != cdn or attempt.at_ms < horizon.from_ms or not search.means(attempt):
                continue
            if attempt.at_ms >= horizon.anonymised_before_ms:
                found.append(attempt)
            elif not is_finer_ip:
                found.append(anonymised(attempt))
        return found

    async def broken_parts(self, *, table: str) -> list[str]:
        return []

    async def freeze(self) -> Frozen:
        return Frozen()

    async def thaw(self) -> None:
        return

    async def close(self) -> None:
        return

    def _matching(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> list[Attempt]:
        return [attempt for number in self._blocks for attempt in self._in_block(number, cdn, search, horizon)]

    def _counts(self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon) -> Counter[GroupValue]:
        return Counter(group_value(attempt, by) for attempt in self._matching(cdn, search, horizon))


def group_value(attempt: Attempt, by: GroupBy) -> GroupValue:
    """The group that `attempt` belongs to, as model/search.py holds it."""
    match by:
        case GroupBy.USER:
            return user_of(attempt.password)
        case GroupBy.SUCCESS:
            return int(attempt.reason == "")
        case GroupBy.HOUR:
            return attempt.at_ms // 3_600_000 * 3600
        case GroupBy.DAY:
            return attempt.at_ms // 86_400_000 * 86_400
        case _:
            value: GroupValue = getattr(attempt, by.value)
            return value


def _held(attempts: list[Attempt]) -> Held:
    ordered = sorted(attempts, key=lambda attempt: attempt.id)
    digest = sha256(b"".join(map(_canonical, ordered))).hexdigest()
    return Held(rows=len(ordered), first_id=ordered[0].id, last_id=ordered[-1].id, digest=digest)


def _canonical(attempt: Attempt) -> bytes:
    parts = []
    for name, form in COLUMNS:
        value = getattr(attempt, "password" if name == "pass" else name)
        if form == "text":
            value = f"{len(value.encode())}:{value}"
        parts.append(f"{value:032x}," if form == "address" else f"{value},")
    return "".join(parts).encode()


_: type[AttemptLog] = PlainListLog
