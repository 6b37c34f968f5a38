"""Takes over files of tickets that were sold elsewhere: all of a file or nothing, however large it is, and whatever
kills the node meanwhile.

Tickets go to the ledger as they come, a few hundred at a time beside decisions, and are there to nobody until the last
one has been judged (ledger/sqlite/imports.py). So neither side ever holds a whole file, and the word that makes all of
them good is one small commit.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from openusher.errors import Busy, CallerError, InvalidParameter, StoreError
from openusher.ledger.base import ImportedTickets, Ledger
from openusher.logs import event_log
from openusher.model.ticket import Ticket
from openusher.sevu.sold import read_line, read_sold_ticket

# Decisions wait for as many rows at the most, some milliseconds.
_CHUNK_TICKETS = 256
# So many lines are judged before the loop's others have their turn.
_SLICE_LINES = 32
# Members at their longest, escaped, are under 40 KiB.
LINE_BYTES_MAX = 64 * 1024
# Whoever has this many has one mistake in all lines. The rest is counted.
FAULTS_MAX = 10_000
_DROPPED_TICKETS = 1_000
_DROP_AGAIN_S = 1.0
_GIVEN_CHARACTERS_MAX = 60

log = event_log()


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line: the member, empty for the line itself, what is taken, and what was given. Never a
    pass."""

    line: int
    member: str
    problem: str
    given: str = ""


class Judged(msgspec.Struct, kw_only=True):
    """A file of tickets: how many it has, how many of them are faulty, the first `FAULTS_MAX` faults, and whether its
    tickets were taken over."""

    tickets: int = 0
    faulty: int = 0
    faults: list[Fault] = []
    imported: bool = False


