"""`usher edge`: make and change edges, give them new tokens, revoke them, print their configuration."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from openusher.cli.connect import ask_node
from openusher.cli.options import AsJson, Data, Yes, seconds_of, settings_of
from openusher.cli.output import EXITS, Exit, confirm, counted, err, fail, out, print_fields, print_json, print_table
from openusher.model.edge import CONTROL, OPTIONS, EdgeKind
from openusher.web.edges.snippets import TOKEN_PLACE, haproxy_lua

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


TrustedProxies = Annotated[
    list[str] | None,
    typer.Option("--trusted-proxy", help="A net of a CDN in front, whose X-Forwarded-For is believed; once for each."),
]
Control = Annotated[str, typer.Option(help="The server's control API as this node reaches it, for dropping viewers.")]
PublishPassword = Annotated[str, typer.Option(help="What encoders publish with; without it nobody publishes.")]
OnFailure = Annotated[
    str, typer.Option(help="Who gets in while this node gives no answer: closed, nobody, or open, everybody.")
]


@app.command("create", short_help="Make an edge and print its configuration.", epilog=EXITS)
def create(
    cdn: Annotated[int, typer.Argument(metavar="CDN", help="The account's cdn number.", show_default=False)],
    kind: Annotated[EdgeKind, typer.Option(help="How it asks.", show_default=False)],
    name: Annotated[
        str, typer.Option(help="A name for people, unlike the account's other edges'; without it, its kind.")
    ] = "",
    trusted_proxy: TrustedProxies = None,
    control: Control = "",
    publish_password: PublishPassword = "",
    on_failure: OnFailure = "",
    option: Annotated[list[str] | None, typer.Option(help=_options_help(), show_default=False)] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an edge. Prints its token, which is shown only now, and the configuration for its server with all values
    in it.

    \b
    Example: usher edge create 158 --kind nginx --option root=/srv/media > /etc/nginx/conf.d/usher.conf
    """
    flags = {"control": control, "publish_password": publish_password, "on_failure": on_failure}
    given = _given(option or [], trusted_proxy or [], {name: text for name, text in flags.items() if text})
    body = {"kind": kind, "name": name, "options": given}
    made = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/edges", body)
    _print_with_token(made, as_json=as_json)


