"""The control group (cgroup v2) of a server: all of its jobs are born in it, and no daemon gets out of it by itself.

Jobs without bounds share one group, which the server enters once.  Measured on Linux 6.18: before the kernel moves a
process from one group into another, it waits until every processor has passed through the scheduler, 11 ms on a machine
that is not busy, and no process on the machine can fork meanwhile; a command takes 1 ms.  A group for each job would
make that 12 ms.  To be born in a group costs nothing.  ``CLONE_INTO_CGROUP`` would do so for each job, but
``os.posix_spawn`` does not offer it.  So only a job that has bounds gets a group of its own
(:meth:`ControlGroup.enclose`).

A group whose members have controllers may hold no process itself.  So the groups lie side by side in the group in which
the server was started, which is empty then: the server's, with the jobs that have no bounds; the guardian's; and one
for each job that has bounds.

Sources: cgroups(7); the kernel's Documentation/admin-guide/cgroup-v2.rst, "Delegation" and "cgroup.kill".
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping

from twisted_rsh.core.endings import Limit
from twisted_rsh.execution.trees.job_group import CONTROLLERS, JobGroup, write
from twisted_rsh.execution.trees.table import ProcessTable

__all__ = ["DOOMED", "GROUP_PREFIX", "MAX_LEFT", "ControlGroup", "ControlGroupUnavailable"]

GROUP_PREFIX = "twisted-rsh-"
"""The beginning of the name of every server's group."""

DOOMED = "doomed"
"""The name of the group, inside that of the server, into which processes are moved to be killed."""

GUARDIAN = "-guardian"
"""What follows the name of the server's group in the name of the guardian's; the guardian's program has it too."""

MAX_LEFT = 1024
"""Groups of ended jobs in which something still runs.  Beyond, a job gets no group: the kernel keeps several kilobytes
for each, more with a memory controller."""

_REMOVED_AT_ONCE = 8
"""Groups of ended jobs that the server tries to remove when a job starts: 0.1 ms each, and more than one, so that they
become fewer."""

_NAME_BYTES = 4
"""Random bytes in a group's name, after the server's process id: a later server may have the same process id."""


class ControlGroupUnavailable(Exception):
    """This process can have no control group; ``str()`` is one line that says why."""


