"""The ledger in a process of its own beside the door, which is how a node runs it.

Deciding and serving HTTP are both Python that holds its lock; in one process each waited for the other, at a third of
the rate that one core gives.
"""

from openusher.ledger.apart.client import LedgerApart as LedgerApart
