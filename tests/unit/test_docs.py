"""The docs against the code: nothing of it is missing there, and nothing stands there that is not."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from docs.generate import (
    DOCS,
    MADE,
    OPENAPI,
    command_names,
    filled,
    help_of,
    openapi_text,
    restart_sentence,
)
from openusher.errors import InvalidParameter
from openusher.model.attempt import Attempt, Reason
from openusher.model.edge import EdgeKind
from openusher.model.search import GroupBy
from openusher.model.session import EndedBy
from openusher.model.ticket import Ticket
from openusher.settings import operator_settings
from openusher.sevu.attempts import attempt_members
from openusher.sevu.codes import CODES
from openusher.sevu.dates import read_instant
from openusher.sevu.parameters import Parameters
from openusher.sevu.registry import COMMANDS
from openusher.sevu.search import ROWS_MAX, WINDOW_END_MAX
from openusher.sevu.tickets import ticket_members
from openusher.web.edges.authorize import Answer
from openusher.web.edges.connections import Told
from openusher.web.edges.question import Question, complete
from openusher.web.sevu import PATHS

ROOT = DOCS.parent
ABOUT = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = sorted([*ABOUT, *DOCS.rglob("*.md")])
COMMAND_PAGES = {name: f"reference/{name.removeprefix('sevu.')}.md" for name in COMMANDS}

# What sevu.request demands; the other commands read no further without a key.
_REQUIRED: dict[str, dict[str, Any]] = {
    "sevu.request": {"app": "*", "video": "*", "pass": "p", "ip": "auto", "uses": 1},
    "sevu.status": {"key": "k"},
    "sevu.revoke": {"key": "k"},
    "sevu.kick": {"key": "k"},
}
_NO_SETTINGS = {"USHER_URL", "USHER_CREDENTIALS", "USHER_CONFIG"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


def section(text: str, heading: str) -> str:
    """What stands between a heading and the next."""
    return re.split(rf"^#+ {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1].split("\n#")[0]


def named(text: str) -> list[str]:
    """The names in backticks in the first column of the tables of `text`, from the top down."""
    tables = re.findall(r"^\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def parameters_read(command: str) -> set[str]:
    """Every parameter that a command asks for."""
    asked: set[str] = set()

    class Members(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return super().get(name, default)

    COMMANDS[command].read(Parameters(Members(_REQUIRED.get(command, {})), {}), cdn=1, now_s=0)
    return asked


# --- made from the code ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", MADE)
def test_what_a_page_has_from_the_code_is_up_to_date(page: str) -> None:
    """When this is red: python -m docs.generate"""
    assert filled(text_of(page), MADE[page]()) == text_of(page)


def test_the_restart_time_is_the_benchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [{"name": "ready after", "log": "chdb", "value": 1.234, "unit": "s"}, {"name": "other", "log": "chdb"}]
    results = {"attempts_by_log": {"chdb": 10_000_000}, "figures": figures}
    monkeypatch.setattr("docs.generate.RESULTS", tmp_path / "results.json")
    assert "not measured" in restart_sentence()
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(results))

    assert restart_sentence().endswith("1.2 s with `--log chdb` and 10,000,000 attempts.")


# --- nothing is missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_page_has_every_parameter_and_no_other(command: str) -> None:
    text = section(text_of(COMMAND_PAGES[command]), "Parameters")
    documented = set(named(text))
    if command == "sevu.errorlog":
        # Its filters are those of errorcount: a sentence names them.
        documented |= set(re.findall(r"`(\w+)`", text.split("\n|")[0]))

    assert parameters_read(command) == documented


def test_every_group_is_on_the_page_of_errorcount() -> None:
    assert list(GroupBy) == named(section(text_of("reference/errorcount.md"), "Groups"))


def test_every_member_of_a_ticket_is_on_the_page_of_request_in_its_type() -> None:
    ticket = Ticket(
        number=1, cdn=1, key="k", password="p", app="a", video="v", ip="auto", uses_limit=1, uses_taken=0,
        active=True, created_s=1, expires_s=2, used_s=0,
    )  # fmt: skip
    reply = section(text_of("reference/request.md"), "Reply")

    assert set(ticket_members(ticket)) == set(named(reply))
    kinds = dict(row for names, kind in re.findall(r"^\| (`.+?`) \| (\w+) \|", reply, re.MULTILINE)
                 for row in ((name, kind) for name in re.findall(r"`(\w+)`", names)))  # fmt: skip
    types = {"str": "string", "int": "int", "bool": "bool"}
    assert {name: types[type(value).__name__] for name, value in ticket_members(ticket).items()} == kinds


def test_every_field_of_an_attempt_is_on_the_page_of_errorlog() -> None:
    attempt = Attempt(
        id=1, cdn=1, at_ms=1, key="k", password="p", app="a", appinst="", video="v", ip=1, pageurl="", refurl="",
        user_agent="", server_ip=0, edge=1, cut=0, reason="",
    )  # fmt: skip

    assert set(attempt_members(attempt)) == set(named(section(text_of("reference/errorlog.md"), "Reply")))


def test_every_member_of_a_question_and_an_answer_is_on_the_page_of_the_door() -> None:
    page = text_of("reference/authorize.md")
    question = {field.encode_name for field in msgspec.structs.fields(Question)}
    rows = dict(re.findall(r"^\| `(\w+)` \| (for a start|no) \|", section(page, "Question"), re.MULTILINE))

    assert question == set(rows)
    for name, needed in rows.items():
        needs = [name] if needed == "for a start" else []
        start = Question(app="a", video="v", ip="192.0.2.1")
        assert [name for name in needs if _is_complete(msgspec.structs.replace(start, **{name: None}))] == []
    assert {field.encode_name for field in msgspec.structs.fields(Told)} - {"session_id"} == {
        field.encode_name for field in msgspec.structs.fields(Answer)
    }
    assert {field.encode_name for field in msgspec.structs.fields(Answer)} == set(named(section(page, "Answer")))


def test_everything_that_ends_a_session_is_on_the_page_of_sessions() -> None:
    page = section(text_of("reference/sessions.md"), "Sessions that have ended")

    assert {by.value for by in EndedBy} == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def _is_complete(question: Question) -> bool:
    with contextlib.suppress(InvalidParameter):
        return complete(question) is question
    return False


def test_the_document_for_programs_is_up_to_date_and_sound() -> None:
    assert OPENAPI.read_text() == openapi_text()
    validate(json.loads(OPENAPI.read_text()))


def test_every_kind_of_edge_is_compared() -> None:
    assert {kind.value for kind in EdgeKind} == set(
        re.findall(r"^\| \[`([\w-]+)`\]", text_of("reference/edges.md"), re.M)
    )


def test_every_reason_is_on_the_page_of_the_door() -> None:
    assert {reason for reason in Reason if reason} == set(named(section(text_of("reference/authorize.md"), "Reasons")))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_page_has_each_failure_of_its_own_and_its_success(command: str) -> None:
    page = text_of(COMMAND_PAGES[command])
    codes = COMMANDS[command].codes
    own = {getattr(codes, name) for name in ("success", "invalid", "unknown_ticket", "replayed", "unavailable")}

    missing = [code.display() for code in own if code.number > 1000 and code.display() not in page]
    assert missing == []


def test_the_bounds_of_a_page_of_attempts_or_groups_are_said() -> None:
    for text in (
        section(text_of("reference/errorlog.md"), "Parameters"),
        section(text_of("reference/errorcount.md"), "Groups"),
    ):
        assert {f"{bound:,}" in text for bound in (ROWS_MAX, WINDOW_END_MAX)} == {True}


def test_every_date_on_the_page_of_request_is_taken_or_not_as_it_says() -> None:
    parts = section(text_of("reference/request.md"), "Dates").split("- not taken:")
    taken, not_taken = ([date for date in re.findall(r"`([^`]+)`", part) if date != "T"] for part in parts)

    assert (len(taken), len(not_taken)) == (17, 5)
    for date in taken:
        assert read_instant("expire", date, now_s=1_800_000_000) > 1_700_000_000
    for date in not_taken:
        with pytest.raises(InvalidParameter):
            read_instant("expire", date, now_s=1_800_000_000)


def test_every_path_of_the_api_is_said() -> None:
    page = section(text_of("reference/request.md"), "Sending a command")

    assert {path.rstrip("/") for path in PATHS} == {
        path.rstrip("/") for path in re.findall(r"`(/[\w/.]*)`", page.split("\n\n")[2])
    }


@pytest.mark.parametrize("name", list(command_names()))
def test_every_help_has_an_example_of_its_own_and_the_exit_statuses(name: str) -> None:
    text = help_of(name)

    assert "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the answer is no, 4 not reachable." in text
    if name:
        assert f"Example: usher {name}" in text


def test_every_setting_has_its_flag_sentence_and_default_in_the_help_of_serve() -> None:
    text = " ".join(help_of("serve").split())

    for name, field in operator_settings().items():
        default = "" if field.default is None else f"; default: {field.default}"
        flag = name.replace("_", "-")
        assert (f"--{flag} / --no-{flag} " if field.annotation is bool else f"--{flag} <") in text
        assert f"{field.description} [env var: USHER_{name.upper()}{default}]" in text


# --- nothing is made up ---------------------------------------------------------------------------------------------


_MADE_BY_BENCHES = {
    f"bench/{name}.json" for name in ("results", "counts", "start", "ship", "authorize", "issue", "large", "many")
}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_a_page_names_only_what_exists(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    first_words = {name.split()[0] for name in command_names() if name}
    settings = {f"USHER_{name.upper()}" for name in operator_settings()} | _NO_SETTINGS

    assert set(re.findall(r"\bsevu\.\w+", text)) - {"sevu.errorcont"} <= set(COMMANDS)
    assert set(re.findall(r"\bUSHER_[A-Z_]+", text)) <= settings
    assert set(re.findall(r"(?:`|\$ |bin/)usher (\w[\w-]*)", text)) <= first_words
    assert set(re.findall(r"(?:`|^ *|\$ )make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
    assert set(re.findall(r"\bcodes? (\d{4})\b", text)) <= {code.display() for code in CODES}
    files = set(re.findall(r"`((?:src|tests|bench)/[\w./-]*)", text)) - _MADE_BY_BENCHES
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []


# --- links ----------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """The pages and anchors that a page links to, outside ones aside."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text)
    return [((page.parent / to).resolve() if to else page, anchor) for to, anchor in found if "://" not in to]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_between_pages_resolve(page: Path) -> None:
    broken = [
        f"{to.name}#{anchor}"
        for to, anchor in links(page)
        if not to.exists() or (anchor and anchor not in anchors(to.read_text()))
    ]

    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    index = DOCS / "README.md"

    # The site's own is made of this one.
    pages = set(DOCS.rglob("*.md")) - {index, DOCS / "index.md"}

    assert pages == {to for to, _ in links(index)}
