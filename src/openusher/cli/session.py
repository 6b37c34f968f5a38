"""`usher session`: who watches now, and who shall no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from openusher.cli.connect import ask_node
from openusher.cli.credentials import read_secret_file
from openusher.cli.options import AsJson, Cdn, Data, Yes, settings_of
from openusher.cli.output import EXITS, Exit, confirm, counted, fail, out, print_fields, print_json, print_table
from openusher.settings import Settings

app = typer.Typer(
    help="See who watches now, and end sessions.\n\nExample: usher session list 158",
    epilog=EXITS,
    no_args_is_help=True,
)

Session = Annotated[str, typer.Option("--session", help="The session of this name.")]
Key = Annotated[str, typer.Option("--key", help="Those of this ticket.")]
User = Annotated[str, typer.Option("--user", help="Those of this user, as a pass names him.")]
Ip = Annotated[str, typer.Option("--ip", help="Those that began at this address or in this net.")]
App = Annotated[str, typer.Option("--app", help="Those of this application; a name or a pattern.")]
Video = Annotated[str, typer.Option("--video", help="Those of this video; a name or a pattern.")]
PassFile = Annotated[
    Path | None,
    typer.Option("--pass-file", metavar="FILE", help="Those with the pass in this file; - reads stdin."),
]


@app.command("list", short_help="List who watches now.", epilog=EXITS)
def list_sessions(
    cdn: Cdn,
    key: Key = "",
    user: User = "",
    ip: Ip = "",
    app_name: App = "",
    video: Video = "",
    pass_file: PassFile = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many, the newest first.")] = 100,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the live sessions of an account, the newest first, also of those who are asleep: silent for so long
    (session_idle_s) that they take no place, but may go on.

    \b
    Example: usher session list 158 --video 'cam*'
    """
    search = _search(pass_file, key=key, user=user, ip=ip, app=app_name, video=video)
    found = _ask(settings_of(data=data), cdn, "sessions", {**search, "limit": limit})
    if as_json:
        for session in found["sessions"]:
            print_json(session)
        return
    rows = [
        [each["session"], each["user"], each["video"], each["ip"], each["start_date"], each["watched"], _state(each)]
        for each in found["sessions"]
    ]
    print_table(["session", "user", "video", "ip", "since (UTC)", "watched s", "state"], rows, whole=("session",))
    if len(rows) < found["session_count"]:
        out.print(f"{len(rows)} of {found['session_count']}; --limit shows more")


@app.command("show", short_help="Show one session.", epilog=EXITS)
def show(
    cdn: Cdn,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its name.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a live session.

    \b
    Example: usher session show 158 Z277n4yPfZc944yFi59_UQ
    """
    found = _ask(settings_of(data=data), cdn, "sessions", {"session": session})["sessions"]
    if not found:
        fail(f"account {cdn} has no live session {session}", Exit.NO)
    if as_json:
        print_json(found[0])
        return
    print_fields(found[0])


@app.command("kick", short_help="End sessions.", epilog=EXITS)
def kick(
    cdn: Cdn,
    session: Session = "",
    key: Key = "",
    user: User = "",
    ip: Ip = "",
    app_name: App = "",
    video: Video = "",
    pass_file: PassFile = None,
    yes: Yes = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """End the live sessions that match, and refuse their tickets for a minute where they were used. One of --session,
    --key, --user, --ip and --pass-file is needed; --app and --video narrow it.

    \b
    Example: usher session kick 158 --user user123 --video 'cam*'
    """
    whom = _search(pass_file, session=session, key=key, user=user, ip=ip)
    if not whom:
        fail("say whom: --session, --key, --user, --ip or --pass-file", Exit.USAGE)
    search = {**whom, **_search(None, app=app_name, video=video)}
    settings = settings_of(data=data)
    if not yes:
        matching = _ask(settings, cdn, "sessions", {**search, "limit": 1})["session_count"]
        confirm(f"{counted(matching, 'live session')} of account {cdn} would end. End what matches?", yes=False)
    kicked = _ask(settings, cdn, "kick", search)
    if as_json:
        print_json(kicked)
        return
    out.print(f"Ended {counted(kicked['kicked'], 'session')}.")


@app.command("report", short_help="Show who has watched, and what ended it.", epilog=EXITS)
def report(
    cdn: Cdn,
    hours: Annotated[int, typer.Option(min=1, max=24 * 366, help="Sessions that ended in so many hours.")] = 24,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="So many, the last ended first.")] = 1_000,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show the sessions of an account that have ended: who watched what, how long, and what ended it.

    \b
    Example: usher session report 158 --hours 2 --json
    """
    body = {"hours": hours, "limit": limit}
    ended = ask_node(settings_of(data=data), "POST", f"/accounts/{cdn}/ended-sessions", body)
    if as_json:
        for session in ended:
            print_json(session)
        return
    columns = ["user", "video", "ip", "since (UTC)", "until (UTC)", "watched s", "ended by"]
    fields = ["user", "video", "ip", "start_date", "end_date", "watched", "ended_by"]
    print_table(columns, [[session[field] for field in fields] for session in ended])
    watched_s = sum(session["watched"] for session in ended)
    users = len({session["user"] for session in ended})
    out.print(f"{counted(len(ended), 'session')} of {counted(users, 'user')}, {watched_s} s watched")


@app.command("rotate-key", short_help="Sign cookies by a new key.", epilog=EXITS)
def rotate_key(data: Data = None) -> None:
    """Sign the cookies of sessions by a new key from now on. Cookies that viewers have stay good.

    \b
    Example: usher session rotate-key
    """
    ask_node(settings_of(data=data), "POST", "/cookie-key", {})
    out.print("New cookies are signed by a new key.")


def _search(pass_file: Path | None, **filters: str) -> dict[str, Any]:
    search = {name: text for name, text in filters.items() if text}
    return search if pass_file is None else {**search, "pass": read_secret_file(pass_file, flag="--pass-file")}


def _state(session: dict[str, Any]) -> str:
    return "asleep" if session["asleep"] else ""


def _ask(settings: Settings, cdn: int, what: str, search: dict[str, Any]) -> Any:
    return ask_node(settings, "POST", f"/accounts/{cdn}/{what}", search, running=True)
