"""Data folders that earlier versions have really written, each beside what it must hold: see README.md."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

FOLDERS = Path(__file__).resolve().parent


def schemas() -> list[int]:
    """Those of the folders that are there."""
    return sorted(int(path.stem.partition("-")[2]) for path in FOLDERS.glob("schema-*.json"))


def unpacked(schema: int, place: Path) -> tuple[Path, dict[str, Any]]:
    """The data folder that a version of this schema left in `place`, and what it must hold."""
    with tarfile.open(FOLDERS / f"schema-{schema}.tar.gz") as archive:
        archive.extractall(place, filter="data")
    found: dict[str, Any] = json.loads((FOLDERS / f"schema-{schema}.json").read_text())
    return place / "data", found
