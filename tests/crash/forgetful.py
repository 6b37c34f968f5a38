"""A SQLite VFS that remembers what was synced, so that a test can cut the power and see what would be on the disk.

What a write leaves before its sync may or may not survive; this one lets nothing survive, which is the worst a disk
may do. The names of files are taken to survive their creation: SQLite syncs the folder itself.
"""

from __future__ import annotations

from pathlib import Path

import apsw


class ForgetfulVFS(apsw.VFS):
    """Passes everything on to the real file system, and keeps each file's content as of its last sync."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.durable: dict[str, bytes] = {}
        self.syncs = 0
        super().__init__(name, base="")

    def xOpen(  # noqa: N802
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> ForgetfulFile:
        return ForgetfulFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.durable.pop(filename, None)

    def cut_power(self, into: Path) -> None:
        """Write what the disk would hold now into the folder `into`."""
        into.mkdir(parents=True)
        for path, content in self.durable.items():
            if not path.endswith("-shm"):
                (into / Path(path).name).write_bytes(content)


class ForgetfulFile(apsw.VFSFile):
    """One open file of a ForgetfulVFS."""

    def __init__(self, vfs: ForgetfulVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._vfs = vfs
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("", name, flags)
        if self._path:
            vfs.durable.setdefault(self._path, b"")

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._vfs.syncs += 1
        if self._path:
            self._vfs.durable[self._path] = Path(self._path).read_bytes()