class Importing:
    """One file at a time."""

    def __init__(self, ledger: Ledger, *, clock_ms: Callable[[], int], takes_tickets: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._takes_tickets = takes_tickets
        self._is_taking = False
        # What an earlier run has left is deleted first.
        self._writing = asyncio.Lock()

    async def take_over(self, cdn: int, pieces: AsyncIterator[bytes], *, dry_run: bool) -> Judged:
        """Judge every line, and take over the tickets of all where none is faulty and it is no `dry_run`.

        Raises NotAuthorised for an unknown cdn, InvalidParameter for a line without an end, Busy, what `pieces` raises,
        and the ledger's errors. After any of these nothing was taken over, but for CommitUnknown: then all or nothing.
        """
        if self._is_taking:
            raise Busy("another file of tickets is being taken over")
        self._is_taking = True
        try:
            async with self._writing:
                await self._drop()
                return await self._take_over(cdn, pieces, dry_run=dry_run)
        finally:
            self._is_taking = False

    async def _take_over(self, cdn: int, pieces: AsyncIterator[bytes], *, dry_run: bool) -> Judged:
        import_number = await self._ledger.begin_import(cdn)
        try:
            judged = await self._judge(cdn, import_number, pieces)
            if not judged.faulty and not dry_run:
                await self._ledger.finish_import(import_number)
                judged.imported = True
            return judged
        finally:
            # Else at the next start, or with the next file. What is done is not dropped.
            with suppress(StoreError):
                await self._drop()

    async def drop_on(self) -> None:
        """Delete what a node has left that was killed, until nothing is left."""
        while True:
            try:
                async with self._writing:
                    await self._drop()
                return
            except StoreError as error:
                log.warning("import.not_dropped", error=error)
                await asyncio.sleep(_DROP_AGAIN_S)

    async def _drop(self) -> None:
        while await self._ledger.drop_imports(limit=_DROPPED_TICKETS):
            pass

    async def _judge(self, cdn: int, import_number: int, pieces: AsyncIterator[bytes]) -> Judged:
        file = _File(cdn, now_s=self._clock_ms() // 1_000)
        writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        writing.set_result(None)
        try:
            async for number, line in _lines_of(pieces):
                file.read(number, line)
                if len(file.waiting) == _CHUNK_TICKETS:
                    await writing
                    # The next are judged while these are written.
                    writing = asyncio.create_task(self._hand_over(import_number, file))
                if number % _SLICE_LINES == 0:
                    await asyncio.sleep(0)
            await writing
            await self._hand_over(import_number, file)
        finally:
            # Whatever has gone wrong, nothing is written any more when this returns.
            await asyncio.wait([writing])
        return file.judged

    async def _hand_over(self, import_number: int, file: _File) -> None:
        chunk = file.take()
        if not chunk.tickets:
            return
        if not self._takes_tickets():
            raise Busy("the disk is nearly full", retry_after_s=30)
        file.know(chunk, await self._ledger.import_tickets(import_number, chunk.tickets))


class _Chunk(NamedTuple):
    """Tickets that are handed over together, and their lines."""

    tickets: list[Ticket]
    lines: array[int]


class _File:
    """What is known of a file by now: the tickets that are yet to be handed over, and the lines of all others, eight
    bytes each."""

    def __init__(self, cdn: int, *, now_s: int) -> None:
        self._cdn = cdn
        self._now_s = now_s
        self.judged = Judged()
        self.waiting: list[Ticket] = []
        self._lines = array("q")
        # By number in the ledger: where each chunk begins, and its lines.
        self._firsts: list[int] = []
        self._chunks: list[array[int]] = []

    def read(self, number: int, line: bytes) -> None:
        """Judge a line by itself."""
        self.judged.tickets += 1
        members: dict[str, Any] = {}
        try:
            members = read_line(line)
            self.waiting.append(read_sold_ticket(members, cdn=self._cdn, now_s=self._now_s))
            self._lines.append(number)
        except InvalidParameter as error:
            self._blame(number, error.field, error.problem, given=_shown(members, error.field))
        except CallerError as error:
            self._blame(number, "", str(error))

    def take(self) -> _Chunk:
        """Those that wait, which then do no more."""
        chunk = _Chunk(self.waiting, self._lines)
        self.waiting, self._lines = [], array("q")
        return chunk

    def know(self, chunk: _Chunk, found: ImportedTickets) -> None:
        """What has become of tickets in the ledger."""
        self._firsts.append(found.first)
        self._chunks.append(chunk.lines)
        for place, holder in enumerate(found.held):
            if holder != found.first + place:
                line = self._line_of(holder)
                problem = f"line {line} has it already" if line else "the account has a ticket with this key"
                given = chunk.tickets[place].key[:_GIVEN_CHARACTERS_MAX]
                self._blame(chunk.lines[place], "key", problem, given=given)

    def _line_of(self, ticket: int) -> int:
        """The line of a ticket of this file; 0 where it is none."""
        chunk = bisect_right(self._firsts, ticket) - 1
        if chunk < 0 or ticket - self._firsts[chunk] >= len(self._chunks[chunk]):
            return 0
        return self._chunks[chunk][ticket - self._firsts[chunk]]

    def _blame(self, line: int, member: str, problem: str, *, given: str = "") -> None:
        self.judged.faulty += 1
        if len(self.judged.faults) < FAULTS_MAX:
            self.judged.faults.append(Fault(line=line, member=member, problem=problem, given=given))


def _shown(members: dict[str, Any], field: str) -> str:
    if field not in members or field == "pass":
        return ""
    return msgspec.json.encode(members[field]).decode()[:_GIVEN_CHARACTERS_MAX]


async def _lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """The lines that are not empty, by number. Raises InvalidParameter for one that does not end."""
    number, rest = 0, b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, _without_mark(number, line)
        if len(rest) > LINE_BYTES_MAX:
            raise InvalidParameter(f"line {number + 1}", f"is longer than {LINE_BYTES_MAX} bytes; give a ticket a line")
    if rest.strip():
        yield number + 1, _without_mark(number + 1, rest)


def _without_mark(number: int, line: bytes) -> bytes:
    """Some editors put a mark at the beginning of a file in UTF-8."""
    return line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
