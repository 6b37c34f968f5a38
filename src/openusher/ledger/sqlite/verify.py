"""What must hold inside the ledger's own file, and sentences for what does not."""

from __future__ import annotations

import apsw

from openusher.ledger.sqlite.blocks import digest_of

# Each statement finds nothing in a sound ledger. Ids of attempts have no gaps: one that is missing was lost.
_RULES = {
    "ticket {} has taken more uses than it allows": """
        SELECT key FROM tickets WHERE uses_limit > 0 AND uses_taken > uses_limit LIMIT 20""",
    "ticket {} belongs to no account": "SELECT key FROM tickets WHERE cdn NOT IN (SELECT cdn FROM accounts) LIMIT 20",
    "attempt {} has an id that was never given out": """
        SELECT id FROM attempts WHERE id > (SELECT last_attempt FROM node) LIMIT 20""",
    "attempt {} is older than one with a smaller id": """
        SELECT id FROM (SELECT id, at_ms < lag(at_ms) OVER (ORDER BY id) AS back FROM attempts) WHERE back LIMIT 20""",
    "attempt {} is from before what is kept": """
        SELECT id FROM attempts, node WHERE id > max(shipped_attempt, forgotten_attempt) AND at_ms < kept_from_ms
        LIMIT 20""",
    "of the attempts {} to {}, none of them shipped or forgotten, the ledger holds {}": """
        SELECT before + 1, last_attempt, held FROM (
          SELECT before, last_attempt,
            (SELECT count(*) FROM attempts WHERE id > before AND id <= last_attempt) AS held
          FROM (SELECT max(shipped_attempt, forgotten_attempt) AS before, last_attempt FROM node))
        WHERE held <> last_attempt - before""",
    "block {} is missing": """
        WITH RECURSIVE n(number) AS (
          SELECT 1 WHERE (SELECT last_block FROM node) > 0
          UNION ALL SELECT number + 1 FROM n WHERE number < (SELECT last_block FROM node))
        SELECT number FROM n WHERE number NOT IN (SELECT number FROM blocks) LIMIT 20""",
    "block {} begins at attempt {}, the one before ends at {}": """
        SELECT number, first_id, before FROM (
          SELECT number, first_id, lag(last_id, 1, 0) OVER (ORDER BY number) AS before FROM blocks)
        -- Those that were forgotten before there was a log are in no block.
        WHERE first_id <= before OR first_id > max(before, (SELECT forgotten_attempt FROM node)) + 1 LIMIT 20""",
    "block {} has {} rows for the attempts {} to {}": """
        SELECT number, rows, first_id, last_id FROM blocks WHERE rows <> last_id - first_id + 1 LIMIT 20""",
    "block {} is shipped although an older one is not": """
        SELECT number FROM blocks WHERE shipped AND number > (SELECT min(number) FROM blocks WHERE NOT shipped)
        LIMIT 20""",
    "shipped blocks end at attempt {}, the node says otherwise": """
        SELECT coalesce(max(last_id), 0) AS last_id FROM blocks WHERE shipped
        HAVING last_id <> (SELECT shipped_attempt FROM node)""",
}
_UNSHIPPED = "SELECT number, first_id, last_id, rows, digest FROM blocks WHERE NOT shipped"
_REPAIR = "restore ledger and log from one backup"


def find_faults(connection: apsw.Connection, *, quick: bool) -> list[str]:
    """One sentence for each thing that is wrong, with its repair; `quick` leaves out what reads every page and text."""
    faults: list[str] = []
    if not quick:
        pages = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(20)")]
        faults.extend(f"the ledger's file is damaged: {line}" for line in pages if line != "ok")
    with connection:
        for sentence, statement in _RULES.items():
            faults.extend(sentence.format(*found) for found in connection.execute(statement))
        for number, first_id, last_id, rows, digest in connection.execute(_UNSHIPPED):
            ((held,),) = connection.execute(
                "SELECT count(*) FROM attempts WHERE id BETWEEN ? AND ?", (first_id, last_id)
            )
            if held != rows:
                faults.append(f"unshipped block {number} should have {rows} attempts, the ledger holds {held}")
            elif not quick and digest_of(connection, first_id, last_id) != digest:
                faults.append(f"unshipped block {number} has attempts that changed since it was made")
    return [f"{fault}; {_REPAIR}" for fault in faults]
