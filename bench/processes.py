"""What a process and its descendants take, as Linux's /proc tells it; elsewhere nothing is known."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = [
    "Usage",
    "children",
    "descriptors",
    "peak_mb",
    "processor_seconds",
    "resident_mb",
    "usage",
    "with_descendants",
]

TICKS = os.sysconf("SC_CLK_TCK")
"""The clock ticks of a second, in which /proc counts processor time."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server takes at one moment.

    :ivar memory_mb: MB (10^6 bytes) of resident memory.
    :ivar cpu_s: seconds of processor time since it started.
    """

    memory_mb: float
    cpu_s: float


def usage(pid: int) -> Usage | None:
    """Look at a server: its process, and those of its descendants that are the server's too, as with OpenSSH.

    A job is none: it has another name than the server.

    :param pid: the server's process.
    :returns: what they take together, or ``None`` where there is no /proc.
    """
    name = _name(pid)
    if name is None:
        return None
    memory = cpu = 0.0
    for process in with_descendants(pid):
        # sshd's sessions are called sshd too, or sshd-session from OpenSSH 9.8.
        if (_name(process) or "").startswith(name):
            memory += resident_mb(process)
            cpu += processor_seconds(process)
    return Usage(memory, cpu)


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had, in MB; 0 where there is no /proc."""
    return _memory(pid, "VmHWM:")


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB; 0 where there is no /proc."""
    return _memory(pid, "VmRSS:")


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, user's and system's, in seconds; 0 without a /proc."""
    # The name in parentheses may have spaces; user and system time are the 12th and 13th field after it.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies included; none where there is no /proc."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(pid, f"task/{thread}/children").split()]


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open; 0 where there is no /proc."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def with_descendants(pid: int) -> list[int]:
    """Return a process and all that it has started, as far as they are there."""
    found = [pid]
    for process in found:
        found += children(process)
    return found


def _name(pid: int) -> str | None:
    return _read(pid, "comm").strip() or None


def _memory(pid: int, field: str) -> float:
    for line in _read(pid, "status").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _read(pid: int, what: str) -> str:
    try:
        with open(f"/proc/{pid}/{what}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # no /proc, or the process is gone
        return ""
