"""A thread with a table of descriptors of its own, which starts the processes of a process that has many of them.

A child begins with a copy of the table of the thread that starts it, and closes one by one what it must not have.  With
5,000 connections that takes 2 to 3 ms (measured), twice as long as all the rest of a short command.  On Linux a thread
may have a table of its own (unshare(2), ``CLONE_FILES``).  The one of this thread has a dozen descriptors.  What it
starts is a child of the process like any other: it is waited for, signalled and watched as ever.  Only what Linux has
for each thread differs, if it was changed after this one began: the nice value and the processors that it may use.

A number means another descriptor in the two tables, or none, so no object of the process may be closed in the thread:

* The thread gets the descriptors of a child through a Unix socket, and closes them itself.
* Python's search for garbage may run in any thread, and closes what it finds.  It is held off while the thread works.
  From the moment at which the thread tells the outcome until it waits again, only code of C runs in it, which makes no
  object: there is no place at which a search could begin.
"""

from __future__ import annotations

import _thread
import array
import collections
import contextlib
import ctypes
import errno
import functools
import gc
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from twisted.logger import Logger

from twisted_rsh.execution.processes.descriptors import (
    FIRST_OWN,
    above_child_fds,
    can_close_ranges,
    close_all_but,
)
from twisted_rsh.log_level import leveled_log

__all__ = ["SpawningThread", "find_spawning_thread"]

_log = Logger(observer=leveled_log)

_CLONE_FILES = 0x400
"""From ``linux/sched.h``: a table of descriptors of one's own."""

_FIRST_PRIVATE = 3
"""The first descriptor that the thread closes: it keeps the process's 0, 1 and 2."""

_TAG = struct.Struct("=Q")
"""Comes with descriptors: the number of their call.  Those of a call that was interrupted are dropped."""

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS})
"""Errors after which the thread may be tried again."""

FileAction = tuple[Any, ...]
"""One of the `file_actions` of `os.posix_spawn`."""

Start = Callable[[Sequence[FileAction]], int]
"""Starts a process with these file actions; returns its process id, or raises an ``OSError``."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What the thread does next.

    :ivar number: counts the calls.
    :ivar start: is called with the actions.
    :ivar actions: the file actions, with the numbers of this process.
    :ivar copied: the descriptors of this process among them, which come through the socket.
    """

    number: int
    start: Start
    actions: Sequence[FileAction]
    copied: Sequence[int]


_Outcome = tuple[int, "int | BaseException"]
"""The number of a call, and the process id or the error."""


class SpawningThread:
    """Calls functions in the thread, one after another; each starts one process.

    :raises OSError: there is no thread, or it may have no table of its own: not Linux, or a sandbox forbids it.
    """

    def __init__(self) -> None:
        if not can_close_ranges():
            raise OSError(errno.ENOSYS, "this system cannot close a range of descriptors")
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()
        self._near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The number is taken in both tables for good: no object of the process is ever closed by it.
        number = above_child_fds(far.detach())
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # inherited by the thread
        try:
            with _without_search():
                self._calls.put(_Call(0, lambda _: 0, (), ()))
                _thread.start_new_thread(_run, (number, self._calls, self._outcomes))
                _, outcome = self._outcomes.get()
        except RuntimeError as e:  # a thread too many
            outcome = OSError(errno.EAGAIN, str(e))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if isinstance(outcome, BaseException):
            self._near.close()
            os.close(number)
            raise outcome

    def start(self, start: Start, actions: Sequence[FileAction]) -> int:
        """Start a process in the thread, and wait until it is started.

        :param start: is called in the thread with the actions, in which descriptors of this process have the numbers
            that they have there.
        :param actions: the file actions.  A descriptor of this process is at least
            :data:`~twisted_rsh.execution.processes.descriptors.FIRST_OWN`; a smaller number is one of the child's.
        :returns: the process id of a child of this process.
        :raises OSError: as `start`; or the system passes no descriptors on: ``EMFILE``, ``ETOOMANYREFS``.
        """
        copied = sorted({action[1] for action in actions if _is_copy(action)})
        with self._lock, _without_search():
            self._count += 1
            call = _Call(self._count, start, actions, copied)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", copied))]
            self._near.sendmsg([_TAG.pack(call.number)], ancillary)
            self._calls.put(call)
            number, outcome = self._outcomes.get()
            while number != call.number:  # the outcome of a call that was interrupted
                number, outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def _run(number: int, calls: SimpleQueue[_Call], outcomes: SimpleQueue[_Outcome]) -> None:
    """Make a table for the thread, and then do what is asked for until the process ends."""
    try:
        _leave_table(number)
        answer = functools.partial(_answer, socket.socket(fileno=number))
    except BaseException as e:  # noqa: BLE001 - it is raised in the thread that waits for it
        outcomes.put((0, e if isinstance(e, OSError) else OSError(str(e))))
        return
    # The loop is one of C.
    collections.deque(map(outcomes.put, map(answer, iter(calls.get, None))), maxlen=0)


