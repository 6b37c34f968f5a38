"""The ledger as one SQLite file: the embedded default."""

from openusher.ledger.sqlite.ledger import SqliteLedger as SqliteLedger
