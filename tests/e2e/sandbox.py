"""Runs a command under what a unit's [Service] forbids, where no systemd can: `python sandbox.py UNIT COMMAND…`.

Applied as systemd applies it, from the unit's own lines: SystemCallFilter, SystemCallErrorNumber,
RestrictAddressFamilies, MemoryDenyWriteExecute, RestrictNamespaces, RestrictRealtime, RestrictSUIDSGID and
LockPersonality by seccomp filters that forbid what systemd 252's forbid; NoNewPrivileges, CapabilityBoundingSet, UMask
and LimitNOFILE by the calls of that name. What needs a mount namespace (ProtectSystem, PrivateTmp, ProtectProc and the
like) is not applied.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITY_MAX = 63
_PROT_WRITE, _PROT_EXEC, _SHM_EXEC = 2, 4, 0o100000
_CLONE_NAMESPACES = 0x7E020080
_SUID_SGID = 0o6000
_PERSONALITY_LINUX = 0
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NOT_EQUAL, _EQUAL, _MASKED_EQUAL = 1, 4, 7


class _Comparison(ctypes.Structure):
    """libseccomp's scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
_seccomp.seccomp_init.restype = ctypes.c_void_p
_seccomp.seccomp_init.argtypes = [ctypes.c_uint32]
_seccomp.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
_seccomp.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
]  # fmt: skip
_seccomp.seccomp_load.argtypes = [ctypes.c_void_p]


class _Filter:
    """One seccomp filter; of several that are loaded the strictest answer holds."""

    def __init__(self, default: int) -> None:
        self._context = _seccomp.seccomp_init(default)

    def add(self, action: int, name: str, *comparisons: tuple[int, int, int, int]) -> None:
        number = _seccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            # Of another architecture, or newer than this library.
            return
        array = (_Comparison * len(comparisons))(*(_Comparison(*each) for each in comparisons))
        _done(-_seccomp.seccomp_rule_add_array(self._context, action, number, len(comparisons), array), name)

    def load(self) -> None:
        _done(-_seccomp.seccomp_load(self._context), "load")


def _done(error: int, what: str) -> None:
    if error > 0:
        raise OSError(error, os.strerror(error), what)


def directives(unit: Path) -> dict[str, list[str]]:
    """Each directive of [Service] with its values, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    section = re.split(r"^\[Service\]$", unit.read_text(), maxsplit=1, flags=re.MULTILINE)[1].split("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found[name].append(value)
    return found


def _calls_of(group: str) -> set[str]:
    """The system calls of a group, as systemd knows it."""
    if not group.startswith("@"):
        return {group}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    lines = (line.strip() for line in shown.stdout.splitlines()[1:])
    return {call for line in lines if line and not line.startswith("#") for call in _calls_of(line)}


def _allow_calls(values: list[str], action: int) -> None:
    allowed: set[str] = set()
    for value in values:
        calls = {call for group in value.lstrip("~").split() for call in _calls_of(group)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    listed = _Filter(action)
    # What systemd lets a service do whatever it lists: to be started, and to end.
    for call in allowed | _calls_of("@default") | {"execve", "exit", "exit_group", "rt_sigreturn"}:
        listed.add(_ALLOW, call)
    listed.load()


def _forbid(directive: dict[str, list[str]]) -> None:
    action = _ERRNO | getattr(errno, directive["SystemCallErrorNumber"][0])
    eperm = _ERRNO | errno.EPERM
    forbidden = _Filter(_ALLOW)
    if directive["MemoryDenyWriteExecute"] == ["yes"]:
        both = _PROT_WRITE | _PROT_EXEC
        forbidden.add(eperm, "mmap", (2, _MASKED_EQUAL, both, both))
        forbidden.add(eperm, "mprotect", (2, _MASKED_EQUAL, _PROT_EXEC, _PROT_EXEC))
        forbidden.add(eperm, "pkey_mprotect", (2, _MASKED_EQUAL, _PROT_EXEC, _PROT_EXEC))
        forbidden.add(eperm, "shmat", (2, _MASKED_EQUAL, _SHM_EXEC, _SHM_EXEC))
    if directive["RestrictNamespaces"] == ["yes"]:
        for bit in (1 << n for n in range(32) if _CLONE_NAMESPACES >> n & 1):
            forbidden.add(eperm, "unshare", (0, _MASKED_EQUAL, bit, bit))
            forbidden.add(eperm, "clone", (0, _MASKED_EQUAL, bit, bit))
        forbidden.add(eperm, "setns")
        # Its flags are behind a pointer; told that it is missing, the C library falls back.
        forbidden.add(_ERRNO | errno.ENOSYS, "clone3")
    if directive["RestrictRealtime"] == ["yes"]:
        for policy in (os.SCHED_FIFO, os.SCHED_RR, 6):
            forbidden.add(eperm, "sched_setscheduler", (1, _EQUAL, policy, 0))
    if directive["RestrictSUIDSGID"] == ["yes"]:
        for bit in (0o4000, 0o2000):
            for call, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2)):
                forbidden.add(eperm, call, (argument, _MASKED_EQUAL, bit, bit))
    if directive["LockPersonality"] == ["yes"]:
        forbidden.add(eperm, "personality", (0, _NOT_EQUAL, _PERSONALITY_LINUX, 0))
    families = {getattr(socket, name) for value in directive["RestrictAddressFamilies"] for name in value.split()}
    for family in set(range(64)) - {int(each) for each in families}:
        forbidden.add(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _EQUAL, family, 0))
    forbidden.load()
    _allow_calls(directive["SystemCallFilter"], action)


def main() -> None:
    unit, command = Path(sys.argv[1]), sys.argv[2:]
    directive = directives(unit)
    os.umask(int(directive["UMask"][0], 8))
    # Where the machine allows no more than it has, that is the limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(int(directive["LimitNOFILE"][0]), hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    assert directive["CapabilityBoundingSet"] == [""]
    for capability in range(_CAPABILITY_MAX + 1):
        # Fails for one that this kernel has not, or that is not ours to drop: then we have none.
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    assert directive["NoNewPrivileges"] == ["yes"]
    _done(0 if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 else ctypes.get_errno(), "no_new_privs")
    _forbid(directive)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
