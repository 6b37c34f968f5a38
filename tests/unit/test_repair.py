"""Which parts of a log are of use to a repair, and how the mended log takes the damaged one's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from openusher.attemptlog.embedded.mending import not_covered, parts_in, parts_loaded
from openusher.repair.exchange import exchange

_ID, _OTHER_ID = "0e20f5e1-1f6d-455f-b14f-fbdd1b6e0f68", "128bc54e-2083-42c2-94f1-396547d9a76b"


def _make(log: Path, *names: str, table: str = _ID) -> None:
    for name in names:
        (log / "chdb/store" / table[:3] / table / name).mkdir(parents=True)


def test_a_part_that_was_merged_or_rewritten_is_of_no_use_and_what_is_no_part_neither(tmp_path: Path) -> None:
    merged = ("202611_1_1_0", "202611_2_2_0", "202611_3_3_0", "202611_1_2_1", "202611_1_2_1_7")
    _make(tmp_path, *merged, "202612_1_1_0", "detached", "tmp_merge_202611_1_3_1", "202611_1_3_x")

    assert {part.name for part in parts_in(tmp_path)} == {*merged, "202612_1_1_0"}
    assert [part.name for part in not_covered(parts_in(tmp_path))] == ["202611_1_2_1_7", "202611_3_3_0", "202612_1_1_0"]


def test_parts_that_the_tables_definition_does_not_name_are_not_loaded(tmp_path: Path) -> None:
    _make(tmp_path, "202611_1_1_0")
    _make(tmp_path, "202611_2_2_0", table=_OTHER_ID)
    without = parts_loaded(tmp_path, table="attempts")
    definitions = tmp_path / "chdb/metadata/usher"
    definitions.mkdir(parents=True)
    (definitions / "attempts.sql").write_text(f"ATTACH TABLE _ UUID '{_OTHER_ID}'\n(\n    `id` Int64\n)")

    assert without == []
    assert [part.name for part in parts_loaded(tmp_path, table="attempts")] == ["202611_2_2_0"]


@pytest.mark.parametrize("has_old", [True, False])
def test_the_mended_log_takes_the_place_and_the_damaged_one_is_kept(tmp_path: Path, has_old: bool) -> None:
    new, old, kept = tmp_path / "repairing/log", tmp_path / "log", tmp_path / "log.damaged"
    new.mkdir(parents=True)
    (new / "is").write_text("mended")
    if has_old:
        old.mkdir()
        (old / "is").write_text("damaged")
    exchange(new, old, kept_as=kept)

    assert (old / "is").read_text() == "mended"
    assert kept.exists() == has_old
    assert not new.exists()
    assert not has_old or (kept / "is").read_text() == "damaged"
