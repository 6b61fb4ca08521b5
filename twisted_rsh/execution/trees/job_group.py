"""The control group (cgroup v2) of one job that has bounds: what it keeps, what it has used, and its end.

The kernel moves a process into another group only after every processor has passed through the scheduler
(:mod:`twisted_rsh.execution.trees.control_group`), so only a job that has a bound gets a group, and its first process
moves itself (:attr:`twisted_rsh.execution.processes.spawn.SpawnPlan.joins`): the server does not wait for that.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files", "Memory" and "PID".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from twisted_rsh.core.endings import Limit

__all__ = ["CONTROLLERS", "JobGroup", "write"]

CONTROLLERS = {Limit.PROCESSES: "pids", Limit.MEMORY: "memory"}
"""The controller that keeps each limit.  Processor time needs none: every group counts it, and the server looks."""


class JobGroup:
    """The group of one job; made by :meth:`twisted_rsh.execution.trees.control_group.ControlGroup.enclose`.

    :param path: its folder, which exists.
    :param kept: the limits whose controllers it has.
    :ivar path: the folder.
    :ivar kept: the limits that the kernel keeps, once :meth:`bound` has set them.
    """

    def __init__(self, path: str, kept: Collection[Limit]) -> None:
        self.path = path
        self.kept = frozenset(kept)

    def bound(self, memory: int | None, processes: int | None) -> None:
        """Set the limits of the controllers that there are; what is above a new one stays until it is killed.

        A limit that the kernel does not take is not one of :attr:`kept` from then on.

        :param memory: bytes, which do not grow into swap space; ``None`` for no limit.
        :param processes: processes and threads at once; ``None`` for no limit.
        """
        if Limit.MEMORY in self.kept:
            with contextlib.suppress(
                OSError
            ):  # a system without swap space, or that does not count it, has no such file
                write(f"{self.path}/memory.swap.max", b"max" if memory is None else b"0")
            self._set(Limit.MEMORY, {"memory.oom.group": b"1", "memory.max": _number(memory)})
        if Limit.PROCESSES in self.kept:
            self._set(Limit.PROCESSES, {"pids.max": _number(processes)})

    def _set(self, limit: Limit, files: dict[str, bytes]) -> None:
        try:
            for name, text in files.items():
                write(f"{self.path}/{name}", text)
        except OSError:
            self.kept -= {limit}

    @property
    def is_populated(self) -> bool:
        """Tell whether a process runs in it; a zombie does not."""
        return self._counts("cgroup.events").get("populated") == 1

    def pids(self) -> list[int]:
        """Find the numbers of the processes in it."""
        return [int(word) for word in self._read("cgroup.procs").split() if word.isdigit()]

    def seconds(self) -> float:
        """Return the processor time, user's and system's, that its processes have taken so far."""
        return self._counts("cpu.stat").get("usage_usec", 0) / 1_000_000

    def reached(self) -> Limit | None:
        """Return the limit that the kernel has enforced: it has refused a fork, or killed the group for its memory."""
        if Limit.PROCESSES in self.kept and self._counts("pids.events").get("max"):
            return Limit.PROCESSES
        if Limit.MEMORY in self.kept:
            events = self._counts("memory.events")
            # A kill alone may be for the memory of the whole machine.
            if events.get("oom") and events.get("oom_kill"):
                return Limit.MEMORY
        return None

    def kill(self) -> bool:
        """Kill every process in it by one write (Linux 5.14), also what is being forked.

        :returns: whether there were any, and the kernel could.
        """
        if not self.is_populated:
            return False
        try:
            write(f"{self.path}/cgroup.kill", b"1")
        except OSError:
            return False
        return True

    def remove(self) -> bool:
        """Remove the group, and return whether it is gone: not while a process is in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
        return not os.path.exists(self.path)

    def _read(self, name: str) -> str:
        try:
            with open(f"{self.path}/{name}", encoding="ascii") as file:
                return file.read()
        except OSError:  # it was removed, or this kernel has no such file
            return ""

    def _counts(self, name: str) -> dict[str, int]:
        """Read a file of names and numbers."""
        pairs = (line.split() for line in self._read(name).splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(limit: int | None) -> bytes:
    return b"max" if limit is None else b"%d" % limit


def write(path: str, text: bytes) -> None:
    """Write to a file of the kernel's, at once.

    :param path: the file, which exists.
    :param text: what to write.
    :raises OSError: the kernel refuses.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
