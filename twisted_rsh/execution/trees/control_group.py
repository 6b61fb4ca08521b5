"""The control group (cgroup v2) of a server: all of its jobs are born in it, and no daemon gets out of it by itself.

All jobs share one group, which the server enters once.  Measured on Linux 6.18: before the kernel moves a process from
one group into another, it waits until every processor has passed through the scheduler, 11 ms on a machine that is not
busy, and no process on the machine can fork meanwhile; a command takes 1 ms.  A group for each job would make that
12 ms, and a job could fork before it is moved.  To be born in a group costs nothing, and leaves no such moment.
``CLONE_INTO_CGROUP`` would do so for each job, but ``os.posix_spawn`` does not offer it.

Sources: cgroups(7); the kernel's Documentation/admin-guide/cgroup-v2.rst, "Delegation" and "cgroup.kill".
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping

from twisted_rsh.execution.trees.table import ProcessTable

__all__ = ["DOOMED", "GROUP_PREFIX", "ControlGroup", "ControlGroupUnavailable"]

GROUP_PREFIX = "twisted-rsh-"
"""The beginning of the name of every server's group."""

DOOMED = "doomed"
"""The name of the group, inside that of the server, into which processes are moved to be killed."""

_NAME_BYTES = 4
"""Random bytes in a group's name, behind the server's process id: a later server may have the same process id."""


class ControlGroupUnavailable(Exception):
    """This process can have no control group; ``str()`` is one line that says why."""


class ControlGroup:
    """One server's control group.

    Call :meth:`create`, then :meth:`enter`, and :meth:`leave` in the end; in between :meth:`kill` ends what a signal
    cannot.  Everything that this process starts after it has entered is in the group too, so only a program that is a
    server and nothing else should enter.

    :param proc: where ``/proc`` is.
    :ivar path: the group's folder; ``None`` while there is none.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._outer: str | None = None
        self.path: str | None = None

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
        return path

    def enter(self) -> str:
        """Move this process into the group, so that what it starts from now on is born there.  Takes 10 ms or so.

        :returns: the group's folder.
        :raises ControlGroupUnavailable: this process may not; the group is removed.
        """
        assert self.path is not None, "create the group first"
        try:
            _write(f"{self.path}/cgroup.procs", b"0")
        except OSError as e:
            path, self.path = self.path, None
            _remove(path)
            raise ControlGroupUnavailable(f"{path}: {e.strerror}") from None
        return self.path

    def leave(self) -> None:
        """Move this process back to the group that it came from, and remove its own unless a process runs in it."""
        if self.path is not None:
            with contextlib.suppress(OSError):  # the group that it came from may be gone, or full
                _write(f"{self._outer}/cgroup.procs", b"0")
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

    def _kill(self, folder: str, members: Mapping[int, int], table: ProcessTable) -> None:
        with contextlib.suppress(FileExistsError):  # it stays while what was killed is on its way out
            os.mkdir(folder, 0o755)
        for pid in members:
            with contextlib.suppress(OSError):
                _write(f"{folder}/cgroup.procs", b"%d" % pid)
        # This look follows the move: the kill reaches what is in the group now, whichever process has the number.
        for pid, started in members.items():
            record = table.read(pid)
            if record is not None and record.started != started:
                _write(f"{self.path}/cgroup.procs", b"%d" % pid)
        _write(f"{folder}/cgroup.kill", b"1")

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


def _write(path: str, text: bytes) -> None:
    """Write to a file of the kernel's, at once."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
