"""A look at an account's attempts, as Usher shows them and as the model does: count, list and groups of one search."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from openusher.model.search import GroupBy
from openusher.usher import Usher
from tests.conformance.asking import attempt_filter, row
from tests.oracles.usher_model import Answers, Model


class Look(NamedTuple):
    """What is asked: a count, a page of the list and a page of the groups."""

    cdn: int
    search: dict[str, Any]
    by: GroupBy
    seek: int
    limit: int


async def at_usher(usher: Usher, look: Look) -> Answers:
    """The three are asked side by side: while attempts come, each shows a moment of its own."""
    wanted = attempt_filter(look.search)
    page = {"seek": look.seek, "limit": look.limit}
    counted, listed, grouped = await asyncio.gather(
        usher.searching.count(look.cdn, wanted),
        usher.searching.newest(look.cdn, wanted, **page),
        usher.searching.group(look.cdn, wanted, look.by, **page),
    )
    groups = [(group.value, group.count) for group in grouped.groups]
    return counted, [row(attempt) for attempt in listed], (groups, grouped.group_count, grouped.total)


def at_model(model: Model, look: Look, *, upto: int) -> Answers:
    """As it must look when attempt `upto` is the newest of all."""
    return model.answers(look.cdn, look.search, look.by.value, seek=look.seek, limit=look.limit, upto=upto)
