"""Moves what is in the WAL into the file beside the writer, whose commits would wait for it otherwise.

A checkpoint of the usual size takes as long as twenty commits. One beside the writer never comes to an end under load,
since new pages come meanwhile; so the writer does the last of it, a few pages, and begins its WAL anew.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import apsw

from openusher.ledger.base import LedgerTally
from openusher.ledger.sqlite import store
from openusher.logs import event_log

# 16 MiB of WAL between checkpoints: few and large ones, and still well under a second of recovery after a crash.
CHECKPOINT_PAGES = 4_000
# What the writer may do itself: a millisecond or two. Each turn beside it leaves what came meanwhile, which is less
# each time; but for the largest batches, whose pages are more than that whenever one looks.
_LAST_PAGES = 256
_TURNS_BESIDE_MAX = 4
# After a turn that a reader was in the way of: so many pages later he has mostly gone.
_PAGES_A_RETRY = 1_000
# To look is a statement more. So many commits of the largest batches are a fraction of CHECKPOINT_PAGES.
_COMMITS_A_LOOK = 8

log = event_log()


class Checkpoints:
    """One for a writer; to be called on the writer's thread where nothing else is said."""

    def __init__(self, connect: Callable[[], apsw.Connection], tally: LedgerTally) -> None:
        self._connect = connect
        self._tally = tally
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-checkpoint")
        self._under_way: Future[None] | None = None
        self._commits = 0
        # Of this WAL: how often it was moved beside the writer, and how long it was when that was last begun.
        self._turns_beside = 0
        self._tried_at = 0
        self.wal_pages = 0
        self._is_paused = False

    def after_commit(self, connection: apsw.Connection) -> None:
        """Look, where it is time to, how long the WAL is, and see that it is moved."""
        self._commits += 1
        if self.wal_pages < CHECKPOINT_PAGES and self._commits % _COMMITS_A_LOOK:
            return
        self.wal_pages, moved = store.wal_pages(connection)
        if self._is_paused or (self._under_way and not self._under_way.done()):
            return
        if self.wal_pages < CHECKPOINT_PAGES or self.wal_pages < self._tried_at:
            # A WAL that has become shorter is another one.
            self._turns_beside = self._tried_at = 0
        if self.wal_pages < CHECKPOINT_PAGES:
            return
        if moved < self._tried_at:
            # Somebody read what stands before these pages, and may read on.
            self._turns_beside = 0
            if self.wal_pages < self._tried_at + _PAGES_A_RETRY:
                return
        self._tried_at = self.wal_pages
        if self.wal_pages - moved <= _LAST_PAGES or self._turns_beside == _TURNS_BESIDE_MAX:
            self._checkpoint(connection)
        else:
            self._turns_beside += 1
            self._under_way = self.move_beside()

    def pause(self) -> None:
        """Begin no move but by `move_beside`, until `go_on`."""
        self._is_paused = True

    def go_on(self) -> None:
        """From any thread."""
        self._is_paused = False

    def move_beside(self) -> Future[None]:
        """Move what there is, as far as readers allow, while the writer goes on. From any thread."""
        return self._thread.submit(self._move)

    def _move(self) -> None:
        try:
            connection = self._connect()
            try:
                self._checkpoint(connection)
            finally:
                connection.close()
        except apsw.Error as error:
            # Nothing is lost: the pages stay in the WAL, and are tried again.
            self._tally.failed_checkpoints += 1
            log.warning("ledger.not_checkpointed", error=type(error).__name__)

    def _checkpoint(self, connection: apsw.Connection) -> None:
        store.checkpoint(connection)
        self._tally.checkpoints += 1

    def close(self) -> None:
        """Return once none is under way. To be called before the writer closes the file, from any thread."""
        self._thread.shutdown()
