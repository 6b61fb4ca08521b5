"""What the system shows of a persistent shell: its folder, its background jobs, whether its command waits for input.

The shell itself is not asked: it may be busy, and it must not notice.  A process waits for input when ``/proc`` shows
it blocked in a system call that reads the command's input, or that waits until this, and nothing else, can be read.
Sources: proc(5), ``/proc/PID/syscall``, ``/proc/PID/cwd``, ``/proc/PID/fdinfo``; the tables of system calls of Linux.
"""

from __future__ import annotations

import os
import platform
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from twisted_rsh.core.limits import MAX_CWD_BYTES, MAX_JOB_COMMAND_BYTES, MAX_LISTED_JOBS
from twisted_rsh.core.shell_state import BackgroundJob, JobState
from twisted_rsh.execution.shells.signals import ShellSignals, status_of
from twisted_rsh.execution.trees.table import ProcessRecord

__all__ = [
    "CONTROLLING_TERMINAL",
    "MAX_LOOKS",
    "MAX_POLLED",
    "FileIdentity",
    "ShellInspector",
    "file_identity",
    "waits_for",
]

MAX_LOOKS = 64
"""Threads of a command that one look examines, and its processes, and children of a shell.  A turn of the reactor with
such a look took 9 to 12 ms on a busy machine (``bench.attacks.held_reactor``).  What further ones do is not known."""

MAX_POLLED = 256
"""Descriptors of one waiting system call that are examined.  A program that waits for more is no mere reader."""

_MAX_CALL_BYTES = 256
_MAX_FDINFO_BYTES = 16 * 1024

FileIdentity = tuple[int, int]
"""A file for good: its device and its inode; of a device, such as a terminal, its number alone, whatever its name."""

CONTROLLING_TERMINAL: FileIdentity = (os.makedev(5, 0), 0)
"""``/dev/tty``, by which programs ask for a password."""


def file_identity(status: os.stat_result) -> FileIdentity:
    """Return what two descriptors of one file have in common."""
    return (status.st_rdev, 0) if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)


@dataclass(frozen=True, slots=True)
class _Calls:
    """The numbers of the system calls that wait for input, on one machine."""

    read: frozenset[int]
    poll: frozenset[int]
    select: frozenset[int]
    epoll: frozenset[int]


_GENERIC = _Calls(  # read, readv, splice; ppoll; pselect6; epoll_pwait, epoll_pwait2
    frozenset({63, 65, 76}), frozenset({73}), frozenset({72}), frozenset({22, 441})
)
_CALLS = {
    "x86_64": _Calls(  # the same with poll, select and epoll_wait
        frozenset({0, 19, 275}), frozenset({7, 271}), frozenset({23, 270}), frozenset({232, 281, 441})
    ),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
}
_MACHINE = _CALLS.get(platform.machine())

_DELETED = b" (deleted)"
"""The end of the link to a folder that was removed, unless the folder has that name."""

_POLLED = struct.Struct("=ihh")  # struct pollfd
_READABLE = 0x41  # POLLIN and POLLRDNORM, which are also EPOLLIN and EPOLLRDNORM


class _Hidden(Exception):
    """The system does not show what a process does: it is another user's, or this is another kind of machine."""


def waits_for(pids: Iterable[int], inputs: frozenset[FileIdentity]) -> bool | None:
    """Tell whether a thread of some processes is blocked until the input can be read, and waits for nothing else.

    :param pids: the processes.
    :param inputs: the files that count as the input.
    :returns: whether one is; ``None`` where that is not known.  A process that is gone waits for nothing.
    """
    left = MAX_LOOKS
    is_known = True
    for pid in pids:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
            if any(_thread_waits(pid, f"/proc/{pid}/task/{thread}", inputs) for thread in threads[:left]):
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
        except _Hidden:
            is_known = False
            continue
        is_known = is_known and len(threads) <= left
        left = max(0, left - len(threads))
    return False if is_known else None


def _thread_waits(pid: int, thread: str, inputs: frozenset[FileIdentity]) -> bool:
    if _MACHINE is None:
        raise _Hidden
    try:
        words = _contents(f"{thread}/syscall", _MAX_CALL_BYTES).split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    if len(words) < 7:  # it runs, or is blocked in no system call
        return False
    number = int(words[0])
    first, second, third = (int(word, 16) for word in words[1:4])
    if number in _MACHINE.read:
        waited_for: Iterable[int] = (first,)
    elif number in _MACHINE.poll:
        waited_for = _polled(pid, first, second)
    elif number in _MACHINE.select:
        # The descriptors that are to become writable make it a wait for something else.
        waited_for = () if any(_selected(pid, first, third)) else _selected(pid, first, second)
    elif number in _MACHINE.epoll:
        waited_for = _registered(pid, first)
    else:
        return False
    found = [_identity(pid, fd) in inputs for fd in waited_for]
    return bool(found) and all(found)


def _polled(pid: int, address: int, count: int) -> list[int]:
    """Return the descriptors of an array of struct pollfd; none where it waits for more than input."""
    if count > MAX_POLLED:
        return []
    entries = [entry for entry in _POLLED.iter_unpack(_memory(pid, address, count * _POLLED.size)) if entry[0] >= 0]
    return [fd for fd, events, _ in entries] if all(events & _READABLE for _, events, _ in entries) else []