@app.command("set", short_help="Change an edge.", epilog=EXITS)
def change(
    edge: Number,
    name: Annotated[str, typer.Option(help="Another name for people.")] = "",
    trusted_proxy: TrustedProxies = None,
    control: Annotated[str | None, typer.Option(help="As with create; empty: none.", show_default=False)] = None,
    publish_password: Annotated[
        str | None, typer.Option(help="As with create; empty: none.", show_default=False)
    ] = None,
    on_failure: Annotated[str | None, typer.Option(help="As with create.", show_default=False)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting, name=value, as with create; name= takes it back. Of one that may be given again, all "
            "values that it shall have.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Change how an edge is set, at once and with the token that it has. Prints the configuration of its server where
    that is another now.

    \b
    Example: usher edge set 2 --option root=/srv/films --name films
    """
    flags = {"control": control, "publish_password": publish_password, "on_failure": on_failure}
    given = _given(option or [], trusted_proxy or [], {key: text for key, text in flags.items() if text is not None})
    if not given and not name:
        fail("say what to change: --name, --option or one of the others", Exit.USAGE)
    body = {"name": name, "options": given}
    changed = ask_node(settings_of(data=data), "POST", f"/edges/{edge}/change", body)
    if as_json:
        print_json(changed)
        return
    if changed["snippet_changed"]:
        out.print(changed["snippet"], markup=False, end="")
        err.print(
            f"Edge {edge} ({changed['name']}) is changed here. Put this configuration on its server, with the token "
            f"that stands there in the place of {TOKEN_PLACE}, and have the server read it."
        )
    else:
        err.print(f"Edge {edge} ({changed['name']}) is changed; the configuration of its server stays as it is.")


@app.command("rotate", short_help="Give an edge a new token.", epilog=EXITS)
def rotate(
    edge: Number,
    grace: Annotated[
        str, typer.Option(help="For how long the old token stays good: 90 (seconds), 15m, 24h, 7d; 0 ends it at once.")
    ] = "24h",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give an edge a new token. Prints it, which is shown only now, and the configuration for its server with it. The
    old one stays good for a while, so that nobody is refused until the server has the new one.

    \b
    Example: usher edge rotate 2 > /etc/nginx/conf.d/usher.conf
    """
    body = {"grace_s": seconds_of("--grace", grace)}
    made = ask_node(settings_of(data=data), "POST", f"/edges/{edge}/rotate", body)
    _print_with_token(made, as_json=as_json)
    if not as_json:
        until = made["old_token_until"]
        err.print(f"The old token is good until {until} UTC." if until else "The old token is refused from now on.")


@app.command("revoke", short_help="Refuse an edge for ever.", epilog=EXITS)
def revoke(edge: Number, yes: Yes = False, data: Data = None, as_json: AsJson = False) -> None:
    """Refuse an edge's tokens for ever, at once, and end the sessions of its viewers. What is recorded of it stays.

    \b
    Example: usher edge revoke 2 --yes
    """
    confirm(f"Nobody can watch through edge {edge} any more, and who watches is ended. Revoke it?", yes=yes)
    revoked = ask_node(settings_of(data=data), "POST", f"/edges/{edge}/revoke")
    if as_json:
        print_json(revoked)
        return
    ended = counted(revoked["sessions_ended"], "session")
    out.print(f"Edge {edge} ({revoked['name']}) is revoked; {ended} ended.")


@app.command("list", short_help="List the edges.", epilog=EXITS)
def list_edges(data: Data = None, as_json: AsJson = False) -> None:
    """List the edges: number, account, kind, name, and those that were revoked or have an old token yet.

    \b
    Example: usher edge list --json
    """
    edges = ask_node(settings_of(data=data), "GET", "/edges")
    if as_json:
        for edge in edges:
            print_json(edge)
        return
    rows = [[each["edge"], each["cdn"], each["kind"], each["name"], _state(each)] for each in edges]
    print_table(["edge", "cdn", "kind", "name", "state (UTC)"], rows)


@app.command("show", short_help="Show one edge.", epilog=EXITS)
def show(edge: Number, data: Data = None, as_json: AsJson = False) -> None:
    """Show how an edge is set, and how many sessions it has. Passwords are not shown.

    \b
    Example: usher edge show 2
    """
    found = ask_node(settings_of(data=data), "GET", f"/edges/{edge}")
    if as_json:
        print_json({name: value for name, value in found.items() if name != "snippet"})
        return
    fields = ("edge", "cdn", "kind", "name", "created_date", "revoked_date", "old_token_until", "sessions")
    options = {f"option {name}": text.replace("\n", ", ") for name, text in found["options"].items()}
    print_fields({name: found[name] for name in fields if found[name] is not None} | options)


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


@app.command("lua", short_help="Print the Lua file for HAProxy.", epilog=EXITS)
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


def _how_late(kind: str, options: dict[str, str]) -> str:
    """When who plays is stopped after a revocation."""
    set_to = {name: options.get(name) or known.default for name, known in OPTIONS[EdgeKind(kind)].items()}
    if CONTROL not in set_to:
        recheck_s = set_to.get("recheck_s", "0")
        return f"within {recheck_s} s" if recheck_s != "0" else "at the next file that its viewer asks for"
    if set_to[CONTROL]:
        return "at once"
    if set_to.get("update_s", "0") != "0":
        return f"at the next update, within {set_to['update_s']} s; with --control at once"
    return "when its viewer goes; with --control at once"


def _print_with_token(made: dict[str, Any], *, as_json: bool) -> None:
    """An edge with a token that is shown only now."""
    if as_json:
        print_json(made)
        return
    if made["snippet"]:
        out.print(made["snippet"], markup=False, end="")
        err.print(
            f"Edge {made['edge']} ({made['name']}). Its token stands in the configuration; it is not shown again. "
            f"A revoked ticket ends {_how_late(made['kind'], made['options'])}."
        )
        return
    print_fields({field: made[field] for field in ("edge", "name", "kind", "token")})
    err.print("Keep the token: it is not shown again.")


def _state(edge: dict[str, Any]) -> str:
    if edge["revoked_date"]:
        return f"revoked {edge['revoked_date']}"
    return f"old token until {edge['old_token_until']}" if edge["old_token_until"] else ""


def _given(options: list[str], trusted_proxies: list[str], flags: dict[str, str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            fail(f'--option: cannot take "{text}"; give name=value', Exit.USAGE)
        given.setdefault(name, []).append(value)
    if trusted_proxies:
        given["trusted_proxy"] = trusted_proxies
    return given | {name: [text] for name, text in flags.items()}
