"""The ledger process on a disk that does what a file beside the ledger says; run in the place of the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from openusher.ledger.apart.process import main
from openusher.ledger.apart.wire import Launch
from tests.conformance.ledgers import FAULT_FILE, Disk, Fault


class _ToldDisk(Disk):
    def __init__(self, told: Path) -> None:
        self._told = told
        super().__init__("told", is_default=True)

    @property
    def fault(self) -> Fault:
        return Fault(self._told.read_text())

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._told.write_text(fault)


if __name__ == "__main__":
    disk = _ToldDisk(Path(msgspec.json.decode(sys.argv[1], type=Launch).file).with_name(FAULT_FILE))
    main()
