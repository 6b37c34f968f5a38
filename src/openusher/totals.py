"""The totals of one account: how many attempts each app, video and reason has, held closely, and their sums."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence

from openusher.model.pattern import Pattern
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, Total, in_order, is_named
from openusher.piecework import in_pieces

# What may be grouped by here.
GROUPS = frozenset({GroupBy.APP, GroupBy.VIDEO, GroupBy.REASON, GroupBy.SUCCESS})

# A video's place in a dict, and the dict's own room for it. Measured in tests/unit/test_totals.py.
_PLACE_BYTES = 60
_COUNT_BYTES = 8
# Two dicts; and an array for each reason.
_APP_BYTES = 500
_COLUMN_BYTES = 90
# Each takes as long as a dozen names.
_APPS_A_PIECE = 40


def answers(search: AttemptFilter) -> bool:
    """Whether a filter names nothing but app, video, success and reason, if anything."""
    return search == AttemptFilter(app=search.app, video=search.video, accepted=search.accepted, reason=search.reason)


async def largest(counts: Counter[GroupValue], top: int) -> list[Group]:
    """The `top` largest groups, in order."""
    found: list[Group] = []
    async for piece in in_pieces(counts.items()):
        found += [Group(value, count) for value, count in piece]
        if len(found) > 2 * top:
            found = in_order(found)[:top]
    return in_order(found)[:top]


class _App:
    """One app's attempts: a column for each reason, in which each video has the same place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.columns: dict[str, array[int]] = {}


class Totals:
    """Nothing may be added while anything is asked for, and nothing be asked of one to which was added in part."""

    def __init__(self) -> None:
        self._apps: dict[str, _App] = {}
        # Each text once, however many apps have a video of that name.
        self._names: dict[str, str] = {}
        # About what it takes of memory, names included.
        self.size_bytes = 0

    @property
    def names(self) -> int:
        """How many different names there are to compare with a pattern."""
        return len(self._names)

    async def add(self, totals: Sequence[Total]) -> None:
        """Add these to what is there."""
        async for piece in in_pieces(totals):
            for total in piece:
                self._add(total)

    def _add(self, total: Total) -> None:
        app = self._apps.get(total.app)
        if app is None:
            app = self._apps[self._named(total.app)] = _App()
            self.size_bytes += _APP_BYTES
        place = app.places.get(total.video)
        if place is None:
            place = app.places[self._named(total.video)] = len(app.places)
            for each in app.columns.values():
                each.append(0)
            self.size_bytes += _PLACE_BYTES + _COUNT_BYTES * len(app.columns)
        column = app.columns.get(total.reason)
        if column is None:
            column = app.columns[self._named(total.reason)] = array("q", bytes(_COUNT_BYTES * len(app.places)))
            self.size_bytes += _COLUMN_BYTES + _COUNT_BYTES * len(app.places)
        column[place] += total.attempts

    def _named(self, name: str) -> str:
        known = self._names.setdefault(name, name)
        if known is name:
            self.size_bytes += sys.getsizeof(name) + _PLACE_BYTES
        return known

    async def count(self, search: AttemptFilter) -> int:
        """How many attempts match a filter that can be answered."""
        return (await self.groups(search, None)).total()

    async def groups(self, search: AttemptFilter, by: GroupBy | None) -> Counter[GroupValue]:
        """How many of them each group has that has any: of `GROUPS`, or all in one."""
        sums: Counter[GroupValue] = Counter()
        videos = await self._matching(search.video) if isinstance(search.video, Pattern) else search.video
        async for apps in in_pieces(self._apps.items(), size=_APPS_A_PIECE):
            for name, app in apps:
                if search.app is None or is_named(name, search.app):
                    columns = {reason: column for reason, column in app.columns.items() if _means(search, reason)}
                    async for value, attempts in _sums_of_app(name, app, columns, videos, by):
                        if attempts:
                            sums[value] += attempts
        return sums

    async def _matching(self, pattern: Pattern) -> set[str]:
        found: set[str] = set()
        async for names in in_pieces(self._names):
            found.update(filter(pattern.matches, names))
        return found


def _means(search: AttemptFilter, reason: str) -> bool:
    return (search.accepted is None or (reason == "") == search.accepted) and search.reason in (None, reason)


async def _sums_of_app(
    name: str, app: _App, columns: dict[str, array[int]], videos: set[str] | str | None, by: GroupBy | None
) -> AsyncIterator[tuple[GroupValue, int]]:
    """Groups and what they have in `columns`, a group more than once; of `videos` only, if given."""
    if videos is None and by is not GroupBy.VIDEO:
        for reason, column in columns.items():
            yield _group(by, name, reason), sum(column)
        return
    async for rows in _rows(app, columns.values(), videos):
        if by is GroupBy.VIDEO:
            for video, counts in rows:
                yield video, sum(counts)
        else:
            by_reason = map(sum, zip(*[counts for _, counts in rows], strict=True))
            for reason, attempts in zip(columns, by_reason, strict=False):
                yield _group(by, name, reason), attempts


async def _rows(
    app: _App, columns: Collection[array[int]], videos: set[str] | str | None
) -> AsyncIterator[list[tuple[str, tuple[int, ...]]]]:
    """Videos and what each has in `columns`, some at a time."""
    if isinstance(videos, str):
        if (place := app.places.get(videos)) is not None:
            yield [(videos, tuple(column[place] for column in columns))]
        return
    async for rows in in_pieces(zip(app.places, zip(*columns, strict=True), strict=False)):
        yield rows if videos is None else [(video, counts) for video, counts in rows if video in videos]


def _group(by: GroupBy | None, app: str, reason: str) -> GroupValue:
    match by:
        case GroupBy.APP:
            return app
        case GroupBy.REASON:
            return reason
        case GroupBy.SUCCESS:
            return int(reason == "")
        case _:
            return ""
