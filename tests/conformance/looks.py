"""A look at an account's attempts, as Usher shows them and as the model does: count, list and groups of one search.

The count is asked twice, so that once at the least it goes on from one that is kept; the groups' sum is never kept, and
may be worked out from totals that are.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from openusher.model.search import AttemptFilter, GroupBy
from openusher.usher import Usher
from tests.conformance.asking import attempt_filter, row
from tests.oracles.usher_model import Answers, Model

Seen = tuple[*Answers, int]


class Look(NamedTuple):
    """What is asked: a count, a page of the list and a page of the groups."""

    cdn: int
    search: dict[str, Any]
    by: GroupBy
    seek: int
    limit: int


async def at_usher(usher: Usher, look: Look) -> Seen:
    """All are asked side by side: while attempts come, each shows a moment of its own."""
    wanted = attempt_filter(look.search)
    page = {"seek": look.seek, "limit": look.limit}
    (counted, again), listed, grouped = await asyncio.gather(
        _count_twice(usher, look.cdn, wanted),
        usher.searching.newest(look.cdn, wanted, **page),
        usher.searching.group(look.cdn, wanted, look.by, **page),
    )
    groups = [(group.value, group.count) for group in grouped.groups]
    return counted, [row(attempt) for attempt in listed], (groups, grouped.group_count, grouped.total), again


async def _count_twice(usher: Usher, cdn: int, wanted: AttemptFilter) -> tuple[int, int]:
    return await usher.searching.count(cdn, wanted), await usher.searching.count(cdn, wanted)


def at_model(model: Model, look: Look, *, upto: int) -> Seen:
    """As it must look when attempt `upto` is the newest of all."""
    answers = model.answers(look.cdn, look.search, look.by.value, seek=look.seek, limit=look.limit, upto=upto)
    return *answers, answers[0]
