"""An account's tickets as rows: counted."""

from __future__ import annotations

import apsw

# All of them but those of imports that are not finished, which are not there to anybody.
_COUNT = """
SELECT (SELECT count(*) FROM tickets WHERE cdn = ?1)
  - (SELECT count(*) FROM imports CROSS JOIN tickets
     ON tickets.number >= first_ticket AND tickets.import = imports.number
     WHERE done_s = 0 AND imports.cdn = ?1)
"""


def count_tickets(connection: apsw.Connection, cdn: int) -> int:
    """Raises apsw.Error."""
    ((counted,),) = connection.execute(_COUNT, (cdn,))
    return int(counted)
