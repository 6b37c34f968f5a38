"""Attempts: counted, listed and exported, of any account."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from openusher.exporting import Cut
from openusher.model.block import row_of
from openusher.model.search import AttemptFilter
from openusher.sevu.attempts import (
    CountAttempts,
    attempt_members,
    count_members,
    groups_members,
    read_errorcount,
    read_errorlog,
    read_search,
    within_ids,
)
from openusher.usher import Usher
from openusher.web.admin.answering import known_cdn, known_cdn_of, line, parameters_of, route, stream


def routes(usher: Usher) -> list[Route]:
    attempts = _Attempts(usher)
    return [
        route("POST", "/accounts/{cdn:int}/attempts/count", attempts.count),
        route("POST", "/accounts/{cdn:int}/attempts/list", attempts.list),
        stream("POST", "/accounts/{cdn:int}/attempts/export", attempts.export),
        stream("POST", "/tail", attempts.tail),
    ]


class _Attempts:
    def __init__(self, usher: Usher) -> None:
        self._usher = usher

    async def count(self, request: Request) -> dict[str, Any]:
        """The parameters of sevu.errorcount, `before_id` and `after_id`; its answer."""
        parameters = await parameters_of(request)
        cdn = known_cdn_of(request, self._usher)
        asked = read_errorcount(parameters, cdn=cdn, now_s=self._now_s)
        search = within_ids(asked.search, parameters)
        if isinstance(asked, CountAttempts):
            return count_members(asked, await self._usher.searching.count(cdn, search))
        found = await self._usher.searching.group(cdn, search, asked.by, seek=asked.seek, limit=asked.limit)
        return groups_members(asked, found.groups, group_count=found.group_count, total=found.total)

    async def list(self, request: Request) -> list[dict[str, Any]]:
        """The parameters of sevu.errorlog; its rows."""
        parameters = await parameters_of(request)
        cdn = known_cdn_of(request, self._usher)
        asked = read_errorlog(parameters, cdn=cdn, now_s=self._now_s)
        found = await self._usher.searching.newest(cdn, asked.search, seek=asked.seek, limit=asked.limit)
        return [attempt_members(attempt) for attempt in found]

    async def export(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The filters of sevu.errorlog. First a line with the cut, then the rows as the stores write them, and last, if
        they are all there, a line with how many they are."""
        parameters = await parameters_of(request)
        cdn = known_cdn_of(request, self._usher)
        search = within_ids(read_search(parameters, now_s=self._now_s), parameters)
        cut = await self._usher.exporting.cut(cdn, search)
        return _lines_of(cut, self._usher.exporting.rows(cdn, search, cut))

    async def tail(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The filters of sevu.errorlog but times and numbers; without a `cdn`, of all accounts. First a line that says
        that it listens, then a row for each attempt, and a line with how many were lost where it fetches too slowly;
        last, when the node stops, a line that says so."""
        parameters = await parameters_of(request)
        cdn = parameters.whole("cdn")
        search = read_search(parameters, now_s=self._now_s)
        return _lines_heard(self._usher, None if cdn is None else known_cdn(cdn, self._usher), search)

    @property
    def _now_s(self) -> int:
        return self._usher.wall_ms // 1_000


async def _lines_heard(usher: Usher, cdn: int | None, search: AttemptFilter) -> AsyncGenerator[bytes, None]:
    with usher.tailing.listening(cdn, search) as listener:
        yield line({"listening": True})
        while (heard := await listener.next()) is not None:
            if heard.lost:
                yield line({"lost": heard.lost})
            yield b"".join(row_of(attempt) + b"\n" for attempt in heard.attempts)
    yield line({"stopping": True})


async def _lines_of(cut: Cut, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield line(cut)
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
    yield line({"exported": cut.attempts})
