"""Every metric: its name, its labels, what it means, and what to do when it climbs. docs/reference/metrics.md is made
of this table.

A label has few values, which the operator or this program chose: never a key, an address, a video or a path.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """A counter rises and begins at zero with the node; a gauge is how something stands; a histogram is how values are
    spread."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One metric. `means` is its help text; `advice` says what to do when it climbs, or what it is for. Where
    `needs_log`, a node without an attempt log does not show it."""

    name: str
    kind: Kind
    means: str
    advice: str
    labels: tuple[str, ...] = ()
    needs_log: bool = False


def _counter(name: str, means: str, advice: str, *labels: str, needs_log: bool = False) -> Family:
    return Family(name=name, kind=Kind.COUNTER, means=means, advice=advice, labels=labels, needs_log=needs_log)


def _gauge(name: str, means: str, advice: str, *labels: str, needs_log: bool = False) -> Family:
    return Family(name=name, kind=Kind.GAUGE, means=means, advice=advice, labels=labels, needs_log=needs_log)


def _histogram(name: str, means: str, advice: str, *labels: str, needs_log: bool = False) -> Family:
    return Family(name=name, kind=Kind.HISTOGRAM, means=means, advice=advice, labels=labels, needs_log=needs_log)


# The node

BUILD = _gauge(
    "usher_build_info",
    "Always 1; the labels say which version runs, on which Python, and where attempts are counted.",
    "Join it to other metrics to see what an update has changed.",
    "version",
    "python",
    "log",
)
READY = _gauge(
    "usher_ready",
    "1 if decisions can be made and counts given, as GET /readyz says; else 0.",
    "At 0 for more than a minute, read the node's log and run `usher check`.",
)
TAKES_STARTS = _gauge(
    "usher_takes_starts",
    "0 while the disk has less free space than free_bytes_min, and starts are answered busy; else 1.",
    "At 0, make room on the disk of the data folder. Revoking, counting and shipping go on.",
)
CLOCK_AHEAD = _gauge(
    "usher_clock_ahead_seconds",
    "How far the latest time that the ledger has seen is ahead of the machine's clock.",
    "Set the machine's clock right (NTP). Tickets expire that much early until it has caught up.",
)
DISK_FREE = _gauge(
    "usher_disk_free_bytes",
    "Free space on the disk of the data folder.",
    "When it falls towards usher_disk_free_bytes_min, make room.",
)
DISK_SIZE = _gauge("usher_disk_size_bytes", "Size of the disk of the data folder.", "To show what is free as a share.")
DISK_FREE_MIN = _gauge(
    "usher_disk_free_bytes_min",
    "The setting free_bytes_min: with less free space, starts are answered busy.",
    "To compare usher_disk_free_bytes with.",
)
LAST_BACKUP = _gauge(
    "usher_last_backup_timestamp_seconds",
    "When the last backup of the data folder was made by `usher backup`, in unix seconds; 0: never.",
    "When it no longer rises every night, see what your timer says of `usher backup`.",
)

# What is asked and answered: four different things, each counted on its own.

DECISIONS = _counter(
    "usher_decisions_total",
    "Attempts decided and recorded, by edge and by outcome (accepted, refused); reason is that of a refusal.",
    "When refusals climb, look at the reason: wrong passes are guesses or an edge that reads tickets wrongly; exceeded "
    "uses or sessions are shared tickets. When an edge has none any more, see whether its server still asks.",
    "cdn",
    "edge",
    "outcome",
    "reason",
)
BAD_REQUESTS = _counter(
    "usher_bad_requests_total",
    "Requests refused for what they said or who sent them, by route, kind of edge, and error. None is an attempt.",
    "invalid_parameter: whoever asks sends what Usher cannot read, mostly after a change of its configuration. "
    "not_authorised: a token or key that is none, or not any more.",
    "route",
    "kind",
    "error",
)
BUSY = _counter(
    "usher_busy_total",
    "Requests answered busy, by route. Nothing was done; the same may be asked again.",
    "The node is at its limit, stopping, or its disk is low: see usher_takes_starts, usher_waiting_operations and "
    "usher_commit_seconds.",
    "route",
)
FAULTS = _counter(
    "usher_faults_total",
    "Requests that failed through a fault of the node's own, by error.",
    "Any is worth a look: the node's log says what failed. commit_unknown and ledger_unavailable mean the disk; "
    "log_unavailable and count_unavailable the attempt log.",
    "error",
)
REPEATS = _counter(
    "usher_repeats_total",
    "Questions answered by an earlier decision: the same attempt_id again, or a start that joined its live session.",
    "Edges ask again after a timeout: see whether answers are slow, or the network between loses them.",
)
WAITING = _gauge(
    "usher_waiting_operations",
    "Decisions and other writes that wait for the next commit.",
    "Hundreds at every look: commits take long, see usher_commit_sync_seconds; or more is asked than one core decides.",
)
REQUESTS = _counter(
    "usher_http_requests_total",
    "HTTP requests answered, by the template of their path, kind of edge, method and status.",
    "To see who asks how much. A status says little of an outcome: the SEVU API answers 200 to all.",
    "route",
    "kind",
    "method",
    "status",
)
REQUEST_SECONDS = _histogram(
    "usher_http_request_seconds",
    "How long HTTP requests took from their headers to their answer, by the template of their path and kind of edge.",
    "For /v1/authorize it is mostly usher_commit_seconds; for / see usher_search_seconds.",
    "route",
    "kind",
)

# Sessions

SESSIONS = _gauge(
    "usher_sessions",
    "Live sessions, those that sleep included.",
    "They are kept in the door's memory: see process_resident_memory_bytes.",
)
FOLLOW_UPS = _counter(
    "usher_follow_ups_total",
    "Requests of sessions that go on, by outcome (allowed, refused); reason is that of a refusal.",
    "`No Session` climbs where players lose their cookie or come without a ticket; `Too many addresses` where sessions "
    "are shared.",
    "outcome",
    "reason",
)
KICKS_OWED = _gauge(
    "usher_kicks_owed",
    "Connections that media servers were asked to drop and have not dropped yet.",
    "A media server's control API does not answer, or its control URL is wrong: the log says of which edge.",
)
KICKS = _counter(
    "usher_kicks_total",
    "Connections that media servers have dropped (paid), or that are not asked for any more (given_up).",
    "given_up: viewers may have gone on watching after their ticket ended. See the server's control API.",
    "outcome",
)
RECONCILED = _counter(
    "usher_reconciled_sessions_total",
    "Sessions ended because the media server, when asked, did not know their connection any more.",
    "The server's hook for the end of a connection is lost or not configured.",
)

# The ledger

LEDGER_UP = _gauge(
    "usher_ledger_up",
    "1 if the ledger's process answered when this was read; else 0, and its other metrics are missing.",
    "At 0 for more than a moment, the machine is out of memory or processor time.",
)
BATCH = _histogram(
    "usher_batch_operations",
    "Operations in one commit.",
    "It grows with the load: that is how the node keeps up. Always at 512, it is at its limit.",
)
COMMIT_SECONDS = _histogram(
    "usher_commit_seconds",
    "How long one batch took: reading, deciding, writing, and until it was on disk.",
    "Compare it with usher_commit_sync_seconds: what is above that is processor time.",
)
SYNC_SECONDS = _histogram(
    "usher_commit_sync_seconds",
    "How long the last step of a commit took: SQLite writes it to its WAL and waits until the disk has it (fsync).",
    "The disk is slow or shared; every answer waits for it. Put the data folder on a disk of its own.",
)
FAILED_COMMITS = _counter(
    "usher_failed_commits_total",
    "Commits that failed: not_written, of which nothing was done, or unknown, which may have been written.",
    "not_written: the disk is full. unknown: the disk fails; see the kernel's log.",
    "outcome",
)
CHECKPOINTS = _counter(
    "usher_checkpoints_total",
    "How often the WAL was moved into the ledger's file (done), or could not be (failed).",
    "failed, again and again: the disk, or a reader that never ends; then usher_wal_bytes grows.",
    "outcome",
)
WAL_BYTES = _gauge(
    "usher_wal_bytes",
    "Size of the ledger's WAL on disk. From 16 MB on it is moved into the ledger's file.",
    "Above 100 MB, checkpoints fail or readers hold them up: see usher_checkpoints_total.",
)
PENDING = _gauge(
    "usher_pending_attempts",
    "Attempts in the ledger that the attempt log does not hold yet; without a log, all attempts.",
    "With a log: shipping does not keep up, see usher_ship_lag_seconds.",
)

# Shipping and the attempt log

PENDING_OLDEST = _gauge(
    "usher_pending_oldest_seconds",
    "Age of the oldest attempt that the attempt log does not hold yet; 0 where there is none.",
    "Up to ship_age_s is usual. Far above, shipping has stopped: see usher_shipping_stopped and usher_log_up.",
    needs_log=True,
)
SHIP_LAG = _gauge(
    "usher_ship_lag_seconds",
    "For how long the oldest pending attempt should have been shipped by now.",
    "A few seconds are usual while much is shipped. If it only climbs, read the log for shipper.waited.",
    needs_log=True,
)
IN_FLIGHT = _gauge(
    "usher_blocks_in_flight",
    "Blocks that are on their way from ledger to log.",
    "1 for minutes: the log does not take it; read the node's log for shipper.waited.",
    needs_log=True,
)
SHIP_SECONDS = _histogram(
    "usher_ship_seconds",
    "How long a block took until the log was seen to hold it.",
    "The disk or the processor of the log's process is busy, perhaps with counts: see usher_search_seconds.",
    needs_log=True,
)
SHIPPED = _counter(
    "usher_shipped_attempts_total",
    "Attempts moved from ledger to log.",
    "It should keep pace with usher_decisions_total.",
    needs_log=True,
)
SHIP_RETRIES = _counter(
    "usher_ship_retries_total",
    "How often shipping failed and was put off.",
    "Some are usual while the log's process starts again. Else read the node's log for shipper.waited.",
    needs_log=True,
)
SHIPPING_STOPPED = _gauge(
    "usher_shipping_stopped",
    "1 once ledger and log disagree: nothing is shipped and nothing counted; decisions go on. Else 0.",
    "At 1, run `usher check`: it names the difference and its repair.",
    needs_log=True,
)
LOG_UP = _gauge(
    "usher_log_up",
    "1 while the attempt log's process runs; else 0, and counts fail.",
    "At 0 for more than a few seconds, the node's log says why it cannot be started.",
    needs_log=True,
)
LOG_RESTARTS = _counter(
    "usher_log_restarts_total",
    "How often the attempt log's process was started again.",
    "It was killed for want of memory, or crashes: see usher_log_process_resident_memory_bytes and the kernel's log.",
    needs_log=True,
)
SEARCH_SECONDS = _histogram(
    "usher_search_seconds",
    "How long counts, groups and lists of attempts took, by kind (count, group, list).",
    "Groups over many attempts take longest. Narrow them by time, or give the log's process more memory.",
    "kind",
)
FAILED_SEARCHES = _counter(
    "usher_failed_searches_total",
    "Counts, groups and lists that failed since no exact answer could be given in time, by kind.",
    "See usher_log_up and usher_shipping_stopped; else counts ask for too much at once.",
    "kind",
)
KEPT_ANSWERS = _counter(
    "usher_kept_answers_total",
    "Counts and groups that were answered from what is kept, and what came since: counts (the same question asked "
    "before), or totals (of its account).",
    "All others read the whole account or an index: compare it with usher_search_seconds_count.",
    "kept",
)
KEPT_COUNTS = _gauge(
    "usher_kept_counts",
    "Questions whose counts are kept.",
    "At the setting kept_counts, those asked the longest ago make room; asked again, they are counted anew.",
)
KEPT_TOTALS_BYTES = _gauge(
    "usher_kept_totals_bytes",
    "What the totals that are kept of accounts take of the door's memory.",
    "Near the setting kept_totals_bytes_max, there is not room for all accounts that ask.",
)

# Each process: the library reads these from /proc.

_READ = {
    "resident_memory_bytes": (Kind.GAUGE, "Memory of {who}.", "{memory}"),
    "virtual_memory_bytes": (Kind.GAUGE, "Address space of {who}.", "It says little; look at the resident memory."),
    "cpu_seconds_total": (Kind.COUNTER, "Processor time of {who}.", "{cpu}"),
    "start_time_seconds": (Kind.GAUGE, "When {who} was started, in unix seconds.", "A new value is a restart."),
    "open_fds": (Kind.GAUGE, "Open descriptors of {who}.", "In the door, one for each connection."),
    "max_fds": (Kind.GAUGE, "How many descriptors {who} may have open.", "Raise LimitNOFILE if the door comes near."),
}
_PROCESSES = {
    "process": (
        "the door, which serves HTTP",
        "It grows with live sessions and open connections.",
        "Near 1 a second, the door is at its limit.",
    ),
    "usher_ledger_process": (
        "the ledger's process",
        "It should not grow; restart the node and tell us.",
        "Near 1 a second, deciding is at its limit.",
    ),
    "usher_log_process": (
        "the attempt log's process",
        "It may grow to log_memory_bytes_max while counts run.",
        "Above 1 a second for long: large counts, or merges of what was shipped.",
    ),
}


def _of_processes() -> list[Family]:
    return [
        Family(
            name=f"{prefix}_{name}",
            kind=kind,
            means=means.format(who=who),
            advice=advice.format(memory=memory, cpu=cpu),
            needs_log=prefix == "usher_log_process",
        )
        for prefix, (who, memory, cpu) in _PROCESSES.items()
        for name, (kind, means, advice) in _READ.items()
    ]


SECTIONS: dict[str, list[Family]] = {
    "The node": [BUILD, READY, TAKES_STARTS, CLOCK_AHEAD, DISK_FREE, DISK_SIZE, DISK_FREE_MIN, LAST_BACKUP],
    "What is asked and answered": [
        DECISIONS,
        BAD_REQUESTS,
        BUSY,
        FAULTS,
        REPEATS,
        WAITING,
        REQUESTS,
        REQUEST_SECONDS,
    ],
    "Sessions": [SESSIONS, FOLLOW_UPS, KICKS_OWED, KICKS, RECONCILED],
    "The ledger": [
        LEDGER_UP,
        BATCH,
        COMMIT_SECONDS,
        SYNC_SECONDS,
        FAILED_COMMITS,
        CHECKPOINTS,
        WAL_BYTES,
        PENDING,
    ],
    "Shipping and the attempt log": [
        PENDING_OLDEST,
        SHIP_LAG,
        IN_FLIGHT,
        SHIP_SECONDS,
        SHIPPED,
        SHIP_RETRIES,
        SHIPPING_STOPPED,
        LOG_UP,
        LOG_RESTARTS,
    ],
    "Counts": [SEARCH_SECONDS, FAILED_SEARCHES, KEPT_ANSWERS, KEPT_COUNTS, KEPT_TOTALS_BYTES],
    "Processes": _of_processes(),
}
FAMILIES: tuple[Family, ...] = tuple(family for section in SECTIONS.values() for family in section)
