"""The processes of this machine as ``/proc`` shows them, read as seldom as possible.

Measured, a look at everything takes 16 us for each process: 32 ms where there are 2,000.  So a command that ends by
itself costs no look, one look answers all questions of the same moment, and looks take no more than
:data:`MAX_LOOK_SHARE` of the time.  Source: proc(5).  Where there is no ``/proc``, as on macOS,
:attr:`ProcessTable.is_supported` is false.
"""

from __future__ import annotations

import errno
import math
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

__all__ = [
    "MARK_NAME",
    "MAX_CHILDREN_BYTES",
    "MAX_ENVIRONMENT_BYTES",
    "MAX_LOOK_SHARE",
    "MAX_STAT_BYTES",
    "SHARED_SECONDS",
    "SLICE_SECONDS",
    "TICKS_PER_SECOND",
    "ProcessRecord",
    "ProcessTable",
    "SpareDescriptor",
]

MARK_NAME = b"TWISTED_RSH_JOB"
"""The environment variable that carries the mark of a job; every process that a job starts inherits it."""

MAX_STAT_BYTES = 4096
"""Bytes of ``/proc/PID/stat`` that are read: 52 numbers and a name of at most 64 bytes take less."""

MAX_ENVIRONMENT_BYTES = 512 * 1024
"""Bytes of a process's environment that are searched for a mark: four times what a request may add."""

MAX_CHILDREN_BYTES = 256 * 1024
"""Bytes of one thread's list of children that are read at a time: room for more than 32,768 of them.  A later look
reads the rest, when the first of them are gone."""

SHARED_SECONDS = 0.05
"""Seconds for which one look answers all questions: jobs that are ended together look once."""

MAX_LOOK_SHARE = 0.2
"""The part of the time that looks may take.  With more processes a look takes longer, and is used for longer."""

SLICE_SECONDS = 0.003
"""Seconds of one call of :meth:`ProcessTable.prepare`: of a look at 120 to 200 processes."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""Clock ticks in a second, the unit of times in ``/proc``: mostly 100."""

_READ_BYTES = 16 * 1024
"""Bytes of one read of an environment: all of an ordinary one."""

_LINKS_OF_ONE_THREAD = 3
"""The links of ``/proc/PID/task`` where the process has one thread: its name, its ``.``, and the thread's ``..``."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that say nothing about a process: the system has no descriptor or no memory left."""

_DEAD = frozenset({b"Z", b"X", b"x"})
"""The states of a process that has ended: it waits to be reaped, or the system is removing it."""


class SpareDescriptor:
    """Opens files also in a process that has no descriptor left, with one that it has kept for that.

    Ending jobs must work there too, as that frees descriptors.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._is_wanted = False

    def keep(self) -> None:
        """Hold a descriptor from now on; until then there is none to use."""
        self._is_wanted = True
        self.renew()

    def renew(self) -> None:
        """Take the descriptor again, if it was used and the system has one to give."""
        if self._is_wanted and self._fd is None:
            try:
                self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return

    def open(self, path: str) -> int:
        """Open a file for reading.

        :param path: the file.
        :returns: a descriptor.  Call :meth:`renew` as soon as it is closed.
        :raises OSError: the file cannot be opened, not even with the spare descriptor.
        """
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._release_for(error)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            self.renew()

    def list_folder(self, path: str) -> list[str]:
        """List a folder.

        :param path: the folder.
        :returns: the names in it.
        :raises OSError: the folder cannot be read, not even with the spare descriptor.
        """
        try:
            return os.listdir(path)
        except OSError as error:
            self._release_for(error)
        try:
            return os.listdir(path)
        finally:
            self.renew()

    def _release_for(self, error: OSError) -> None:
        """Close the descriptor, so that the next call that needs one succeeds.

        :raises OSError: the error: it is another one than a lack of descriptors, or none is kept.
        """
        if error.errno != errno.EMFILE or self._fd is None:
            raise error
        self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    __del__ = _release


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process, at one moment.

    :ivar pid: its process id, which another process may get once it is reaped; with `started` it is unique.
    :ivar started: clock ticks from the start of the system to its own.
    :ivar parent: the number of its parent.
    :ivar group: the number of its process group.
    :ivar session: the number of its session.
    :ivar is_dead: whether it has ended and only waits to be reaped.
    :ivar own_ticks: clock ticks of processor time, user's and system's, that it took itself.
    :ivar children_ticks: clock ticks that its descendants took, as far as they were waited for.
    :ivar resident_pages: pages of memory that it has now; a page that it shares with others counts in full.
    :ivar threads: its threads, the first one included.
    """

    pid: int
    started: int
    parent: int
    group: int
    session: int
    is_dead: bool
    own_ticks: int
    children_ticks: int
    resident_pages: int
    threads: int = 1


