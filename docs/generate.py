"""Fill in what the pages have from the code: `python -m docs.generate`. A test holds the pages against the code.

A page carries what is made between two comments that a reader does not see; the rest of it is written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from docs.measured import performance_tables
from openusher.cli.main import app
from openusher.cli.sources import flag_of, variable_of
from openusher.model.edge import OPTIONS, EdgeKind, Option
from openusher.settings import operator_settings, taken
from openusher.sevu.codes import CODES
from openusher.web.edges.openapi import openapi_document
from openusher.web.metrics.families import SECTIONS, Family

DOCS = Path(__file__).resolve().parent
OPENAPI = DOCS / "reference" / "openapi.json"
RESULTS = DOCS.parent / "bench" / "results.json"

PLOTS = DOCS / "performance"
FOLLOW_UPS = DOCS.parent / "bench" / "followup.json"
# Of a live stream in segments of four seconds: a segment and a playlist in that time, or a question in `recheck_s`.
_ASKED_A_SECOND = {0: 0.5, 4: 0.25, 10: 0.1, 30: 1 / 30}

BEGIN = "<!-- made by python -m docs.generate -->"
END = "<!-- end of what is made -->"
_HELP_WIDTH = 100


def codes_table() -> str:
    """Every code of `sevu/codes.py`."""
    rows = [
        f"| {code.display()} | {code.name} | {code.sentence} | {'success' if code.success else 'failure'} | "
        f"{'Usher' if code.ours else 'ScaleEngine'} |"
        for code in CODES
    ]
    return "\n".join(["| code | name | message | status | from |", "|---|---|---|---|---|", *rows])


def settings_table() -> str:
    """Every setting with its flag, its default, what it takes, and its sentence."""
    rows = [
        f"| `{name}` | `{flag_of(name)}` | `{variable_of(name)}` | "
        f"{'' if field.default is None else f'`{field.default}`'} | {taken(field)} | {field.description} |"
        for name, field in operator_settings().items()
    ]
    head = ["| setting | flag | variable | default | takes | what it does |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def command_names(part: typer.Typer = app, before: str = "") -> Iterator[str]:
    """Every command, as it is typed after `usher`; "" is `usher` itself. In the order of the help."""
    yield before.strip()
    for command in part.registered_commands:
        if command.hidden:
            continue
        yield f"{before} {command.name}".strip()
    for group in part.registered_groups:
        assert group.typer_instance is not None
        yield from command_names(group.typer_instance, f"{before} {group.name}")


def help_of(name: str) -> str:
    """What `usher NAME --help` prints, at a fixed width."""
    shown = CliRunner().invoke(
        app, [*name.split(), "--help"], prog_name="usher", terminal_width=_HELP_WIDTH, max_content_width=_HELP_WIDTH
    )
    return "\n".join(line.rstrip() for line in shown.stdout.strip().splitlines())


def help_texts() -> str:
    """The help of every command."""
    return "\n\n".join(f"## {f'usher {name}'.strip()}\n\n```text\n{help_of(name)}\n```" for name in command_names())


def restart_sentence() -> str:
    """How long a node takes from its start until it is ready, from the results of the last `make bench`."""
    if not RESULTS.exists():
        return "How long this takes is not measured here yet: `make bench` does, and writes `bench/results.json`."
    results = json.loads(RESULTS.read_text())
    measured = [
        f"{figure['value']:.1f} {figure['unit']} with `--log {figure['log']}` and "
        f"{results['attempts_by_log'][figure['log']]:,} attempts"
        for figure in results["figures"]
        if figure["name"] == "ready after"
    ]
    return f"Measured by `make bench`, from the start of the process until it is ready: {'; '.join(measured)}."


def options_table() -> str:
    """Every option of `usher edge create`, once for all kinds to which it means the same."""
    kinds: dict[tuple[str, Option], list[str]] = {}
    for kind in EdgeKind:
        for name, option in OPTIONS[kind].items():
            kinds.setdefault((name, option), []).append(f"`{kind}`")
    rows = [
        f"| `{name}` | {', '.join(of)} | {f'`{option.default}`' if option.default else ''} | {_option_taken(option)} | "
        f"{option.help} |"
        for (name, option), of in kinds.items()
    ]
    return "\n".join(["| option | of | default | takes | what it does |", "|---|---|---|---|---|", *rows])


def _option_taken(option: Option) -> str:
    if option.words:
        return " or ".join(f"`{word}`" for word in option.words)
    if option.most is not None:
        return f"a whole number from 0 to {option.most:,}"
    return f"{'host:port' if option.host_port else 'a text'}{', again for each' if option.many else ''}"


def viewers_table() -> str:
    """How many viewers a node answers for, by how long an edge keeps answers, from the last `make bench-followup`."""
    measured = json.loads(FOLLOW_UPS.read_text())
    (rate,) = (figure["rate"] for figure in measured["figures"] if figure["name"] == "follow-ups")
    rows = [f"| {keep} | {each:.2g} | {_rounded(rate / 2 / each):,} |" for keep, each in _ASKED_A_SECOND.items()]
    said = (
        f"Measured by `make bench-followup`: {_rounded(rate):,} questions a second about {measured['tickets']:,} "
        "sessions, by one core. At half of that, so that starts and a bad minute have room:"
    )
    head = ["| `recheck_s` | questions a second of a viewer | viewers a node |", "|---|---|---|"]
    return "\n".join([said, "", *head, *rows])


def _rounded(number: float) -> int:
    """Two figures: no more of it holds on another machine."""
    places = len(str(int(number))) - 2
    return int(round(number, -places))


def metrics_tables() -> str:
    """Every metric, by what it is about."""
    return "\n\n".join(_metrics_table(heading, families) for heading, families in SECTIONS.items())


def _metrics_table(heading: str, families: list[Family]) -> str:
    rows = [f"| {_metric(family)} | {family.means} | {family.advice} |" for family in families]
    head = ["| metric | what it is | when it climbs |", "|---|---|---|"]
    return "\n".join([f"## {heading}", "", *head, *rows])


def _metric(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"`{family.name}`, {family.kind}{f' by {labels}' if labels else ''}"


MADE: dict[str, Callable[[], str]] = {
    "reference/codes.md": codes_table,
    "reference/settings.md": settings_table,
    "reference/cli.md": help_texts,
    "reference/metrics.md": metrics_tables,
    "reference/edges.md": options_table,
    "explanation/promises.md": restart_sentence,
    "how-to/guard-nginx.md": viewers_table,
    "performance.md": performance_tables,
}


def filled(page: str, made: str) -> str:
    """The text of a page with `made` between its comments."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}"


def openapi_text() -> str:
    """The plain door for programs."""
    return json.dumps(openapi_document(), indent=2) + "\n"


def main() -> None:
    """Fill in every page of `MADE`, and write what is made as a whole; draw what has been measured since."""
    # Only here: what draws takes a second to load.
    from bench.nodeplots import PLOTS as OF_NODES
    from bench.peers.plots import PLOTS as OF_PEERS
    from bench.plots import draw_all

    draw_all(PLOTS, (*OF_NODES, *OF_PEERS))
    OPENAPI.write_text(openapi_text())
    for name, make in MADE.items():
        page = DOCS / name
        page.write_text(filled(page.read_text(), make()))


if __name__ == "__main__":
    main()
