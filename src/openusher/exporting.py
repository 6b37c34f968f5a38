"""Exports: every matching attempt once, in order of id, as of one moment, while attempts arrive and move to the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from openusher.attemptlog.base import SPANS_COPIED_MAX, AttemptLog, Copy, Span
from openusher.errors import Busy, CountUnavailable
from openusher.ledger.base import Ledger
from openusher.model.block import Horizon
from openusher.model.search import AttemptFilter
from openusher.searching import Searching

T = TypeVar("T")
_RowsOf = Callable[[Span, Horizon], Coroutine[Any, Any, bytes]]

# Of the ledger at a time: a few milliseconds of one of its readers, and less than a megabyte of usual attempts.
PENDING_ROWS = 2_000
# Rather than begin anew after minutes, an export waits for a log process that was restarted.
_LOG_WAIT_S_MAX = 60.0
_PIECE_BYTES = 256 * 1024
_STOPPING = "the node is stopping; export again"


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """The moment that an export is of: the last attempt that was recorded by then, and how many match up to it."""

    last_id: int
    attempts: int


class Exporting:
    """Reads attempts page by page. All exports of a node read one page at a time between them: to counts they are one
    client more, however many there are."""

    def __init__(
        self, ledger: Ledger, attempt_log: AttemptLog, searching: Searching, *, pending_rows: int = PENDING_ROWS
    ) -> None:
        self._ledger = ledger
        self._log = attempt_log
        self._searching = searching
        self._pending_rows = pending_rows
        self._page = asyncio.Lock()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End exports under way: they take minutes, and a node that stops has seconds."""
        self._closing.set()

    async def cut(self, cdn: int, search: AttemptFilter) -> Cut:
        """Now, as a moment to export as of. Raises as a count."""
        # Ids rise in commit order, so what is numbered up to here is all there, and nothing can be added to it.
        last_id = (await self._ledger.stats()).last_attempt_id
        return Cut(last_id=last_id, attempts=await self._searching.count(cdn, _upto(search, last_id)))

    async def rows(self, cdn: int, search: AttemptFilter, cut: Cut) -> AsyncGenerator[bytes, None]:
        """The matching attempts up to `cut`, some at a time, in the form in which `AttemptLog.rows` gives them.

        Raises CountUnavailable when they cannot all be read, and when they are not as many as were counted; Busy when
        the node stops meanwhile.
        """
        read = 0
        async with aclosing(self._pages(cdn, _upto(search, cut.last_id))) as pages:
            async for page in pages:
                for piece in _pieces(page):
                    if self._closing.is_set():
                        raise Busy(_STOPPING)
                    read += piece.count(b"\n")
                    yield piece
        if read != cut.attempts:
            raise CountUnavailable(
                f"{read} attempts were found of the {cut.attempts} that were counted at the start; "
                "where old ones were removed meanwhile, export again"
            )

    async def _pages(self, cdn: int, search: AttemptFilter) -> AsyncGenerator[bytes, None]:
        left = search
        in_log = Horizon(upto=0)
        while True:
            pending = await self._read(partial(self._ledger.oldest_pending, cdn, left, limit=self._pending_rows))
            # Both are of one moment: what is not pending by then, because it was shipped since the last look, is in
            # the log within this horizon, and all of it is older than what pends.
            if pending.horizon != in_log:
                in_log = pending.horizon
                async with aclosing(self._pages_of_log(cdn, left, in_log)) as pages:
                    async for page in pages:
                        yield page
            if pending.rows:
                yield b"".join(b"%b\n" % row for row in pending.rows)
            if len(pending.rows) < self._pending_rows:
                return
            left = msgspec.structs.replace(left, after_id=msgspec.json.decode(pending.rows[-1])[0])

    async def _pages_of_log(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> AsyncGenerator[bytes, None]:
        nothing: Sequence[Span] = ()
        spans = await self._read(
            lambda: self._searching.from_log(
                horizon, lambda: self._log.spans(cdn, search, horizon), empty=nothing, wait_s_max=_LOG_WAIT_S_MAX
            )
        )
        for begin in range(0, len(spans), SPANS_COPIED_MAX):
            together = spans[begin : begin + SPANS_COPIED_MAX]
            async with self._reading(cdn, search, together) as rows:
                for span in together:
                    yield await self._read(partial(self._page_of, cdn, search, horizon, span, rows))

    async def _page_of(self, cdn: int, search: AttemptFilter, cut_horizon: Horizon, span: Span, rows: _RowsOf) -> bytes:
        # The borders of today: what was forgotten or anonymised since the cut is not to be given away by a copy.
        now = (await self._ledger.oldest_pending(cdn, search, limit=0)).horizon
        horizon = msgspec.structs.replace(
            cut_horizon, from_ms=now.from_ms, anonymised_before_ms=now.anonymised_before_ms
        )
        page = await self._searching.from_log(
            horizon, lambda: rows(span, horizon), empty=b"", wait_s_max=_LOG_WAIT_S_MAX
        )
        if page.count(b"\n") != span.attempts:
            raise CountUnavailable(
                "the attempt log gave other attempts than it counted, as where old ones were removed or anonymised "
                "meanwhile; export again"
            )
        return page

    @asynccontextmanager
    async def _reading(self, cdn: int, search: AttemptFilter, spans: Sequence[Span]) -> AsyncIterator[_RowsOf]:
        """What gives the rows of one of `spans`. To read one, the log may have to read all: of several, a copy is made
        with the first, and again where the log has started again since."""
        copy: Copy | None = None

        async def rows(span: Span, horizon: Horizon) -> bytes:
            nonlocal copy
            if len(spans) > 1 and (copy is None or copy.starts != self._log.starts):
                copy = await self._log.copy(cdn, search, horizon, spans=spans)
            return await self._log.rows(cdn, search, horizon, span=span, copy=copy)

        try:
            yield rows
        finally:
            if copy is not None:
                await self._log.drop(copy)

    async def _read(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to `ask`, in turn with other exports. Raises Busy when the node stops meanwhile."""
        loop = asyncio.get_running_loop()
        async with self._page:
            reading, stopping = loop.create_task(ask()), loop.create_task(self._closing.wait())
            try:
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    raise Busy(_STOPPING)
                return await reading
            finally:
                reading.cancel()
                stopping.cancel()


def _pieces(page: bytes) -> Iterator[bytes]:
    """Whole rows of a page. Sent at once, tens of megabytes would hold up whoever else is answered."""
    begin = 0
    while begin < len(page):
        end = page.find(b"\n", begin + _PIECE_BYTES) + 1 or len(page)
        yield page[begin:end]
        begin = end


def _upto(search: AttemptFilter, last_id: int) -> AttemptFilter:
    before_id = last_id + 1 if search.before_id is None else min(search.before_id, last_id + 1)
    return msgspec.structs.replace(search, before_id=before_id)
