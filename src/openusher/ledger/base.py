"""What any ledger promises, and the words it needs. Nothing here runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from openusher.ledger.operations import ANSWER_KEPT_MS as ANSWER_KEPT_MS
from openusher.ledger.operations import BATCH_OPERATIONS_MAX as BATCH_OPERATIONS_MAX
from openusher.ledger.operations import HOOK as HOOK
from openusher.ledger.operations import HOOK_KEPT_MS as HOOK_KEPT_MS
from openusher.ledger.operations import Decide as Decide
from openusher.ledger.operations import Done as Done
from openusher.ledger.operations import Drawn as Drawn
from openusher.ledger.operations import EndSessions as EndSessions
from openusher.ledger.operations import Issue as Issue
from openusher.ledger.operations import Operation as Operation
from openusher.ledger.operations import Outcome as Outcome
from openusher.ledger.operations import PayKicks as PayKicks
from openusher.ledger.operations import Revoke as Revoke
from openusher.ledger.operations import SeeSessions as SeeSessions
from openusher.ledger.operations import Start as Start
from openusher.model.account import Account, ApiKey, Edge, OldToken, Secret
from openusher.model.attempt import Attempt
from openusher.model.block import Block, Horizon
from openusher.model.discreet import Discreet
from openusher.model.limits import INTEGER_MAX
from openusher.model.search import AttemptFilter, Group, GroupBy, Total
from openusher.model.session import FoundSessions
from openusher.model.ticket import Ticket, TicketFilter
from openusher.tally import BATCH_BOUNDS, COMMIT_BOUNDS_S, Distribution


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts, API keys, edges by number with the tokens that newer ones have replaced, and keys of cookies, the
    newest first: small, kept in memory by a node, read again after each change."""

    accounts: dict[int, Account]
    api_keys: dict[str, ApiKey]
    edges: dict[int, Edge]
    old_tokens: list[OldToken]
    cookie_keys: list[Secret]


class PendingCount(msgspec.Struct, frozen=True):
    """Matching attempts behind `after_id`, which the log does not have to count, up to `last_id`, the newest; and the
    horizon; all read in one transaction."""

    count: int
    horizon: Horizon
    after_id: int
    last_id: int


class PendingGroups(msgspec.Struct, frozen=True, kw_only=True):
    """The groups of the pending attempts, largest first; all of them, or the `top` asked for.

    `group_count` and `attempts` say how many groups and matching attempts pend in all.
    """

    groups: list[Group]
    group_count: int
    attempts: int
    horizon: Horizon


class PendingTotals(msgspec.Struct, frozen=True):
    """The totals of matching attempts behind `after_id`, which the log does not have to count; the rest is as in
    `PendingCount`."""

    totals: list[Total]
    horizon: Horizon
    after_id: int
    last_id: int


class PendingAttempts(msgspec.Struct, frozen=True, kw_only=True):
    """A window of the matching pending attempts, newest first.

    `matching` is how many pend in all, where the window reaches behind the last of them; else None.
    """

    attempts: list[Attempt]
    matching: int | None
    horizon: Horizon


class PendingRows(Discreet, frozen=True, kw_only=True):
    """The oldest matching pending attempts, in order of id: each as JSON, as `AttemptLog.insert` takes a row. Whoever
    only hands them on is spared the reading."""

    rows: list[msgspec.Raw]
    horizon: Horizon


class LedgerStats(msgspec.Struct, frozen=True, kw_only=True):
    """Where the ledger stands. Ids and block numbers are the last ones given out; times are unix milliseconds.

    Attempts from before `kept_from_ms` are forgotten; 0: none is. The log need not hold blocks up to `released_block`.
    Those from before `anonymised_before_ms` are anonymised; the digests of blocks up to `anonymised_block` are so too.
    """

    incarnation: int
    last_attempt_id: int
    last_block: int
    shipped_block: int
    pending: int
    oldest_pending_ms: int | None
    clock_ms: int
    kept_from_ms: int
    released_block: int
    anonymised_before_ms: int
    anonymised_block: int