def _selected(pid: int, count: int, address: int) -> list[int]:
    """Return the descriptors of a set of select(2)."""
    if not address or not 0 < count <= 8 * 1024:
        return []
    words = (count + 63) // 64
    bits = int.from_bytes(_memory(pid, address, words * 8), "little") & ((1 << count) - 1)
    return [fd for fd in range(count) if bits >> fd & 1][:MAX_POLLED]


def _registered(pid: int, poller: int) -> list[int]:
    """Return the descriptors that an epoll instance waits for, but those that only wake the process itself up."""
    lines = _contents(f"/proc/{pid}/fdinfo/{poller}", _MAX_FDINFO_BYTES).splitlines()
    found = []
    for words in (line.split() for line in lines if line.startswith(b"tfd:")):
        fd, events = int(words[1]), int(words[3], 16)
        if not _link(pid, f"fd/{fd}").startswith(b"anon_inode:"):
            found.append(fd if events & _READABLE else -1)
    return found


def _identity(pid: int, fd: int) -> FileIdentity | None:
    try:
        return file_identity(os.stat(f"/proc/{pid}/fd/{fd}"))
    except PermissionError:
        raise _Hidden from None
    except OSError:  # closed meanwhile, or a number that is no descriptor
        return None


def _memory(pid: int, address: int, size: int) -> bytes:
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise _Hidden from None
    try:
        data = os.pread(fd, size, address)
    except (OSError, OverflowError):  # the memory is gone again
        return b""
    finally:
        os.close(fd)
    return data if len(data) == size else b""


def _contents(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(limit) or b""
    except PermissionError:
        raise _Hidden from None


def _link(pid: int, name: str) -> bytes:
    """Return the target of a link of a process; empty where it is not to be had."""
    try:
        return os.readlink(f"/proc/{pid}/{name}".encode())
    except OSError:
        return b""


class ShellInspector:
    """Looks at one shell and its processes.

    Where there is no ``/proc``, as on macOS, and for processes of another user, it knows nothing.

    :param pid: the shell's process id, of a process that has not been waited for.
    :param signals: knows the processes of the command and those of earlier ones.
    :param encoding: the code page of the shell's text, as Python names it.
    """

    def __init__(self, pid: int, signals: ShellSignals, encoding: str) -> None:
        self._pid = pid
        self._signals = signals
        self._encoding = encoding
        self._known_folder: tuple[bytes, str] = (b"", "")

    def folder(self) -> str | None:
        """Return the folder that the shell is in; ``None`` where that is not known, and for one that was removed."""
        path = _link(self._pid, "cwd")
        if not path.startswith(b"/"):  # it is outside of what this process can see, or not shown
            return None
        if path == self._known_folder[0]:
            return self._known_folder[1]
        if path.endswith(_DELETED):
            try:
                if os.stat(f"/proc/{self._pid}/cwd").st_nlink == 0:
                    return None
            except OSError:
                return None
        text = path.decode(self._encoding, "surrogateescape")
        if len(text.encode("utf-8", "surrogateescape")) > MAX_CWD_BYTES:
            return None
        if not path.endswith(_DELETED):
            self._known_folder = path, text
        return text

    def waits_for_input(self, inputs: frozenset[FileIdentity]) -> bool | None:
        """Tell whether the shell, or a process of its command, waits for the command's input and for nothing else.

        :param inputs: the files that are the input: its FIFO, or its terminal.
        :returns: whether one does; ``None`` where that is not known.
        """
        records = self._signals.descendants(MAX_LOOKS)
        if records is None:
            return None
        answer = waits_for((self._pid, *(record.pid for record in records)), inputs)
        return None if answer is False and len(records) == MAX_LOOKS else answer

    def jobs(self, *, runs_command: bool) -> tuple[tuple[BackgroundJob, ...] | None, int]:
        """List the processes in the background of the shell.

        :param runs_command: whether a command runs, whose own processes are left out.
        :returns: the first :data:`~twisted_rsh.core.limits.MAX_LISTED_JOBS` that were started, ``None`` where they are
            not known; and how many more there are.
        """
        found = self._signals.background(MAX_LOOKS, runs_command=runs_command)
        if found is None:
            return None, 0
        records, more = found
        records.sort(key=lambda record: (record.started, record.pid))
        listed = tuple(map(self._job, records[:MAX_LISTED_JOBS]))
        return listed, more + len(records) - len(listed)

    def _job(self, record: ProcessRecord) -> BackgroundJob:
        status = status_of(record.pid)
        is_stopped = status.get(b"State", b"")[:1] in (b"T", b"t")
        try:
            line = b" ".join(_contents(f"/proc/{record.pid}/cmdline", 2 * MAX_JOB_COMMAND_BYTES).split(b"\0")).strip()
        except (OSError, _Hidden):
            line = b""
        line = line or b"[%s]" % status.get(b"Name", b"")
        state = JobState.STOPPED if is_stopped else JobState.RUNNING
        return BackgroundJob(record.pid, state, _cut(line.decode(self._encoding, "surrogateescape")))


def _cut(text: str) -> str:
    """Cut text so that it fits the protocol, between two characters."""
    encoded = text.encode("utf-8", "surrogateescape")
    end = MAX_JOB_COMMAND_BYTES
    if len(encoded) <= end:
        return text
    if text.isprintable() or text.isascii():
        while 0x80 <= encoded[end] < 0xC0:
            end -= 1
    return encoded[:end].decode("utf-8", "surrogateescape")
