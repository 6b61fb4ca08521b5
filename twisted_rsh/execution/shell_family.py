"""The processes below a persistent shell: whom a signal is for that is not meant for the shell itself.

Linux lists the children of a process in ``/proc/PID/task/TID/children`` (proc(5)), which takes 10 us.  Where there is
no such thing, as on macOS, nothing is known, and :func:`children` says so.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

__all__ = ["MAX_FAMILY", "children", "descendants", "signal_all", "stopped_children", "would_die"]

MAX_FAMILY = 4096
"""Processes that are looked for below one shell: the walk takes 20 us for each, and keeps the reactor so long."""

_MAX_LIST_BYTES = 64 * 1024
"""Bytes of one list of children: 8,000 numbers or so, more than :data:`MAX_FAMILY`."""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_LIST_BYTES)


def children(pid: int) -> set[int] | None:
    """List the children of a process, of all its threads.

    :param pid: the process.
    :returns: their numbers, none when it is gone; ``None`` where the system does not tell.
    """
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.update(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    except (FileNotFoundError, ProcessLookupError):
        # Of this process itself the system would tell, if it told of any.
        return found if os.path.exists("/proc/self/task") else None
    return found


def descendants(pid: int, without: Collection[int] = ()) -> list[int] | None:
    """List the processes below another.

    :param pid: the one above, which is not in the list.
    :param without: children of it that are left out, with all that is below them.
    :returns: their numbers, parents first, at most :data:`MAX_FAMILY`; ``None`` where the system does not tell.
    """
    first = children(pid)
    if first is None:
        return None
    found = sorted(first.difference(without))
    for one in found:
        if len(found) >= MAX_FAMILY:
            break
        found += sorted((children(one) or set()).difference(found))
    return found[:MAX_FAMILY]


def signal_all(pids: Collection[int], number: int) -> None:
    """Send a signal to processes, as far as they are there and ours.

    :param pids: their numbers, looked up just now.
    :param number: the signal's number.
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _status_of(pid: int) -> dict[bytes, bytes]:
    """Read what the system says of a process, by name; nothing when it is gone, or where the system says nothing."""
    try:
        lines = _read(f"/proc/{pid}/status").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def would_die(pid: int, number: int) -> bool:
    """Say whether a signal's default action is what a process would get: it neither catches nor ignores nor blocks it.

    Who would and still lives has not got the signal that was sent a moment ago.

    :param pid: the process.
    :param number: the signal's number.
    :returns: whether it would, as far as the system tells.
    """
    status = _status_of(pid)
    masks = [status.get(name) for name in (b"SigCgt", b"SigIgn", b"SigBlk")]
    return all(mask is not None and not int(mask, 16) & 1 << (number - 1) for mask in masks)


def stopped_children(pid: int) -> set[tuple[int, int]] | None:
    """List the children of a process that a signal has suspended.

    :param pid: the process.
    :returns: pairs of a child's number and of how often the system has switched to it: who has been continued and
        suspended again since the last look has another pair.  ``None`` where the system does not tell.
    """
    below = children(pid)
    if below is None:
        return None
    found = set()
    for child in below:
        status = _status_of(child)
        if status.get(b"State", b"").startswith(b"T"):
            names = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")
            found.add((child, sum(int(status.get(name, b"0")) for name in names)))
    return found
