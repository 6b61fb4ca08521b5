"""A thread with a table of descriptors of its own, which starts the processes of a process that has many of them.

A child begins with a copy of the table of the thread that starts it, and closes one by one what it must not have.  With
5,000 connections that takes 2 to 3 ms (measured), twice as long as all the rest of a short command.  On Linux a thread
may have a table of its own (unshare(2), ``CLONE_FILES``).  The one of this thread has a dozen descriptors.  What it
starts is a child of the process like any other, so that nothing else changes: it is waited for, signalled and watched
as ever.

A number means another descriptor in the two tables, or none, so no object of the process may be closed in the thread:

* The thread gets the descriptors of a child through a Unix socket, and closes them itself.
* Python's search for garbage runs in whichever thread makes an object, and closes what it finds.  It is held off while
  the thread works.  The thread then makes no object until it waits for the next call: the ends of a call and of a wait
  are calls of C that take what is there.
"""

from __future__ import annotations

import _thread
import array
import contextlib
import ctypes
import errno
import functools
import gc
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

from twisted_rsh.execution.processes.descriptors import FIRST_OWN, above_child_fds, close_all_but

__all__ = ["SpawningThread", "find_spawning_thread"]

_CLONE_FILES = 0x400
"""From ``linux/sched.h``: a table of descriptors of one's own."""

_FIRST_PRIVATE = 3
"""The first descriptor that the thread closes: a child is always given its own 0, 1 and 2."""

_TAG = struct.Struct("=Q")
"""Comes with descriptors: the number of their call.  Those of a call that was interrupted are dropped."""

FileAction = tuple[Any, ...]
"""One of the `file_actions` of `os.posix_spawn`."""

Start = Callable[[Sequence[FileAction]], int]
"""Starts a process with these file actions; returns its process id, or raises an ``OSError``."""


class SpawningThread:
    """Calls functions in the thread, one after another; each starts one process.

    :raises OSError: there is no thread, or it may have no table of its own: not Linux, or a sandbox forbids it.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[socket.socket], None]] = SimpleQueue()
        self._count = 0
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._near = near
        # The number is taken in both tables for good: no object of the process is ever closed by it.
        number = above_child_fds(far.detach())
        answers: SimpleQueue[OSError | None] = SimpleQueue()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # inherited by the thread
        try:
            with _without_search():
                _thread.start_new_thread(self._run, (number, answers))
                error = answers.get()
        except RuntimeError as e:  # as of a thread too many
            error = OSError(*e.args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if error is not None:
            near.close()
            os.close(number)
            raise error

    def start(self, start: Start, actions: Sequence[FileAction]) -> int:
        """Start a process in the thread, and wait until it is started.

        :param start: is called in the thread with the actions, in which descriptors of this process have the numbers
            that they have there.
        :param actions: the file actions.  A descriptor of this process is at least
            :data:`~twisted_rsh.execution.processes.descriptors.FIRST_OWN`; a smaller number is one of the child's.
        :returns: the process id of a child of this process.
        :raises OSError: as `start`; or the system passes no descriptors on: ``EMFILE``, ``ETOOMANYREFS``.
        """
        numbers = sorted({action[1] for action in actions if _is_copy(action)})
        answers: SimpleQueue[int | BaseException] = SimpleQueue()
        self._count += 1
        tag = _TAG.pack(self._count)
        with _without_search():
            self._near.sendmsg([tag], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))])
            self._calls.put(functools.partial(_answer, answers, tag, numbers, start, actions))
            outcome = answers.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _run(self, number: int, answers: SimpleQueue[OSError | None]) -> None:
        """Make a table for the thread, and then do what is asked for until the process ends."""
        try:
            _leave_table(number)
        except OSError as e:
            answers.put(e)
            return
        calls, receiver = self._calls, socket.socket(fileno=number)
        answers.put(None)
        del self, answers
        while True:
            calls.get()(receiver)


def _leave_table(kept: int) -> None:
    """Give the calling thread a table with descriptors 0, 1 and 2, and one more."""
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None:
        raise OSError("this system has one table of descriptors for all threads")
    if unshare(_CLONE_FILES) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    close_all_but(kept, _FIRST_PRIVATE)
    # So that what arrives has no number that a child may have.
    for number in range(FIRST_OWN):
        if number >= _FIRST_PRIVATE or not _is_open(number):
            os.dup2(kept, number, inheritable=False)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_copy(action: FileAction) -> bool:
    """Tell whether an action copies a descriptor of this process."""
    return bool(action[0] == os.POSIX_SPAWN_DUP2 and action[1] >= FIRST_OWN)


def _answer(
    answers: SimpleQueue[int | BaseException],
    tag: bytes,
    numbers: Sequence[int],
    start: Start,
    actions: Sequence[FileAction],
    receiver: socket.socket,
) -> None:
    """Start one process, in the thread, and tell how that went."""
    outcome: int | BaseException
    try:
        outcome = _start(tag, numbers, start, actions, receiver)
    except BaseException as error:  # noqa: BLE001 - it is raised in the thread that has asked
        outcome = error.with_traceback(None)
    answers.put(outcome)


def _start(
    tag: bytes, numbers: Sequence[int], start: Start, actions: Sequence[FileAction], receiver: socket.socket
) -> int:
    arrived = _receive(receiver, tag, len(numbers))
    try:
        here = dict(zip(numbers, arrived, strict=True))
        translated = [(action[0], here[action[1]], action[2]) if _is_copy(action) else action for action in actions]
        return start(translated)
    finally:
        for fd in arrived:
            os.close(fd)


def _receive(receiver: socket.socket, tag: bytes, count: int) -> list[int]:
    """Receive the descriptors of one call, and drop those of calls before it."""
    space = socket.CMSG_SPACE(len(range(FIRST_OWN)) * array.array("i").itemsize)
    while True:
        found, ancillary, _, _ = receiver.recvmsg(_TAG.size, space, socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        if found == tag and len(fds) == count:
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


@functools.cache
def find_spawning_thread() -> SpawningThread | None:
    """Return the thread of this process, which the first call starts; ``None`` where there can be none.

    To start it takes a few milliseconds, because it closes its copies of all descriptors.
    """
    try:
        return SpawningThread()
    except OSError:
        return None


os.register_at_fork(after_in_child=find_spawning_thread.cache_clear)  # the child has not the thread