class ControlGroup:
    """One server's control group.

    Call :meth:`create`, then :meth:`enter`, and :meth:`leave` in the end; in between :meth:`kill` ends what a signal
    cannot.  Everything that this process starts after it has entered is in the group too, so only a program that is a
    server and nothing else should enter.  :meth:`enclose` makes the group of a job that has bounds.

    :param proc: where ``/proc`` is.
    :ivar path: the group's folder; ``None`` while there is none.
    :ivar controllers: those that this process wants to enable for the groups of jobs; known after :meth:`create`.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._outer: str | None = None
        self._count = 0
        self._left: list[JobGroup] = []
        self._kept: frozenset[Limit] = frozenset()
        self.path: str | None = None
        self.controllers: tuple[str, ...] = ()

    def create(self) -> str:
        """Make the group, below the one that this process is in, and remove the empty ones of servers that are gone.

        A process that still runs in such a group was left there by a job that had ended, or by a guardian that was
        killed as well.  It is left alone, and a later server removes its group.

        :returns: the group's folder.
        :raises ControlGroupUnavailable: this system has no cgroup v2, or this process may not divide its own group.
        """
        outer = self._find()
        path = f"{outer}/{GROUP_PREFIX}{os.getpid()}-{secrets.token_hex(_NAME_BYTES)}"
        try:
            self._remove_left_over(outer)
            os.mkdir(path, 0o755)
        except OSError as e:
            raise ControlGroupUnavailable(f"{outer}: {e.strerror}") from None
        self._outer, self.path = outer, path
        self.controllers = self._find_controllers(outer)
        return path

    def enter_guardians(self) -> None:
        """Move this process into the guardian's group, if the guardian needs one, so that it is born there."""
        if self.controllers:
            try:
                os.mkdir(f"{self.path}{GUARDIAN}", 0o755)
                write(f"{self.path}{GUARDIAN}/cgroup.procs", b"0")
            except OSError:
                self.controllers = ()

    def enter(self) -> str:
        """Move this process into the group, so that what it starts from now on is born there.  Takes 10 ms or so.

        :returns: the group's folder.
        :raises ControlGroupUnavailable: this process may not; the group is removed.
        """
        assert self.path is not None, "create the group first"
        try:
            write(f"{self.path}/cgroup.procs", b"0")
        except OSError as e:
            path = self.path
            self.leave()
            raise ControlGroupUnavailable(f"{path}: {e.strerror}") from None
        for name in self.controllers:
            with contextlib.suppress(OSError):  # EBUSY: something else is in the group that it came from
                write(f"{self._outer}/cgroup.subtree_control", b"+" + name.encode("ascii"))
        enabled = _words(f"{self._outer}/cgroup.subtree_control")
        self._kept = frozenset(limit for limit, name in CONTROLLERS.items() if name in enabled)
        return self.path

    @property
    def bounds_kept(self) -> str:
        """Say in one line, for the log, by which means the bounds of a job are kept."""
        kept = " and ".join(limit.value for limit in CONTROLLERS if limit in self._kept)
        if not kept:
            return "the server looks whether they keep their bounds, as it may enable no controllers there"
        looked_at = ", ".join(limit.value for limit in (*CONTROLLERS, Limit.CPU) if limit not in self._kept)
        return f"the kernel keeps their bounds of {kept}, and the server looks at {looked_at}"

    def enclose(self, memory: int | None, processes: int | None) -> JobGroup | None:
        """Make a group for a job that has bounds.  Takes 0.1 ms or so; the job's first process has to move into it.

        :param memory: bytes that the job may use, or ``None`` for no limit.
        :param processes: processes and threads that it may have at once, or ``None`` for no limit.
        :returns: the group; ``None`` where there is none to be had.
        """
        self._remove_some()
        if self.path is None or len(self._left) >= MAX_LEFT:
            return None
        self._count += 1
        path = f"{self.path}-job{self._count}"
        try:
            os.mkdir(path, 0o755)
        except OSError:
            return None
        group = JobGroup(path, self._kept)
        group.bound(memory, processes)
        return group

    def release(self, group: JobGroup) -> None:
        """Remove the group of a job that is over: now, or later if something still runs in it.

        :param group: what :meth:`enclose` returned.
        """
        if not group.remove() and group not in self._left:
            self._left.append(group)

    def _remove_some(self) -> None:
        tried, self._left = self._left[:_REMOVED_AT_ONCE], self._left[_REMOVED_AT_ONCE:]
        self._left += [group for group in tried if not group.remove()]

    def leave(self) -> None:
        """Move this process back to the group that it came from, and remove its own unless a process runs in it."""
        if self.path is not None:
            for name in self.controllers:
                with contextlib.suppress(OSError):  # it was not enabled
                    write(f"{self._outer}/cgroup.subtree_control", b"-" + name.encode("ascii"))
            with contextlib.suppress(OSError):  # the group that it came from may be gone, or full
                write(f"{self._outer}/cgroup.procs", b"0")
            for group in self._left:
                group.remove()
            path, self.path = self.path, None
            _remove(path)

    def kill(self, members: Mapping[int, int], table: ProcessTable) -> None:
        """Kill processes that this process may not signal, such as those that ``sudo`` has made another user's.

        This moves them into a group of their own and kills that as a whole (Linux 5.14), with everything that they have
        forked in between.  Takes 10 ms or so.  It leaves alone what it cannot move, and does nothing where the kernel
        cannot kill a group, or when there is no group.

        :param members: the numbers of the processes, and the clock ticks at which each was started
            (:attr:`~twisted_rsh.execution.trees.table.ProcessRecord.started`).
        :param table: tells whether a number still belongs to the process.
        """
        if self.path is not None:
            with contextlib.suppress(OSError):  # the caller asks again while any of them is there
                self._kill(f"{self.path}/{DOOMED}", members, table)

    def _find(self) -> str:
        """Find the folder of the group that this process is in."""
        try:
            with open(f"{self._proc}/self/cgroup", "rb") as file:
                own = _own_path(os.fsdecode(file.read()))
            with open(f"{self._proc}/self/mountinfo", "rb") as file:
                folder = None if own is None else _mounted_at(os.fsdecode(file.read()), own)
        except OSError:
            folder = None
        if folder is None:
            raise ControlGroupUnavailable("this system shows no cgroup v2")
        for name in ("", "/cgroup.procs"):
            if not os.access(folder + name, os.W_OK):
                raise ControlGroupUnavailable(f"{folder} is not delegated to this user (systemd: Delegate=yes)")
        return folder

    @staticmethod
    def _find_controllers(outer: str) -> tuple[str, ...]:
        """Find the controllers that this process has to enable: not in the root, where others may rely on them."""
        if not os.path.exists(f"{outer}/cgroup.events"):  # the root group has none
            return ()
        wanted = _words(f"{outer}/cgroup.controllers") - _words(f"{outer}/cgroup.subtree_control")
        return tuple(name for name in CONTROLLERS.values() if name in wanted)

    def _kill(self, folder: str, members: Mapping[int, int], table: ProcessTable) -> None:
        with contextlib.suppress(FileExistsError):  # it stays while what was killed is on its way out
            os.mkdir(folder, 0o755)
        for pid in members:
            with contextlib.suppress(OSError):
                write(f"{folder}/cgroup.procs", b"%d" % pid)
        # This look follows the move: the kill reaches what is in the group now, whichever process has the number.
        for pid, started in members.items():
            record = table.read(pid)
            if record is not None and record.started != started:
                write(f"{self.path}/cgroup.procs", b"%d" % pid)
        write(f"{folder}/cgroup.kill", b"1")

    def _remove_left_over(self, outer: str) -> None:
        """Remove the groups of servers that are gone, as far as nothing is in them."""
        for name in os.listdir(outer):
            pid = name.removeprefix(GROUP_PREFIX).partition("-")[0]
            if name.startswith(GROUP_PREFIX) and not os.path.exists(f"{self._proc}/{pid}"):
                _remove(f"{outer}/{name}")


