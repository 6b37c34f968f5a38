"""The Containerfile: its steps are those of the page, and what it names is what Usher has."""

from __future__ import annotations

import json
import re
import shlex

from docs.generate import DOCS, command_names
from openusher import __version__
from openusher.cli.sources import variable_of
from openusher.settings import Settings, operator_settings

PAGE = (DOCS / "how-to" / "install.md").read_text()
FILE = DOCS.parent / "packaging" / "Containerfile"
# Only of a container: it is made smaller, and what it was made of is left out.
_OF_CONTAINERS_ONLY = {"rm -rf /var/lib/apt/lists"}


def statements() -> list[tuple[str, str]]:
    """Each instruction with its argument, lines that go on as one."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(name, " ".join(argument.split())) for name, argument in lines]


def arguments_of(name: str) -> list[str]:
    return [argument for found, argument in statements() if found == name]


def test_every_instruction_is_one_that_builders_know() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}

    assert {name for name, _ in statements()} <= known
    assert statements()[0] == ("FROM", "docker.io/library/debian:12-slim")


def test_its_steps_are_those_of_the_page() -> None:
    (block,) = re.findall(r"^```sh\n(apt-get update\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    steps = [step for argument in arguments_of("RUN") for step in argument.split(" && ")]

    assert block.splitlines() == [step for step in steps if step not in _OF_CONTAINERS_ONLY]
    for step in steps:
        assert shlex.split(step)


def test_what_it_installs_is_this_version() -> None:
    wheel = f"openusher-{__version__}-py3-none-any.whl"

    assert arguments_of("COPY") == ["dist/*.whl dist/"]
    assert f"dist/{wheel}" in FILE.read_text()
    assert set(re.findall(r"openusher-[\w.-]+\.whl", PAGE)) == {wheel}
    assert set(re.findall(r"usher_([\d.]+)_", PAGE)) == {__version__}


def test_what_it_sets_are_settings_and_its_command_is_one() -> None:
    (environment,) = arguments_of("ENV")
    given = dict(pair.split("=", 1) for pair in shlex.split(environment))

    assert set(given) <= {variable_of(name) for name in operator_settings()}
    assert given["USHER_DATA"] in arguments_of("VOLUME")
    assert arguments_of("EXPOSE") == [str(Settings().port)]
    assert json.loads(arguments_of("ENTRYPOINT")[0]) == ["usher"]
    assert json.loads(arguments_of("CMD")[0])[0] in set(command_names())
    # Not as root.
    assert arguments_of("USER") == ["usher"]
