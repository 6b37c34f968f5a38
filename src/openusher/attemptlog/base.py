"""What any attempt log promises, and the words it needs. Nothing here runs.

Rows travel as JSON arrays, one a line, in the order of `COLUMNS`; addresses are 32 lower-case hex digits.

The digest of a block is SHA-256 over its *canonical rows* in order of id: for each column in the order of `COLUMNS`,
`<decimal>,` for a number, `<32 hex digits>,` for an address, `<length in bytes of UTF-8>:<text>,` for a text. Ledger
and log each make that text in their own SQL, so that a shifted column or a changed character shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from openusher.model.attempt import Attempt
from openusher.model.block import COLUMNS as COLUMNS
from openusher.model.block import Block, Horizon
from openusher.model.search import AttemptFilter, Group, GroupBy, GroupValue, Total

# The rows of a block, or the file that holds them.
Rows = bytes | Path


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one table of the log holds of a block; all zero and empty where it holds nothing of it."""

    rows: int
    first_id: int
    last_id: int
    digest: str


class GroupedLog(msgspec.Struct, frozen=True):
    """The largest groups in the log, largest first (ties by value); how many groups there are, and how many attempts,
    in all."""

    groups: list[Group]
    total: int
    attempts: int


class Span(msgspec.Struct, frozen=True):
    """A run of blocks, both ends included, how many matching attempts it holds, and of how many bytes of text."""

    first_block: int
    last_block: int
    attempts: int
    text_bytes: int = 0


# Of one copy: as much as 3 GB of text, and as many files that are written side by side.
SPANS_COPIED_MAX = 96


class Copy(msgspec.Struct, frozen=True):
    """The matching attempts of some spans, each span by itself, so that reading one does not read the whole log.

    It is gone once `starts` is no more the log's. Without a name there is none, and spans are read from the log.
    """

    name: str
    starts: int


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """What makes up a log as it was, for a copy: `sources` are files and folders whose content does not change, by the
    place each has in a log's folder; `links` are symbolic links, from place to target. All paths are relative to that
    folder."""

    sources: dict[str, str] = {}
    links: dict[str, str] = {}