def _own_path(text: str) -> str | None:
    """Find the path of a process's group within the hierarchy in ``/proc/PID/cgroup``; ``None`` for none."""
    for line in text.split("\n"):
        if line.startswith("0::/"):
            path = line[len("0::") :]
            # Outside of what its namespace shows, or removed while the process was in it.
            return None if path.startswith("/..") or path.endswith(" (deleted)") else path
    return None


def _mounted_at(mounts: str, path: str) -> str | None:
    """Find the folder of a group in ``/proc/PID/mountinfo`` (proc(5)); ``None`` when no mount shows it."""
    for line in mounts.split("\n"):
        mount, _, kind = line.partition(" - ")
        fields = [_unescaped(field) for field in mount.split()]
        if kind.split()[:1] != ["cgroup2"]:
            continue
        root, folder = fields[3].rstrip("/"), fields[4].rstrip("/")
        if path == root or path.startswith(f"{root}/"):
            return (folder + path[len(root) :]).rstrip("/")
    return None


def _unescaped(field: str) -> str:
    r"""Undo the escapes of mountinfo for blanks and backslashes: ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _remove(path: str) -> None:
    """Remove a server's group, unless a process runs in it: a server that starts later removes it then."""
    for folder in (f"{path}/{DOOMED}", path):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _words(path: str) -> set[str]:
    """Read the words of a file of the kernel's; none where there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return set(file.read().split())
    except OSError:
        return set()
