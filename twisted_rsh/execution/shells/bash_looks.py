"""What bash does at a moment, as ``/proc`` tells it: whether it waits for its next line, or is inside a command.

Source: proc(5), ``/proc/PID/syscall``.
"""

from __future__ import annotations

import platform
import resource

from twisted_rsh.execution.shells.command_terminal import CommandTerminal

__all__ = ["is_idle", "is_inside", "is_starved"]

_READS = {"x86_64": frozenset({0, 23, 270}), "aarch64": frozenset({63, 72})}.get(platform.machine(), frozenset({0}))
"""The system calls by which bash waits for its next line: read, select, pselect6."""

_READ = frozenset({0, 63}) & _READS
"""Those of them that read one descriptor."""

_NEEDED_DESCRIPTORS = 12
"""Descriptors without which bash cannot keep its terminal aside for the time of a command."""


def is_inside(pid: int, terminal: CommandTerminal) -> bool:
    """Return whether bash has read the whole text and has taken the input in place of its terminal.

    :param pid: bash's process.
    :param terminal: the one that it reads its commands from.
    """
    return not terminal.unread() and not _reads_from(pid, 0, terminal)


def is_idle(pid: int, terminal: CommandTerminal) -> bool:
    """Return whether bash waits for its next line.  The parameters are those of :func:`is_inside`."""
    if terminal.unread() or not _reads_from(pid, 0, terminal):
        return False
    try:
        call = _system_call(pid)
    except OSError:
        return True
    if not call or not call[0].isdigit() or int(call[0]) not in _READS:
        return False
    if int(call[0]) not in _READ or len(call) < 2:
        return True  # of several descriptors: only line editing waits so
    # A command substitution, such as one in the user's own hook, is read from a pipe.
    return _reads_from(pid, int(call[1], 16), terminal)


def is_starved(pid: int) -> bool:
    """Return whether bash reads a line from elsewhere, as it has no descriptor left to take its terminal back.

    :param pid: bash's process.
    """
    try:
        call = _system_call(pid)
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    except (OSError, AttributeError):
        return False
    is_reading = len(call) > 1 and call[0].isdigit() and int(call[0]) in _READS and call[1] == b"0x0"
    return is_reading and 0 <= limit < _NEEDED_DESCRIPTORS


def _reads_from(pid: int, fd: int, terminal: CommandTerminal) -> bool:
    return terminal.is_at(f"/proc/{pid}/fd/{fd}")


def _system_call(pid: int) -> list[bytes]:
    """Return the number of the system call that a process is in, and its arguments; a word if it is in none."""
    with open(f"/proc/{pid}/syscall", "rb") as file:
        return file.read(32).split()
