"""Accounts, API keys and edges as rows."""

from __future__ import annotations

import json
from typing import Any

import apsw
import msgspec

from openusher.ledger.base import Directory, NewAccount
from openusher.model.account import Account, ApiKey, Edge, OldToken, Secret

# Where numbering starts when no cdn is given; ScaleEngine's own are below, so that a site may keep its number.
_OWN_CDN_MIN = 1_000_000
# The smallest free one, and not one more than the largest: that may be the last there is.
_NEXT_CDN = """
SELECT min(cdn) FROM (SELECT ?1 AS cdn UNION ALL SELECT cdn + 1 FROM accounts WHERE cdn >= ?1)
WHERE cdn NOT IN (SELECT cdn FROM accounts)
"""
# In the order of the model's fields.
_EDGE = ", ".join(Edge.__struct_fields__)
_ADD_EDGE = """
INSERT INTO edges (cdn, name, token_digest, kind, options, created_s, revoked_s) VALUES (?, ?, ?, ?, ?, ?, 0)
"""
_CHANGE_EDGE = "UPDATE edges SET name = ?, token_digest = ?, options = ?, revoked_s = ? WHERE number = ?"
_SHORTEN_OLD = "UPDATE old_edge_tokens SET until_ms = min(until_ms, ?) WHERE edge = ?"


def read_directory(connection: apsw.Connection) -> Directory:
    with connection:
        accounts = {
            cdn: Account(cdn=cdn, name=name, active=bool(active), created_s=created_s)
            for cdn, name, active, created_s in connection.execute("SELECT cdn, name, active, created_s FROM accounts")
        }
        api_keys = {
            api_key: ApiKey(api_key=api_key, cdn=cdn, secret=Secret(secret), created_s=created_s, used_s=used_s)
            for api_key, cdn, secret, created_s, used_s in connection.execute(
                "SELECT api_key, cdn, secret, created_s, used_s FROM api_keys"
            )
        }
        edges = {row[0]: _edge_of_row(row) for row in connection.execute(f"SELECT {_EDGE} FROM edges")}
        old_tokens = [
            OldToken(digest=digest, edge=edge, until_ms=until_ms)
            for digest, edge, until_ms in connection.execute("SELECT digest, edge, until_ms FROM old_edge_tokens")
        ]
        cookie_keys = [
            Secret(secret) for (secret,) in connection.execute("SELECT secret FROM cookie_keys ORDER BY number DESC")
        ]
    return Directory(accounts=accounts, api_keys=api_keys, edges=edges, old_tokens=old_tokens, cookie_keys=cookie_keys)


def _edge_of_row(row: tuple[Any, ...]) -> Edge:
    fields = dict(zip(Edge.__struct_fields__, row, strict=True))
    return Edge(**{**fields, "options": json.loads(fields["options"])})


def insert_account(connection: apsw.Connection, account: NewAccount, *, now_s: int) -> Account:
    cdn = account.cdn or _next_cdn(connection)
    connection.execute("INSERT INTO accounts VALUES (?, ?, 1, ?)", (cdn, account.name, now_s))
    key = account.key
    insert_api_key(connection, ApiKey(api_key=key.api_key, cdn=cdn, secret=key.secret), now_s=now_s)
    first = Edge(number=0, cdn=cdn, name=account.edge_name, token_digest=account.edge_token_digest)
    insert_edge(connection, first, now_s=now_s)
    return Account(cdn=cdn, name=account.name, created_s=now_s)


def _next_cdn(connection: apsw.Connection) -> int:
    ((cdn,),) = connection.execute(_NEXT_CDN, (_OWN_CDN_MIN,))
    return int(cdn)


def insert_api_key(connection: apsw.Connection, key: ApiKey, *, now_s: int) -> None:
    row = (key.api_key, key.cdn, key.secret.reveal(), now_s)
    connection.execute("INSERT INTO api_keys (api_key, cdn, secret, created_s) VALUES (?, ?, ?, ?)", row)


def delete_api_key(connection: apsw.Connection, api_key: str) -> bool:
    """Whether there was such a key. Nothing names it but replays, which go by themselves."""
    connection.execute("DELETE FROM api_keys WHERE api_key = ?", (api_key,))
    return connection.changes() == 1


def see_api_keys(connection: apsw.Connection, used_s: dict[str, int]) -> None:
    rows = [(at_s, api_key) for api_key, at_s in used_s.items()]
    connection.executemany("UPDATE api_keys SET used_s = max(used_s, ?) WHERE api_key = ?", rows)


def insert_edge(connection: apsw.Connection, edge: Edge, *, now_s: int) -> Edge:
    row = (edge.cdn, edge.name, edge.token_digest, edge.kind, json.dumps(edge.options), now_s)
    connection.execute(_ADD_EDGE, row)
    return msgspec.structs.replace(edge, number=connection.last_insert_rowid(), created_s=now_s)


def update_edge(connection: apsw.Connection, edge: Edge, *, old_until_ms: int, now_ms: int) -> bool:
    """Whether there is such an edge."""
    before = list(connection.execute("SELECT token_digest FROM edges WHERE number = ?", (edge.number,)))
    if not before:
        return False
    row = (edge.name, edge.token_digest, json.dumps(edge.options), edge.revoked_s, edge.number)
    connection.execute(_CHANGE_EDGE, row)
    ((old,),) = before
    if edge.revoked_s:
        connection.execute("DELETE FROM old_edge_tokens WHERE edge = ?", (edge.number,))
    elif old != edge.token_digest:
        connection.execute(_SHORTEN_OLD, (old_until_ms, edge.number))
        connection.execute("INSERT INTO old_edge_tokens VALUES (?, ?, ?)", (old, edge.number, old_until_ms))
    connection.execute("DELETE FROM old_edge_tokens WHERE until_ms <= ?", (now_ms,))
    return True


def insert_cookie_key(connection: apsw.Connection, secret: Secret, *, now_s: int) -> None:
    connection.execute("INSERT INTO cookie_keys (secret, created_s) VALUES (?, ?)", (secret.reveal(), now_s))


def update_account(connection: apsw.Connection, cdn: int, *, active: bool) -> bool:
    connection.execute("UPDATE accounts SET active = ? WHERE cdn = ?", (int(active), cdn))
    return connection.changes() == 1
