"""`usher attempts`: count them, list them, export them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from openusher.cli.attemptexport import export
from openusher.cli.attemptfilters import in_flags, search_of, takes_filters
from openusher.cli.attemptrows import CsvRows, decision, fields, print_attempts, shown
from openusher.cli.connect import ask_node
from openusher.cli.options import AsJson, Cdn, Data, ShowPass, settings_of
from openusher.cli.output import EXITS, Exit, err, fail, out, print_json, print_table
from openusher.model.search import GroupBy

app = typer.Typer(
    help="Count, list and export the attempts of an account, whether or not the node runs.\n\n"
    "Example: usher attempts count 158 --refused --from '-1 day'",
    epilog=EXITS,
    no_args_is_help=True,
)

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]


@app.command("count", short_help="Count attempts, exactly.", epilog=EXITS)
@takes_filters
def count(
    cdn: Cdn,
    group_by: Annotated[
        GroupBy | None, typer.Option("--group-by", help="Count each group, the largest first; hours and days are UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many groups.")] = 100,
    seek: Annotated[int, typer.Option(min=0, help="After the first so many groups.")] = 0,
    show_pass: ShowPass = False,
    data: Data = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    **filters: Any,
) -> None:
    """Count the attempts that match every filter, each once. Where no exact number can be given there is an error.

    \b
    Example: usher attempts count 158 --video 'films/*' --group-by reason
    """
    _refuse_two_forms(as_json=as_json, as_csv=as_csv)
    if group_by is GroupBy.USER and not show_pass:
        fail("--group-by user: a pass without a | is its own user; add --show-pass if they may be seen", Exit.USAGE)
    settings, search = settings_of(data=data), search_of(filters)
    if group_by is not None:
        search |= {"group_by": group_by.value, "limit": limit, "seek": seek}
    found = ask_node(settings, "POST", f"/accounts/{cdn}/attempts/count", search, with_log=True, put=in_flags)
    if group_by is not None:
        _print_groups(group_by, found, as_json=as_json, as_csv=as_csv)
    elif as_json:
        print_json({"count": found["error_count"]})
    elif as_csv:
        CsvRows(sys.stdout, ["count"]).write([[found["error_count"]]])
    else:
        out.print(found["error_count"])


def _print_groups(by: GroupBy, found: dict[str, Any], *, as_json: bool, as_csv: bool) -> None:
    groups = [(group["value"], group["count"]) for group in found["groups"]]
    if as_json:
        for value, number in groups:
            print_json({by.value: value, "count": number})
    elif as_csv:
        CsvRows(sys.stdout, [by.value, "count"]).write(groups)
    else:
        named = [(decision(value) if by is GroupBy.REASON else value, number) for value, number in groups]
        print_table([by.value, "count"], [list(group) for group in named])
        out.print(f"{len(groups)} of {found['group_count']} groups; {found['error_count']} attempts in all")


@app.command("list", short_help="List attempts, the newest first.", epilog=EXITS)
@takes_filters
def list_attempts(
    cdn: Cdn,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many, the newest first.")] = 100,
    seek: Annotated[
        int, typer.Option(min=0, help="After the newest so many; --before-id pages without skipping while more come.")
    ] = 0,
    show_pass: ShowPass = False,
    data: Data = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    **filters: Any,
) -> None:
    """List the attempts that match every filter, the newest first. --json and --csv have all fields of
    sevu.errorlog, the table those that tell attempts apart.

    \b
    Example: usher attempts list 158 --ip 192.0.2.0/24 --refused --limit 20
    """
    _refuse_two_forms(as_json=as_json, as_csv=as_csv)
    search = {**search_of(filters), "limit": limit, "seek": seek}
    settings = settings_of(data=data)
    found = ask_node(settings, "POST", f"/accounts/{cdn}/attempts/list", search, with_log=True, put=in_flags)
    rows = [shown(members, show_pass=show_pass) for members in found]
    if as_json:
        for row in rows:
            print_json(row)
    elif as_csv:
        CsvRows(sys.stdout, fields(show_pass=show_pass)).write(row.values() for row in rows)
    else:
        print_attempts(rows, show_pass=show_pass)
        if len(rows) == limit:
            err.print(f"There may be more: --before-id {rows[-1]['id']} goes on from here.")


app.command("export", short_help="Write attempts to a file.", epilog=EXITS)(export)


def _refuse_two_forms(*, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        fail("--json and --csv: give one of them", Exit.USAGE)
