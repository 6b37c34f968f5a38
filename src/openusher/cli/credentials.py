"""Who signs a command: from the file that `usher account create --json` wrote, from flags, or the demo's account."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from openusher.cli.output import Exit, fail
from openusher.cli.page import API_KEY, CDN, SECRET
from openusher.model.account import Secret
from openusher.model.discreet import Discreet


class Signer(msgspec.Struct, frozen=True):
    """An API key and its secret."""

    cdn: int
    api_key: str
    secret: Secret


class _File(Discreet, frozen=True):
    cdn: int
    api_key: str
    secret: str


def read_signer(
    *, credentials: Path | None, cdn: int | None, api_key: str | None, secret_file: Path | None, demo: bool
) -> Signer:
    """Put the signer together from what was given; ends the command on what is missing or unreadable."""
    if demo:
        return Signer(CDN, API_KEY, Secret(SECRET))
    if credentials is not None:
        return _read_file(credentials)
    if cdn is None or api_key is None or secret_file is None:
        fail(
            "who signs? Give --credentials FILE (what usher account create --json printed), or --cdn, --api-key and "
            "--secret-file, or --demo",
            Exit.USAGE,
        )
    return Signer(cdn, api_key, Secret(read_secret_file(secret_file)))


def read_secret_file(path: Path, *, flag: str = "--secret-file") -> str:
    """The secret in a file, or on stdin for `-`; ends the command on what is empty or unreadable."""
    secret = (sys.stdin.read() if str(path) == "-" else _read(flag, path)).strip()
    if not secret:
        fail(f"{flag} {path}: is empty", Exit.USAGE)
    return secret


def _read_file(path: Path) -> Signer:
    try:
        found = msgspec.json.decode(_read("--credentials", path), type=_File)
    except msgspec.DecodeError:
        fail(f"--credentials {path}: is not what usher account create --json prints", Exit.USAGE)
    return Signer(found.cdn, found.api_key, Secret(found.secret))


def _read(flag: str, path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        fail(f"{flag} {path}: cannot read it: {error.strerror}", Exit.USAGE)
    except UnicodeDecodeError:
        fail(f"{flag} {path}: is not text", Exit.USAGE)