class AttemptLog(Protocol):
    """Where shipped attempts are counted. A horizon bounds every question to blocks that the ledger calls shipped.

    All methods raise LogUnavailable while the log does not answer, and LogDamaged when it says its data is broken.
    """

    @property
    def ships(self) -> bool:
        """Whether attempts are to be shipped here at all; False: every count comes from the ledger."""
        ...

    @property
    def starts(self) -> int:
        """How often the log was (re)started; a new number means that what it holds must be verified again."""
        ...

    @property
    def pid(self) -> int | None:
        """The process that has the log open beside this one; None while there is none."""
        ...

    async def start(self) -> None:
        """Open the log, creating what is missing.

        Raises SetupError when it cannot run on this machine, LogDamaged and LogUnavailable when it cannot be opened
        now; after these two it opens by itself as soon as it can.
        """
        ...

    async def tables(self) -> Sequence[str]:
        """The tables a block goes into."""
        ...

    async def insert(self, block: Block, rows: Rows, *, table: str) -> None:
        """Store `block` in `table`, synced, all or nothing. The caller has seen that the table holds none of it."""
        ...

    async def held(self, number: int, *, table: str) -> Held:
        """Read back what `table` holds of block `number`."""
        ...

    async def held_between(self, first: int, last: int, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        """As `held`, for every block from `first` to `last` of which `table` has rows. The digests of blocks up to
        `anonymised_upto` are of their attempts as anonymised, whether they have been written so or not."""
        ...

    async def all_held(self, *, table: str, anonymised_upto: int = 0) -> dict[int, Held]:
        """As `held_between`, for every block `table` has rows of; for checks, since it reads everything."""
        ...

    async def rows_by_block(self, *, table: str) -> dict[int, int]:
        """How many rows `table` holds of each block that it holds any of; cheap, since every count waits for it after
        a start."""
        ...

    async def last_block_before(self, at_ms: int, *, table: str) -> int:
        """The largest block in `table` of which, as of all before it, every attempt is from before `at_ms`; 0 if there
        is none."""
        ...

    async def remove(self, *, upto: int, table: str) -> int:
        """Take away the rows of all blocks up to `upto`, which nothing asks for any more; returns how many it found.

        They may go later, and a crash may leave any of them there, or bring them back, a block whole or in part: to be
        called again, at the least after each start. No block is inserted meanwhile.
        """
        ...

    async def anonymise(self, *, upto: int, table: str) -> int:
        """Write the attempts of all blocks up to `upto` as they are shown, anonymised; returns how many were not yet.

        They may be written later, and a crash may leave some as they were: to be called again. The caller has seen that
        no answer would tell the difference. No block is inserted meanwhile.
        """
        ...

    async def derive(self, upto: int, *, released: int) -> None:
        """Make of the blocks behind `released` up to `upto` what lets the log answer sooner, where it has such a thing;
        no answer depends on it. The caller has seen that the log holds these blocks, and inserts, removes and
        anonymises none meanwhile."""
        ...

    async def wrongly_derived(self, *, released: int, anonymised_upto: int) -> Sequence[int]:
        """The blocks behind `released` of which that says something else than the tables blocks go into; for checks,
        since it reads everything. It may be so for a moment while attempts are anonymised."""
        ...

    async def derive_anew(self) -> None:
        """Throw that away; it is made again."""
        ...

    async def count(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> int: ...

    async def groups(
        self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, top: int
    ) -> GroupedLog: ...

    async def counts_of(
        self, cdn: int, search: AttemptFilter, by: GroupBy, horizon: Horizon, *, values: Sequence[GroupValue]
    ) -> dict[GroupValue, int]:
        """How many attempts each group of `values` has; those the log has none of are left out."""
        ...

    async def totals(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, most: int) -> list[Total]:
        """How many matching attempts there are, by app, video and reason, in no order; `most` of these at the most."""
        ...

    async def newest(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, seek: int = 0, limit: int
    ) -> list[Attempt]:
        """The newest matching attempts behind the first `seek`, newest first."""
        ...

    async def spans(self, cdn: int, search: AttemptFilter, horizon: Horizon) -> Sequence[Span]:
        """Runs of blocks that hold all matching attempts, in their order, which is also that of the attempts' ids.

        A run holds no more of them than a block may, so that each can be read at once.
        """
        ...

    async def copy(self, cdn: int, search: AttemptFilter, horizon: Horizon, *, spans: Sequence[Span]) -> Copy:
        """Read the log once and set aside what matches in `spans`, at most `SPANS_COPIED_MAX`; to be dropped.

        Raises CountUnavailable where the disk has too little room for it."""
        ...

    async def drop(self, copy: Copy) -> None:
        """Remove a copy; one that is gone is no error."""
        ...

    async def rows(
        self, cdn: int, search: AttemptFilter, horizon: Horizon, *, span: Span, copy: Copy | None = None
    ) -> bytes:
        """The matching attempts of `span` in order of id, in the form in which `insert` takes rows; each ends with a
        line feed. They come from `copy` where that is given: of the same account and search, and with this span.

        Raises LogUnavailable for a copy that is gone."""
        ...

    async def broken_parts(self, *, table: str) -> list[str]:
        """Names of what `table` is kept in that is not as it was written; for checks, since it reads every file."""
        ...

    async def freeze(self) -> Frozen:
        """Keep what it holds now for a copy, until `thaw`; nothing where it has no files of its own. It goes on as
        before. Whoever calls sees that no block is shipped meanwhile, or the copy may hold a block in parts."""
        ...

    async def thaw(self) -> None:
        """Let go of what `freeze` keeps, also of an earlier process; none is no error."""
        ...

    async def close(self) -> None: ...
