"""What `usher status` says of the disk, also while merges make and remove folders."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from threading import Event, Thread

from openusher.cli.footprint import folder_bytes

_LOOKS = 300


def test_each_part_of_a_data_folder_is_said_for_itself(tmp_path: Path) -> None:
    (tmp_path / "log" / "store").mkdir(parents=True)
    for name, size in {"ledger.db": 20_000, "ledger.db-wal": 40_000, "log/store/part": 80_000, "settings": 1}.items():
        (tmp_path / name).write_bytes(os.urandom(size))

    found = folder_bytes(tmp_path)

    # Folders take blocks too, as many as the file system likes.
    assert found.keys() == {"ledger", "log", "other"}
    assert 60_000 <= found["ledger"] < 80_000 <= found["log"] < 100_000
    assert found["other"] < 10_000


def test_folders_that_come_and_go_meanwhile_are_passed_over(tmp_path: Path) -> None:
    store = tmp_path / "log" / "store"
    store.mkdir(parents=True)
    (tmp_path / "ledger.db").write_bytes(b"x" * 20_000)
    enough = Event()
    merging = Thread(target=_come_and_go, args=(store, enough))
    merging.start()
    try:
        looks = [folder_bytes(tmp_path)["ledger"] for _ in range(_LOOKS)]
    finally:
        enough.set()
        merging.join()

    assert len(set(looks)) == 1


def _come_and_go(store: Path, enough: Event) -> None:
    for number in count():
        parts = [store / f"tmp_merge_{number}_{place}" for place in range(20)]
        for part in parts:
            part.mkdir()
        for part in parts:
            part.rmdir()
        if enough.is_set():
            return