def _leave_table(kept: int) -> None:
    """Give the calling thread a table with the process's 0, 1 and 2, and one more descriptor.

    That one also has the numbers that a child may have, where they are free: then nothing that arrives has one of them.
    """
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None:
        raise OSError(errno.ENOSYS, "this system has one table of descriptors for all threads")
    if unshare(_CLONE_FILES) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    close_all_but(kept, _FIRST_PRIVATE)
    while (copy := os.dup(kept)) < FIRST_OWN:  # a copy has the lowest number that is free
        pass
    os.close(copy)


def _is_copy(action: FileAction) -> bool:
    """Tell whether an action copies a descriptor of this process."""
    return bool(action[0] == os.POSIX_SPAWN_DUP2 and action[1] >= FIRST_OWN)


def _answer(receiver: socket.socket, call: _Call) -> _Outcome:
    """Start one process, in the thread, and tell how that went."""
    try:
        return call.number, _start(receiver, call)
    except BaseException as error:  # noqa: BLE001 - it is raised in the thread that has asked
        return call.number, error.with_traceback(None)


def _start(receiver: socket.socket, call: _Call) -> int:
    arrived = _receive(receiver, call) if call.number else []
    try:
        here = dict(zip(call.copied, arrived, strict=True))
        return call.start(
            [(action[0], here[action[1]], action[2]) if _is_copy(action) else action for action in call.actions]
        )
    finally:
        for fd in arrived:
            os.close(fd)


def _receive(receiver: socket.socket, call: _Call) -> list[int]:
    """Receive the descriptors of one call, and drop those of calls before it."""
    tag = _TAG.pack(call.number)
    space = socket.CMSG_SPACE(len(range(FIRST_OWN)) * array.array("i").itemsize)
    while True:
        found, ancillary, _, _ = receiver.recvmsg(_TAG.size, space, socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        if found == tag and len(fds) == len(call.copied):
            return list(fds)
        for fd in fds:
            os.close(fd)
        if found == tag:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@contextlib.contextmanager
def _without_search() -> Iterator[None]:
    """Hold off Python's search for garbage while a block lasts."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


_found: list[SpawningThread | None] = []
"""The thread of this process, once it was looked for."""

os.register_at_fork(after_in_child=_found.clear)  # the child has not the thread


def find_spawning_thread() -> SpawningThread | None:
    """Return the thread of this process, which the first call starts; ``None`` where there can be none, or not now.

    To start it takes a few milliseconds, because it closes its copies of all descriptors.
    """
    if not _found:
        try:
            _found.append(SpawningThread())
        except OSError as error:
            if error.errno in _PASSING:
                return None
            _log.warn(
                "no thread with descriptors of its own starts the jobs, so each takes longer where there are many "
                "connections: {reason}",
                reason=error.strerror or str(error),
            )
            _found.append(None)
    return _found[0]
