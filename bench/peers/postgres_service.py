"""A web service on PostgreSQL, as a publisher's own developer would write it: FastAPI, asyncpg, one transaction a
decision.

`python -m bench.peers.postgres_service WORKERS CONNECTIONS` serves until SIGTERM, with so many processes, and so many
connections of each to the database; each says when it is ready. Where the database is, and the edge's token, come in
the environment: `PEER_DATABASE`, `PEER_TOKEN`.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hmac import compare_digest
from typing import Annotated, Any

import asyncpg
import msgspec
import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request, Response
from uvicorn.supervisors import Multiprocess

from bench.peers.admission import Answer, Asked, Ticket, answer_of, attempt_row, refusal
from bench.peers.filters import Dialect, Parameters, count_query, counted

READY = "postgres service is ready on "
_PORT, _CONNECTIONS = "PEER_PORT", "PEER_CONNECTIONS"

# FOR UPDATE: two requests for the last use wait for each other.
_FIND_TICKET = """
SELECT key, pass, app, video, ip, uses_limit, uses_taken, active, expires_s FROM tickets WHERE key = $1 FOR UPDATE
"""
_TAKE_USE = "UPDATE tickets SET uses_taken = uses_taken + 1, ip = coalesce($2, ip) WHERE key = $1"
_RECORD = """
INSERT INTO attempts (at_ms, key, pass, user_name, app, appinst, video, ip, pageurl, refurl, user_agent, server_ip,
                      success, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id
"""
DIALECT = Dialect(parameter=lambda n: f"${n}", address=lambda address: address, truth=bool)


async def decide(pool: asyncpg.Pool, asked: Asked) -> Answer:
    """One transaction: the ticket is read and held, its use taken, the attempt recorded."""
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchrow(_FIND_TICKET, asked["key"]) if asked.get("key") else None
        ticket = None if found is None else Ticket(*found)
        now_ms = time.time_ns() // 1_000_000
        reason, bound_ip = refusal(ticket, asked, now_ms=now_ms)
        if not reason:
            await connection.execute(_TAKE_USE, asked["key"], bound_ip)
        row = attempt_row(asked, reason, now_ms=now_ms, keep=DIALECT.address)
        attempt = await connection.fetchval(_RECORD, *row)
    return answer_of(ticket, reason, attempt)


async def _kept(connection: Any) -> None:
    """Nothing of a session is changed here: asyncpg's own reset would be one more journey a decision."""


@asynccontextmanager
async def _serving(app: FastAPI) -> AsyncIterator[None]:
    database = os.environ["PEER_DATABASE"]
    connections = int(os.environ[_CONNECTIONS])
    async with (
        asyncpg.create_pool(database, min_size=connections, max_size=connections, reset=_kept) as deciding,
        # A count's best plan depends on what it asks for.
        asyncpg.create_pool(
            database, min_size=1, max_size=4, server_settings={"plan_cache_mode": "force_custom_plan"}
        ) as counting,
    ):
        app.state.deciding, app.state.counting = deciding, counting
        sys.stdout.write(f"{READY}http://127.0.0.1:{os.environ[_PORT]}\n")
        sys.stdout.flush()
        yield


def service() -> FastAPI:
    """The application of one process."""
    app = FastAPI(lifespan=_serving, openapi_url=None)
    bearer = f"Bearer {os.environ['PEER_TOKEN']}"

    @app.post("/v1/authorize")
    async def authorize(request: Request, asked: Asked, authorization: Annotated[str, Header()] = "") -> Response:
        if not compare_digest(authorization.encode(), bearer.encode()):
            raise HTTPException(401)
        answer = await decide(request.app.state.deciding, asked)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    @app.post("/count")
    async def count(request: Request, parameters: Parameters) -> Response:
        query = count_query(parameters, DIALECT)
        rows = await request.app.state.counting.fetch(query.sql, *query.values)
        return Response(msgspec.json.encode(counted(parameters, rows)), media_type="application/json")

    return app


def main(workers: int, connections: int) -> None:
    """Serve with so many processes, on one socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listening:
        os.environ[_PORT], os.environ[_CONNECTIONS] = str(listening.getsockname()[1]), str(connections)
        config = uvicorn.Config(
            f"{__spec__.name}:service",
            factory=True,
            workers=workers,
            loop="uvloop",
            http="httptools",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        Multiprocess(config, sockets=[listening]).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
