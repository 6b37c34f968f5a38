"""The house rules as tests: lengths, names, leftovers, imports, the error tree, and what must never be written down."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from openusher import errors

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 400
# A module may be longer for a reason that is written here: path from the root -> reason.
LONGER_FOR_A_REASON: dict[str, str] = {}
# Likewise an error of the tree that stands outside errors.py: class -> reason.
DRAWN_ELSEWHERE_FOR_A_REASON = {"FolderInUse": "carries the Holder that only the folder's own module can read"}

_NO_NAME_FOR_ANYTHING = {"manager", "helper", "helpers", "util", "utils", "processor", "processors", "managers"}
_NO_FOLDER_FOR_ANYTHING = {"core", "common", "utils", "util", "services", "helpers", "misc", "lib"}
_READ_AS_TEXT = {".py", ".toml", ".md", ".txt", ".cfg", ".ini", ".json", ".sql", ".sh", ".php", ".yml", ".yaml", ".xml"}
_NOT_WRITTEN_BY_US = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
                      ".import_linter_cache", "build", "dist", "usher-data"}  # fmt: skip


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def written_files() -> Iterator[Path]:
    """Every text file of the project but this one, which must name what it forbids."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in _NOT_WRITTEN_BY_US]
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for path in [*files, *(path for folder in folders for path in folder.rglob("*") if path.is_file())]:
        is_text = path.suffix in _READ_AS_TEXT or path.name in {"Makefile", "LICENSE", ".gitignore", "Dockerfile"}
        if is_text and path != Path(__file__).resolve():
            yield path


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_that_hold(pattern: re.Pattern[str], paths: Iterator[Path] | list[Path]) -> list[str]:
    return [
        f"{shown(path)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def names_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def imports(path: Path, *packages: str, but: Set[str] = frozenset()) -> bool:
    return any(
        name == package or name.startswith(f"{package}.") for name in names_imported(path) - but for package in packages
    )


# --- length and names -----------------------------------------------------------------------------------------------


def test_no_module_is_longer_than_one_sitting() -> None:
    # Golden data is a table to look things up in, not a text to read.
    read = [path for path in modules("src", "tests", "bench") if "golden" not in path.parts]
    lengths = {shown(path): len(path.read_text().splitlines()) for path in read}
    too_long = {name for name, lines in lengths.items() if lines > LINES_MAX}

    assert too_long == set(LONGER_FOR_A_REASON)


def test_no_name_could_hold_anything() -> None:
    named = {}
    for path in modules("src"):
        named[shown(path)] = set(path.stem.split("_"))
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", node.name)
                named[f"{shown(path)}: {node.name}"] = {word.lower() for word in words}

    assert [name for name, words in named.items() if words & _NO_NAME_FOR_ANYTHING] == []


def test_no_folder_is_a_drawer() -> None:
    folders = [path for path in (ROOT / "src").rglob("*") if path.is_dir()]

    assert [shown(path) for path in folders if path.name in _NO_FOLDER_FOR_ANYTHING] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [shown(path) for path in modules("src", "tests", "bench") if not ast.get_docstring(parsed(path))]

    assert silent == []


# --- leftovers ------------------------------------------------------------------------------------------------------


def test_nothing_is_left_for_later() -> None:
    leftover = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b")

    assert (
        lines_that_hold(
            leftover, [path for path in modules("src", "tests", "bench") if path != Path(__file__).resolve()]
        )
        == []
    )


def calls_in(tree: ast.AST, *functions: str) -> set[int]:
    """The lines on which one of `functions` is called."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.lineno for call in calls if ast.unparse(call.func) in functions}


def test_no_test_skips_or_mocks() -> None:
    trees = {shown(path): parsed(path) for path in modules("tests")}

    assert {
        name: lines for name, tree in trees.items() if (lines := calls_in(tree, "pytest.skip", "pytest.xfail"))
    } == {}
    assert [shown(path) for path in modules("tests") if imports(path, "unittest.mock", "mock", "pytest_mock")] == []


def test_no_test_sleeps_but_between_two_looks_at_what_it_waits_for() -> None:
    sleepers = {}
    for path in modules("tests"):
        tree = parsed(path)
        loops = [node for node in ast.walk(tree) if isinstance(node, ast.While | ast.For | ast.AsyncFor)]
        polls = {line for loop in loops for line in calls_in(loop, "time.sleep")}
        sleepers[shown(path)] = calls_in(tree, "time.sleep") - polls

    assert {name: lines for name, lines in sleepers.items() if lines} == {}


# --- what must never be written down --------------------------------------------------------------------------------


def test_no_address_of_a_package_index_is_written_anywhere() -> None:
    # Spelt with classes of one letter, so that this file does not hold one either.
    hosts = r"p[y]pi\.|python[h]osted|n[p]mjs\.|go[l]ang\.org|d[e]bian\.org"
    address = re.compile(
        rf"index[-_]url|extra[-_]index|find[-_]links|tool\.uv\.index|https?://\S*(/simple\b|{hosts})", re.IGNORECASE
    )

    assert lines_that_hold(address, written_files()) == []


def test_no_path_of_a_developers_machine_is_written_anywhere() -> None:
    assert lines_that_hold(re.compile(r"(?<![\w.*-])/(work|tmp|root)/"), written_files()) == []


# --- imports --------------------------------------------------------------------------------------------------------


def test_imports_point_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == EXIT_STATUS_SUCCESS


def test_oracles_and_golden_data_know_nothing_of_openusher() -> None:
    plain = [*modules("tests/oracles"), *modules("tests/golden")]

    assert len(plain) >= 4
    assert [shown(path) for path in plain if imports(path, "openusher")] == []
    # Nor by way of a test module that does.
    others = {f"tests.{folder}" for folder in ("unit", "conformance", "crash", "e2e")}
    assert [shown(path) for path in plain if imports(path, *others)] == []


def test_src_knows_nothing_of_its_tests() -> None:
    assert [shown(path) for path in modules("src") if imports(path, "tests", "pytest", "hypothesis")] == []


def test_model_and_rules_have_no_clock_and_touch_no_disk_or_network() -> None:
    outside = (
        "os",
        "io",
        "pathlib",
        "socket",
        "asyncio",
        "time",
        "datetime",
        "threading",
        "subprocess",
        "random",
        "logging",
    )
    pure = [*modules("src/openusher/model"), ROOT / "src/openusher/rules.py"]
    # The one thing in it that opens nothing: it reads and writes addresses.
    reads_text = {"socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop", "socket.inet_pton"}

    assert [shown(path) for path in pure if imports(path, *outside, but=reads_text)] == []


# --- the error tree -------------------------------------------------------------------------------------------------


def drawn_tree(drawing: str) -> list[tuple[int, str]]:
    """(depth, name) of each line of the drawing, top down."""
    tree = []
    for line in drawing.splitlines():
        drawn = re.match(r"((?:[│ ] {3})*[├└]── )?([A-Z]\w+)(?: {2,}\S|$)", line)
        if drawn:
            tree.append((len(drawn[1] or "") // 4, drawn[2]))
    return tree


def tree_of(error: type[Exception], depth: int = 0) -> list[tuple[int, str]]:
    """(depth, name) of each class as the code has it; siblings in the order they are defined in."""
    children = [child for child in error.__subclasses__() if child.__module__ == errors.__name__]
    children.sort(key=lambda child: inspect.getsourcelines(child)[1])
    return [(depth, error.__name__), *(line for child in children for line in tree_of(child, depth + 1))]


def test_the_drawing_of_the_errors_is_the_tree_of_the_classes() -> None:
    assert drawn_tree(inspect.getdoc(errors) or "") == tree_of(errors.UsherError)


def test_every_error_of_ours_hangs_on_the_tree() -> None:
    names = {name for _, name in tree_of(errors.UsherError)}

    assert {name for name, value in vars(errors).items() if inspect.isclass(value)} == names


def test_errors_of_the_tree_are_defined_in_one_place() -> None:
    names = {name for _, name in tree_of(errors.UsherError)}
    elsewhere = {
        node.name
        for path in modules("src")
        if path.name != "errors.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and names & {ast.unparse(base).split(".")[-1] for base in node.bases}
    }

    assert elsewhere == set(DRAWN_ELSEWHERE_FOR_A_REASON)
