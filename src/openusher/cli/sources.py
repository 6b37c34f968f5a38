"""Where settings come from (flags, the environment, a TOML file, defaults), and what is wrong with them, and where."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from openusher.errors import SetupError
from openusher.settings import Settings, operator_settings, taken

# Read where nobody names another: what a package installs, every command on that machine is to find.
DEFAULT_FILE = Path("/etc/usher/usher.toml")
FILE_VARIABLE = "USHER_CONFIG"
_PREFIX = "USHER_"
# Of ours, but no settings: the last two are of `usher call`.
_OTHER_VARIABLES = (FILE_VARIABLE, "USHER_URL", "USHER_CREDENTIALS")


class Source(StrEnum):
    """Where a value may come from, the strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Place(msgspec.Struct, frozen=True):
    """Where one value stands: `name` is the flag, the variable or the file; empty for a default."""

    source: Source
    name: str

    def of(self, setting: str) -> str:
        """As a fault begins: the place, and the setting where the place does not say it."""
        return f"{self.name}: {setting}" if self.source is Source.FILE else self.name


class Configuration(msgspec.Struct, frozen=True):
    """Settings in force, and where the value of each that an operator may set stands."""

    settings: Settings
    places: dict[str, Place]


class _Given(msgspec.Struct, frozen=True):
    value: Any
    place: Place


def flag_of(setting: str) -> str:
    """The flag of a setting."""
    return f"--{setting.replace('_', '-')}"


def _flag_given(setting: str, value: Any) -> str:
    """The flag that gave a setting this value: one that can be on or off has two."""
    return f"--no-{flag_of(setting)[2:]}" if value is False else flag_of(setting)


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return f"{_PREFIX}{setting.upper()}"


def configure(flags: Mapping[str, Any], *, file: str | None = None) -> Configuration:
    """Settings from `flags`, else the environment, else the TOML file, else their defaults.

    `file` is what --config says: without it USHER_CONFIG names the file, and without that it is `DEFAULT_FILE` where
    there is one. An empty name means none. Raises SetupError: every fault found, one a line.
    """
    named = os.environ.get(FILE_VARIABLE) if file is None else file
    if named is None:
        # Not Path.exists: where this user may not look, it raises.
        named = str(DEFAULT_FILE) if os.path.lexists(DEFAULT_FILE) else ""
    faults = list(_unknown_variables(os.environ))
    given = _of_file(Path(named), faults) if named else {}
    given |= {name: _Given(value, Place(Source.ENVIRONMENT, variable_of(name))) for name, value in _variables()}
    given |= {name: _Given(value, Place(Source.FLAG, _flag_given(name, value))) for name, value in flags.items()}
    return _configuration(given, faults)


def configure_from(file: Path) -> Configuration:
    """What `file` alone makes of the settings. Raises SetupError as `configure` does."""
    faults: list[str] = []
    return _configuration(_of_file(file, faults), faults)


def _variables() -> Iterable[tuple[str, Any]]:
    known = operator_settings()
    return ((name, value) for name, value in EnvSettingsSource(Settings)().items() if name in known)


def _of_file(file: Path, faults: list[str]) -> dict[str, _Given]:
    """What a TOML file gives; names that are no settings go to `faults`."""
    try:
        if not file.is_file():
            raise SetupError(f"{file}: no such file; name a TOML file with --config or {FILE_VARIABLE}")
        # As the file has it: what the source makes of it takes names in any case, and of two that differ in it, one.
        values = TomlConfigSettingsSource(Settings, toml_file=file).toml_data
    except OSError as error:
        raise SetupError(f"{file}: cannot read it: {error.strerror}") from error
    except ValueError as error:
        raise SetupError(f"{file}: is not TOML: {error}") from error
    known = operator_settings()
    place = Place(Source.FILE, str(file))
    faults += [f'{file}: there is no setting "{name}"; {_nearest(name, known)}' for name in values if name not in known]
    return {name: _Given(value, place) for name, value in values.items() if name in known}


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    known = [*map(variable_of, operator_settings()), *_OTHER_VARIABLES]
    for name in environment:
        # As the settings are read: in whatever case.
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            yield f"{name}: there is no such setting; {_nearest(name.upper(), known)}"


def _nearest(name: str, known: Iterable[str]) -> str:
    # Without the prefix: with it, any two variables are alike.
    bare = {each.removeprefix(_PREFIX).lower(): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(_PREFIX).lower(), bare, n=1)
    return f"did you mean {bare[near[0]]}?" if near else "usher config lists them all"


def _configuration(given: Mapping[str, _Given], faults: list[str]) -> Configuration:
    try:
        settings = Settings(**{name: each.value for name, each in given.items()})
    except ValidationError as error:
        faults += [_fault(problem, given) for problem in error.errors()]
    if faults:
        raise SetupError("\n".join(faults))
    default = _Given(None, Place(Source.DEFAULT, ""))
    return Configuration(settings, {name: given.get(name, default).place for name in operator_settings()})


def _fault(problem: Mapping[str, Any], given: Mapping[str, _Given]) -> str:
    """pydantic's finding as one of ours: the place and setting, what was given, what is taken."""
    own_words: str = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return own_words
    name = str(problem["loc"][0])
    wanted = own_words if problem["type"] == "value_error" else f"give {taken(Settings.model_fields[name])}"
    return f'{given[name].place.of(name)}: cannot take "{given[name].value}"; {wanted}'