class LedgerTally(msgspec.Struct, kw_only=True):
    """What the ledger has done since it was opened.

    `batch` has the operations of each batch; `commit_s` how long each took, from its first statement until it was on
    disk; `sync_s` how long the last step of any commit took, in which it is written to the WAL and synced.
    `not_written` and `unknown` are commits that failed. `wal_bytes` is the WAL's size on disk, and `pid` the process
    that has the ledger open.
    """

    batch: Distribution = msgspec.field(default_factory=lambda: Distribution.within(BATCH_BOUNDS))
    commit_s: Distribution = msgspec.field(default_factory=lambda: Distribution.within(COMMIT_BOUNDS_S))
    sync_s: Distribution = msgspec.field(default_factory=lambda: Distribution.within(COMMIT_BOUNDS_S))
    not_written: int = 0
    unknown: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    wal_bytes: int = 0
    pid: int = 0


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its first API key and its first edge. `cdn` 0: the next free number."""

    name: str
    cdn: int
    key: ApiKey
    edge_name: str
    edge_token_digest: str


class ImportedTickets(msgspec.Struct, frozen=True):
    """The tickets of one call were given the numbers from `first` on, in their order; `held` has for each of them the
    number of the ticket that its key is of: another one where the key was taken, and it was left out."""

    first: int
    held: list[int]


class Ledger(Protocol):
    """One writer, any number of readers. Every method that writes returns only after its commit is synced.

    All of them raise LedgerUnavailable when nothing was done, and CommitUnknown when that cannot be said. What reads
    raises CountUnavailable when it took too long, and Busy when its turn among other readers did not come.
    """

    @property
    def clock_ms(self) -> int:
        """The largest clock this ledger has ever seen; time never goes back past it."""
        ...

    async def commit_batch(self, operations: Sequence[Operation], *, now_ms: int) -> list[Outcome]:
        """Carry out `operations` in order and make them durable, all in one transaction.

        Takes 1 to `BATCH_OPERATIONS_MAX`; several may name one ticket, and each sees those before it. Returns one
        outcome each, in that order: a CallerError is an outcome and concerns that operation alone. `now_ms` is taken
        as `clock_ms` where it is earlier.
        """
        ...

    async def commit_next(self, draw: Callable[[], Drawn]) -> list[Outcome]:
        """As `commit_batch`, of the operations that `draw` returns.

        It is called once, as late as the ledger can be kept at work, so that a batch holds all who wait by then;
        perhaps on another thread. Batches are committed in the order of these calls.
        """
        ...

    async def ticket(self, cdn: int, key: str) -> Ticket | None: ...

    async def count_pending(self, cdn: int, search: AttemptFilter, *, held: bool = False) -> PendingCount:
        """Count what the log does not hold yet. With `held`, where all that has a larger id than the search's own
        `after_id` is still here, count all of that, whether the log holds some of it by now or not."""
        ...

    async def group_pending(
        self, cdn: int, search: AttemptFilter, by: GroupBy, *, top: int | None
    ) -> PendingGroups: ...

    async def totals_pending(self, cdn: int, search: AttemptFilter, *, most: int) -> PendingTotals:
        """As `count_pending` with `held`, by app, video and reason, in no order; `most` of these at the most."""
        ...

    async def newest_pending(
        self, cdn: int, search: AttemptFilter, *, seek: int = 0, limit: int
    ) -> PendingAttempts: ...

    async def oldest_pending(self, cdn: int, search: AttemptFilter, *, limit: int) -> PendingRows:
        """Up to `limit` of the matching pending attempts, the oldest of them."""
        ...

    async def directory(self) -> Directory: ...

    async def create_account(self, account: NewAccount) -> Account:
        """Raises AlreadyExists for a name, cdn or API key that is taken."""
        ...

    async def set_account_active(self, cdn: int, *, active: bool) -> None:
        """Raises NotAuthorised for an unknown cdn."""
        ...

    async def add_api_key(self, key: ApiKey) -> None:
        """Raises AlreadyExists for one that is taken, NotAuthorised for an unknown cdn."""
        ...

    async def revoke_api_key(self, api_key: str) -> None:
        """Forget a key for ever. Raises NotAuthorised for one that is unknown."""
        ...

    async def see_api_keys(self, used_s: dict[str, int]) -> None:
        """Keep when keys signed last, which never goes back. One that is unknown meanwhile is no fault."""
        ...

    async def find_tickets(
        self, cdn: int, search: TicketFilter, *, before: int, limit: int, now_s: int
    ) -> list[Ticket]:
        """Up to `limit` of an account's tickets that match and are numbered below `before`, the newest first, as they
        are at `now_s`."""
        ...

    async def begin_import(self, cdn: int) -> int:
        """Begin to take tickets over, which are not there to anybody until `finish_import`. Returns the import's
        number. Raises NotAuthorised for an unknown cdn."""
        ...

    async def import_tickets(self, number: int, tickets: list[Ticket]) -> ImportedTickets:
        """Take over 1 to `BATCH_OPERATIONS_MAX` tickets of one account, whatever numbers these have."""
        ...

    async def finish_import(self, number: int) -> None:
        """From here on its tickets are there, all at once. Raises LedgerUnavailable for one that was dropped."""
        ...

    async def drop_imports(self, *, limit: int) -> int:
        """Delete up to `limit` tickets of imports that were not finished; returns how many there were. When it is 0
        nothing is left of them."""
        ...

    async def count_tickets(self, cdn: int) -> int:
        """How many tickets an account has, revoked and expired ones among them."""
        ...

    async def create_edge(self, edge: Edge) -> Edge:
        """Make an edge, whose number is given out here. Raises AlreadyExists for a name that the account has given,
        NotAuthorised for an unknown cdn."""
        ...

    async def change_edge(self, edge: Edge, *, old_until_ms: int) -> None:
        """Let the edge of this number be as this one, for ever revoked where that has a `revoked_s`. Where its token is
        another, those before it are good until `old_until_ms` at the most. Raises AlreadyExists for a name that the
        account has given, NotAuthorised for an unknown number."""
        ...

    async def add_cookie_key(self, secret: Secret) -> None:
        """From here on cookies are signed by this key; older ones stay."""
        ...

    async def live_sessions(self, *, after: int, limit: int) -> FoundSessions:
        """Up to `limit` that have not ended and have a number above `after`, in order of their numbers."""
        ...

    async def ended_sessions(self, cdn: int, *, from_ms: int, limit: int) -> FoundSessions:
        """Those of an account that ended at `from_ms` or later, the last ended first."""
        ...

    async def owed_sessions(self, *, after: int, limit: int) -> FoundSessions:
        """Up to `limit` that were ended here and whose servers are yet to drop the connection, numbered above `after`,
        in order of their numbers."""
        ...

    async def prune_sessions(self, *, before_ms: int, limit: int) -> int:
        """Forget up to `limit` sessions that ended before `before_ms`; returns how many there were."""
        ...

    async def forget(self, *, before_ms: int) -> None:
        """From here on no answer knows an attempt from before `before_ms`, nor is one recorded: the clock is that late
        at the least. What is forgotten stays so: an earlier `before_ms` changes nothing."""
        ...

    async def delete_forgotten(self, *, limit: int) -> int:
        """Delete up to `limit` rows of forgotten attempts; returns how many there were. Not while blocks are made:
        beside a log, rows go there, and what is forgotten goes from there."""
        ...

    async def release_blocks(self, *, upto: int) -> None:
        """From here on the log need hold none of the blocks up to `upto`. All their attempts are forgotten."""
        ...

    async def anonymise(self, *, before_ms: int) -> None:
        """From here on every answer shows attempts from before `before_ms` anonymised (model/anonymity.py), and no new
        one is from before it. As with `forget`, an earlier `before_ms` changes nothing."""
        ...

    async def anonymise_rows(self, *, limit: int) -> int:
        """Write up to `limit` rows of such attempts as they are shown; returns how many there were. Not while blocks
        are made."""
        ...

    async def anonymise_blocks(self, digests: dict[int, str]) -> None:
        """From here on these are the digests of shipped blocks, all of whose attempts are anonymised, as are all blocks
        before the last of them."""
        ...

    async def anonymise_sessions(self, *, before_ms: int, limit: int) -> int:
        """Anonymise up to `limit` sessions that ended before `before_ms`; returns how many there were."""
        ...

    async def next_block(self, *, now_ms: int) -> Block | None:
        """The oldest unshipped block; if there is none, a new one of the oldest pending ids; None if none pend."""
        ...

    async def block_rows(self, block: Block) -> bytes:
        """The rows of an unshipped block as `AttemptLog.insert` takes them."""
        ...

    async def write_rows(self, block: Block, file: str) -> None:
        """As `block_rows`, into `file`, which is made anew: whatever a process is handed 26 MB of, its decisions wait
        for."""
        ...

    async def mark_shipped(self, block: Block) -> None:
        """From here on its attempts are counted in the log and no longer here, in one commit."""
        ...

    async def delete_shipped(self, *, limit: int, upto: int = INTEGER_MAX) -> int:
        """Delete up to `limit` rows of shipped blocks, of attempts up to `upto`; returns how many there were."""
        ...

    async def blocks(self) -> list[Block]:
        """Every block ever assigned, by number: what the log must hold."""
        ...

    async def stats(self) -> LedgerStats: ...

    async def tally(self) -> LedgerTally:
        """What was done so far. Waits for no writer and no reader, so that it comes while they hang."""
        ...

    async def be_ready(self) -> None:
        """Return once it can be written: after a commit of unknown outcome it is first reopened and synced, after a
        write that failed an empty one is tried.

        Raises LedgerUnavailable while that fails.
        """
        ...

    async def is_demo(self) -> bool:
        """Whether this ledger was made for a demo, the only one that may carry the published secret."""
        ...

    async def check(self, *, quick: bool) -> list[str]:
        """What is wrong with the ledger's own file and rows, a sentence each with its repair; empty when sound."""
        ...

    async def copy_to(self, file: str) -> LedgerStats:
        """Copy all of it, as of one moment, to `file`, which is made anew and synced; return where that copy stands.

        Decisions go on meanwhile. What a copy that was broken off has left behind is overwritten by the next.
        """
        ...

    async def set_indexes(self, *, wanted: bool) -> None:
        """Keep indexes for searches of many attempts, or none: they cost each decision, and few are read without."""
        ...

    async def close(self) -> None: ...
