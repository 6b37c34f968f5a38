"""`usher serve`: the node."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from openusher import __version__
from openusher.cli.options import Config, configured, takes_settings
from openusher.cli.output import fail
from openusher.errors import SetupError, StoreError

READY = "usher is ready on "


@takes_settings
def serve(
    config: Config = None,
    demo: Annotated[bool | None, typer.Option("--demo", hidden=True)] = None,
    **flags: Any,
) -> None:
    """Run the node: the SEVU API at / and the door at /v1/authorize, until SIGTERM or Ctrl-C.

    A setting is taken from its flag, else from its environment variable, else from the TOML file, else it has its
    default; usher config shows what is in force.

    \b
    Example: usher serve --data /var/lib/usher --port 8088
    """
    settings = configured(config, demo=demo, **flags).settings
    # Late, since every other command would wait for them too.
    import uvloop

    from openusher.logs import LogForm, log_to_stderr
    from openusher.web.server import serve as serve_node

    log_to_stderr(LogForm(settings.log_format, settings.log_level), process="door")
    try:
        uvloop.run(serve_node(settings, on_ready=_say_ready))
    except (SetupError, StoreError) as error:
        fail(str(error))


def _say_ready(url: str) -> None:
    sys.stdout.write(f"{READY}{url} (version {__version__})\n")
    sys.stdout.flush()