def _parse(pid: int, stat: bytes) -> ProcessRecord:
    """Take apart ``/proc/PID/stat``.  The name in it may contain anything, so the fields begin at the last bracket."""
    field = stat[stat.rindex(b")") + 2 :].split()
    return ProcessRecord(
        pid=pid,
        started=int(field[19]),
        parent=int(field[1]),
        group=int(field[2]),
        session=int(field[3]),
        is_dead=field[0] in _DEAD,
        own_ticks=int(field[11]) + int(field[12]),
        children_ticks=int(field[13]) + int(field[14]),
        resident_pages=int(field[21]),
        threads=int(field[17]),
    )


class ProcessTable:
    """The contents of ``/proc``; all the jobs of a reactor share one table.

    :param clock: tells the time.
    :param root: where ``/proc`` is.
    :ivar is_supported: whether there is a ``/proc`` of Linux's kind.  If not, call nothing else here.
    :ivar lists_children: whether the kernel lists the children of a process (``CONFIG_PROC_CHILDREN``).
    :ivar looks: how many looks at everything there were.
    :ivar looked_at: the clock's time when the last look began; minus infinity before the first.
    :ivar is_blind: whether the last attempt at a look has failed, because the system has no descriptors or no memory
        left.  What there is to know then is what the look before it has shown.
    """

    def __init__(self, clock: IReactorTime, root: str = "/proc") -> None:
        self._clock = clock
        self._root = root
        self._records: Mapping[int, ProcessRecord] = {}
        self._cost = self._spent = 0.0
        self._finished_at = self._begun_at = -math.inf
        self._unread: Iterator[str] | None = None
        self._found: dict[int, ProcessRecord] = {}
        self._marks: dict[tuple[int, int], bytes | None] = {}
        self._spare = SpareDescriptor()
        self._has_shortage = False
        self.looks = 0
        self.looked_at = -math.inf
        self.is_blind = False
        self.is_supported = os.path.exists(f"{root}/self/stat")
        self.lists_children = os.path.exists(f"{root}/thread-self/children")

    def records(self, max_age: float = SHARED_SECONDS) -> Mapping[int, ProcessRecord]:
        """Describe every process of this machine that this process may see.

        :param max_age: seconds; a look that is no older is used again.  Where looks take long, so is an older one
            (:data:`MAX_LOOK_SHARE`).  0 always looks.
        :returns: the processes by number.  A process that started or ended meanwhile may be missing or still there.
            Where a look is impossible now (:attr:`is_blind`), those of the last one.
        """
        if max_age <= 0 or not self._is_fresh(max_age):
            self._unread = None
            self._read_on(math.inf)
        return self._records

    def prepare(self, since: float) -> bool:
        """Read a slice of a look, if :meth:`records` would have to take one now.

        :param since: the clock's time before which the look must not have begun.
        :returns: whether the look is there, or impossible now; if not, call this again in a later turn.
        """
        if self._is_fresh(SHARED_SECONDS) and self.looked_at >= since:
            return True
        return self._read_on(SLICE_SECONDS) and (self.looked_at >= since or self.is_blind)

    def _is_fresh(self, max_age: float) -> bool:
        age = self._clock.seconds() - self._finished_at
        return 0 <= age <= max(max_age, self._cost / MAX_LOOK_SHARE)

    def _read_on(self, seconds: float) -> bool:
        """Begin a look or go on with one, for some time; return whether it is complete, or has failed."""
        now = self._clock.seconds()
        if self._unread is None:
            self._has_shortage = False
            try:
                self._unread = iter(self._spare.list_folder(self._root))
            except OSError:
                self.is_blind = True
                return True
            self._begun_at, self._spent, self._found = now, 0.0, {}
        for entry in self._unread:
            record = self.read(int(entry)) if entry.isdigit() else None
            if record is not None:
                self._found[record.pid] = record
                if seconds < math.inf and record.pid not in self._records and not record.is_dead:
                    self.mark_of(record)  # jobs ask for it next, in one piece
            if self._clock.seconds() - now >= seconds:
                self._spent += self._clock.seconds() - now
                return False
        self._unread, self.is_blind = None, self._has_shortage
        if self.is_blind:  # it has left out processes that are there
            return True
        self._finished_at = self._clock.seconds()
        self._cost = self._spent + max(0.0, self._finished_at - now)
        self._records, self.looked_at = self._found, self._begun_at
        self._marks = {
            (pid, started): mark
            for (pid, started), mark in self._marks.items()
            if pid in self._records and self._records[pid].started == started
        }
        self.looks += 1
        return True

    def keep_descriptor(self) -> None:
        """Hold one descriptor from now on, so that looks succeed when this process has no other left."""
        self._spare.keep()

    def read(self, pid: int) -> ProcessRecord | None:
        """Describe one process as it is now.

        :param pid: its number.
        :returns: the record, or ``None`` when there is no such process, or this process may not see it.
        """
        stat = self._contents(f"{pid}/stat", MAX_STAT_BYTES)
        return _parse(pid, stat) if stat else None

    def mark_of(self, record: ProcessRecord) -> bytes | None:
        """Find the mark of the job that a process comes from.

        Each process is asked once, since no other process can change its environment.

        :param record: the process.
        :returns: the value of :data:`MARK_NAME` in the environment that it was started with; ``None`` when it has
            none, is another user's, has overwritten it, or is gone.
        """
        key = (record.pid, record.started)
        if key not in self._marks:
            environment = self._contents(f"{record.pid}/environ", MAX_ENVIRONMENT_BYTES)
            if not environment:  # it may be between two programs: the next call asks again
                return None
            self._marks[key] = _mark_in(environment)
        return self._marks[key]

    def is_single(self, pid: int) -> bool:
        """Return whether a process has one thread, which has the number of the process.  Takes 4 us.

        :param pid: the process.
        :raises OSError: it is gone, or cannot be looked at.
        """
        return os.stat(f"{self._root}/{pid}/task").st_nlink == _LINKS_OF_ONE_THREAD

    def children(self, pid: int | None = None) -> set[int]:
        """List the children of all threads of a process, also those that wait to be reaped.  Takes 10 us.

        :param pid: the process; ``None`` for this one.
        :returns: their numbers; empty when the process is gone, or where the kernel does not list them
            (:attr:`lists_children`).
        """
        process = "self" if pid is None else str(pid)
        found: set[int] = set()
        try:
            is_single = pid is not None and self.is_single(pid)
            threads = [process] if is_single else self._spare.list_folder(f"{self._root}/{process}/task")
        except (FileNotFoundError, ProcessLookupError):
            return found
        for thread in threads:
            children = self._contents(f"{process}/task/{thread}/children", MAX_CHILDREN_BYTES)
            found.update(map(int, (children or b"").split()))
        return found

    def signal(self, record: ProcessRecord, number: int) -> None:
        """Signal a process, unless it is gone, its number has become another's, or it is another user's.

        A pidfd (pidfd_open(2), Linux 5.3) holds the process while its starting time is compared.  Where there is no
        pidfd only the comparison protects another process.

        :param record: the process, as a look has just seen it.
        :param number: the signal's number.
        """
        try:
            fd = os.pidfd_open(record.pid)
        except ProcessLookupError:
            return
        except (OSError, AttributeError):  # no descriptors left, an old kernel or an old C library
            fd = -1
        try:
            now = self.read(record.pid)
            if now is None or now.is_dead or now.started != record.started:
                return
            if fd < 0:
                os.kill(record.pid, number)
            else:
                signal.pidfd_send_signal(fd, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has just gone, or it has become another user
        finally:
            if fd >= 0:
                os.close(fd)

    def _contents(self, name: str, limit: int) -> bytes | None:
        """Read a file to its end, or `limit` bytes of it; ``None`` when it cannot be read."""
        try:
            fd = self._spare.open(f"{self._root}/{name}")
        except OSError as error:
            self._has_shortage = self._has_shortage or error.errno in _SHORTAGES
            return None
        try:
            content = os.read(fd, min(limit, _READ_BYTES))
            # A list of numbers may come in pieces of any size, so only an empty read is its end.
            while content and limit > MAX_STAT_BYTES and len(content) < limit:
                piece = os.read(fd, min(limit - len(content), _READ_BYTES))
                if not piece:
                    break
                content += piece
        except OSError:  # the process went away between the two calls
            return None
        finally:
            os.close(fd)
            self._spare.renew()
        return content


def _mark_in(environment: bytes) -> bytes | None:
    """Find the mark in the contents of ``/proc/PID/environ``."""
    for entry in environment.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name == MARK_NAME:
            return value
    return None
