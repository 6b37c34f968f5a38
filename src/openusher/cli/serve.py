"""`usher serve`: the node."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from openusher import __version__
from openusher.cli.options import Data, settings_of
from openusher.cli.output import fail
from openusher.errors import SetupError, StoreError
from openusher.logs import log_to_stderr
from openusher.settings import LogKind

READY = "usher is ready on "


def serve(
    data: Data = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on.  [env var: USHER_HOST; default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; 0 takes a free one.  [env var: USHER_PORT; default: 8088]")
    ] = None,
    log: Annotated[
        LogKind | None,
        typer.Option(
            help="Count in chdb (a columnar log) or in the ledger alone.  [env var: USHER_LOG; default: chdb]"
        ),
    ] = None,
    ship_rows: Annotated[
        int | None,
        typer.Option(help="Ship to the log when so many attempts wait.  [env var: USHER_SHIP_ROWS; default: 20000]"),
    ] = None,
    ship_age_s: Annotated[
        float | None,
        typer.Option(help="Ship when the oldest has waited so many seconds.  [env var: USHER_SHIP_AGE_S; default: 60]"),
    ] = None,
    demo: Annotated[bool | None, typer.Option("--demo", hidden=True)] = None,
) -> None:
    """Run the node: the SEVU API at / and the door at /v1/authorize, until SIGTERM or Ctrl-C.

    The other settings are read from the environment; docs/reference/settings.md lists them.

    \b
    Example: usher serve --data /var/lib/usher --port 8088
    """
    settings = settings_of(
        data=data, host=host, port=port, log=log, ship_rows=ship_rows, ship_age_s=ship_age_s, demo=demo
    )
    log_to_stderr()
    # Late, since every other command would wait for them too.
    import uvloop

    from openusher.web.server import serve as serve_node

    try:
        uvloop.run(serve_node(settings, on_ready=_say_ready))
    except (SetupError, StoreError) as error:
        fail(str(error))


def _say_ready(url: str) -> None:
    sys.stdout.write(f"{READY}{url} (version {__version__})\n")
    sys.stdout.flush()
