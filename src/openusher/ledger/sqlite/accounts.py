"""Accounts, API keys and edges as rows."""

from __future__ import annotations

import json

import apsw
import msgspec

from openusher.ledger.base import Directory, NewAccount
from openusher.model.account import Account, ApiKey, Edge, Secret

# Where numbering starts when no cdn is given; ScaleEngine's own are below, so that a site may keep its number.
_OWN_CDN_MIN = 1_000_000
# The smallest free one, and not one more than the largest: that may be the last there is.
_NEXT_CDN = """
SELECT min(cdn) FROM (SELECT ?1 AS cdn UNION ALL SELECT cdn + 1 FROM accounts WHERE cdn >= ?1)
WHERE cdn NOT IN (SELECT cdn FROM accounts)
"""


def read_directory(connection: apsw.Connection) -> Directory:
    with connection:
        accounts = {
            cdn: Account(cdn=cdn, name=name, active=bool(active))
            for cdn, name, active in connection.execute("SELECT cdn, name, active FROM accounts")
        }
        api_keys = {
            api_key: ApiKey(api_key=api_key, cdn=cdn, secret=Secret(secret))
            for api_key, cdn, secret in connection.execute("SELECT api_key, cdn, secret FROM api_keys")
        }
        edges = {
            edge.token_digest: edge
            for edge in (
                Edge(number=number, cdn=cdn, name=name, token_digest=digest, kind=kind, options=json.loads(options))
                for number, cdn, name, digest, kind, options in connection.execute(
                    "SELECT number, cdn, name, token_digest, kind, options FROM edges"
                )
            )
        }
        cookie_keys = [
            Secret(secret) for (secret,) in connection.execute("SELECT secret FROM cookie_keys ORDER BY number DESC")
        ]
    return Directory(accounts=accounts, api_keys=api_keys, edge_by_digest=edges, cookie_keys=cookie_keys)


def insert_account(connection: apsw.Connection, account: NewAccount, *, now_s: int) -> Account:
    cdn = account.cdn or _next_cdn(connection)
    connection.execute("INSERT INTO accounts VALUES (?, ?, 1, ?)", (cdn, account.name, now_s))
    key = account.key
    insert_api_key(connection, ApiKey(api_key=key.api_key, cdn=cdn, secret=key.secret), now_s=now_s)
    first = Edge(number=0, cdn=cdn, name=account.edge_name, token_digest=account.edge_token_digest)
    insert_edge(connection, first, now_s=now_s)
    return Account(cdn=cdn, name=account.name)


def _next_cdn(connection: apsw.Connection) -> int:
    ((cdn,),) = connection.execute(_NEXT_CDN, (_OWN_CDN_MIN,))
    return int(cdn)


def insert_api_key(connection: apsw.Connection, key: ApiKey, *, now_s: int) -> None:
    connection.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?)", (key.api_key, key.cdn, key.secret.reveal(), now_s))


def insert_edge(connection: apsw.Connection, edge: Edge, *, now_s: int) -> Edge:
    row = (edge.cdn, edge.name, edge.token_digest, edge.kind, json.dumps(edge.options), now_s)
    connection.execute(
        "INSERT INTO edges (cdn, name, token_digest, kind, options, created_s) VALUES (?, ?, ?, ?, ?, ?)", row
    )
    return msgspec.structs.replace(edge, number=connection.last_insert_rowid())


def insert_cookie_key(connection: apsw.Connection, secret: Secret, *, now_s: int) -> None:
    connection.execute("INSERT INTO cookie_keys (secret, created_s) VALUES (?, ?)", (secret.reveal(), now_s))


def update_account(connection: apsw.Connection, cdn: int, *, active: bool) -> bool:
    connection.execute("UPDATE accounts SET active = ? WHERE cdn = ?", (int(active), cdn))
    return connection.changes() == 1
