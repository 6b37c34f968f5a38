"""`usher edge`: make edges, list them, print their configuration, see what a URL means to one."""

from __future__ import annotations

from typing import Annotated

import typer

from openusher.cli.connect import ask_node
from openusher.cli.options import AsJson, Data, settings_of
from openusher.cli.output import EXITS, Exit, err, fail, out, print_fields, print_json, print_table
from openusher.model.edge import CONTROL, OPTIONS, EdgeKind
from openusher.web.edges.snippets import haproxy_lua

app = typer.Typer(
    help="Make and look after edges: the media servers that ask.\n\nExample: usher edge create 158 --kind nginx",
    epilog=EXITS,
    no_args_is_help=True,
)

Number = Annotated[int, typer.Argument(metavar="EDGE", help="The edge's number.", show_default=False)]


def _options_help() -> str:
    kinds = (f"{kind}: {', '.join(OPTIONS[kind])}." for kind in EdgeKind if OPTIONS[kind])
    said = "A setting, name=value; may be given again. docs/reference/edges.md says what each does."
    return "\n\n".join([said, *kinds])


@app.command("create", short_help="Make an edge and print its configuration.", epilog=EXITS)
def create(
    cdn: Annotated[int, typer.Argument(metavar="CDN", help="The account's cdn number.", show_default=False)],
    kind: Annotated[EdgeKind, typer.Option(help="How it asks.", show_default=False)],
    name: Annotated[
        str, typer.Option(help="A name for people, unlike the account's other edges'; without it, its kind.")
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="A net of a CDN in front, whose X-Forwarded-For is believed; once for each."),
    ] = None,
    control: Annotated[
        str, typer.Option(help="The server's control API as this node reaches it, for dropping viewers.")
    ] = "",
    publish_password: Annotated[
        str, typer.Option(help="What encoders publish with; without it nobody publishes.")
    ] = "",
    on_failure: Annotated[
        str, typer.Option(help="Who gets in while this node gives no answer: closed, nobody, or open, everybody.")
    ] = "",
    option: Annotated[list[str] | None, typer.Option(help=_options_help(), show_default=False)] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an edge. Prints its token, which is shown only now, and the configuration for its server with all values
    in it.

    \b
    Example: usher edge create 158 --kind nginx --option root=/srv/media > /etc/nginx/conf.d/usher.conf
    """
    given = _given(option or [])
    if trusted_proxy:
        given["trusted_proxy"] = trusted_proxy
    flags = {"control": control, "publish_password": publish_password, "on_failure": on_failure}
    given |= {name: [value] for name, value in flags.items() if value}
    body = {"kind": kind, "name": name, "options": given}
    made = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/edges", body)
    if as_json:
        print_json(made)
        return
    if made["snippet"]:
        out.print(made["snippet"], markup=False, end="")
        err.print(
            f"Edge {made['edge']} ({made['name']}). Its token stands in the configuration; it is not shown again. "
            f"A revoked ticket ends {_how_late(kind, made['options'])}."
        )
        return
    print_fields({field: made[field] for field in ("edge", "name", "kind", "token")})
    err.print("Keep the token: it is not shown again.")


@app.command("list", epilog=EXITS)
def list_edges(data: Data = None, as_json: AsJson = False) -> None:
    """List the edges: number, account, kind and name.

    \b
    Example: usher edge list --json
    """
    edges = ask_node(settings_of(data=data), "GET", "/edges")
    if as_json:
        for edge in edges:
            print_json(edge)
        return
    print_table(["edge", "cdn", "kind", "name"], [[e["edge"], e["cdn"], e["kind"], e["name"]] for e in edges])


@app.command("snippet", short_help="Print an edge's configuration again.", epilog=EXITS)
def snippet(edge: Number, data: Data = None) -> None:
    """Print the configuration for an edge's server again; where the token belongs, a mark stands.

    \b
    Example: usher edge snippet 2
    """
    found = ask_node(settings_of(data=data), "GET", f"/edges/{edge}")
    if not found["snippet"]:
        fail(f"edge {edge} is of kind {found['kind']}, which needs no configuration of ours", Exit.NO)
    out.print(found["snippet"], markup=False, end="")


@app.command("lua", epilog=EXITS)
def lua() -> None:
    """Print the Lua file by which HAProxy asks, the same for all edges.

    \b
    Example: usher edge lua > /etc/haproxy/usher.lua
    """
    out.print(haproxy_lua(), markup=False, end="")


@app.command("test-path", short_help="Show what a URL means to an edge.", epilog=EXITS)
def show_path(
    edge: Number,
    url: Annotated[str, typer.Argument(metavar="URL", help="As a player asks for it, with or without its host.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what a URL means to an edge: app, appinst and video, what kind of file it is, and which files belong to it.

    \b
    Example: usher edge test-path 2 'https://media.example.com/live/cam1/index.m3u8?key=k&pass=p'
    """
    found = ask_node(settings_of(data=data), "POST", f"/edges/{edge}/path", {"url": url})
    if as_json:
        print_json(found)
        return
    print_fields(found)


def _how_late(kind: EdgeKind, options: dict[str, str]) -> str:
    """When who plays is stopped after a revocation."""
    set_to = {name: options.get(name) or known.default for name, known in OPTIONS[kind].items()}
    if CONTROL not in set_to:
        recheck_s = set_to.get("recheck_s", "0")
        return f"within {recheck_s} s" if recheck_s != "0" else "at the next file that its viewer asks for"
    if set_to[CONTROL]:
        return "at once"
    if set_to.get("update_s", "0") != "0":
        return f"at the next update, within {set_to['update_s']} s; with --control at once"
    return "when its viewer goes; with --control at once"


def _given(options: list[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            fail(f'--option: cannot take "{text}"; give name=value', Exit.USAGE)
        given.setdefault(name, []).append(value)
    return given
