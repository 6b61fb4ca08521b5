"""The input of the commands in a persistent shell: a FIFO for each on pipes, what is typed on a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet

from twisted_rsh.execution.descriptors import raised
from twisted_rsh.execution.pipes import InputPipe

__all__ = ["TYPED_BYTES", "CommandFifo", "PrivateFolder", "TerminalFeed"]

TYPED_BYTES = 1024
"""Bytes that are handed to a terminal at a time: as much as is left for the next command when one ends that did not
read them, and a quarter of what a terminal holds."""

_FOLDER_PREFIX = "twisted-rsh-"


class PrivateFolder:
    """A folder that nobody else may enter, made when it is first needed, and again when somebody has removed it.

    :param parent: the folder to make it in; ``None`` for the system's folder for temporary files.
    """

    def __init__(self, parent: str | None = None) -> None:
        self._parent = parent
        self._path: str | None = None

    def place(self, name: str) -> bytes:
        """Say where to make something, and make sure that it can be made.

        :param name: a file name.
        :returns: an absolute path at which there is nothing.
        :raises OSError: the folder cannot be made.
        """
        if self._path is None or not os.path.isdir(self._path):
            self._path = tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=self._parent)
        path = os.fsencode(os.path.join(self._path, name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return path

    def remove(self) -> None:
        """Remove the folder and what is in it; what cannot be removed stays."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None


class CommandFifo:
    """What one command on pipes reads: our end of it, and the name by which the shell opens the other.

    We keep a reading end ourselves until the shell has one, or the writing end could not be opened without waiting.

    :param reactor: watches our end.
    :param folder: where to make it.
    :param taken: learns how many bytes were taken.
    :param lost: learns, once, that nobody reads any more, or that :meth:`close` was called.
    :ivar path: the name.
    :raises OSError: it cannot be made; nothing stays open.
    """

    def __init__(
        self, reactor: IReactorFDSet, folder: PrivateFolder, taken: Callable[[int], None], lost: Callable[[], None]
    ) -> None:
        self.path = folder.place("input")
        os.mkfifo(self.path, 0o600)
        with contextlib.ExitStack() as on_failure:
            self._reader = raised(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            on_failure.callback(os.close, self._reader)
            writer = raised(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            on_failure.pop_all()
        self._pipe = InputPipe(reactor, writer, taken, lost)
        self._has_ended = False

    def begun(self) -> None:
        """Learn that the shell has opened it: give up the name, and watch for the readers' going away."""
        self._release()
        self._pipe.watch()
        if self._has_ended:
            self._pipe.end()

    def write(self, data: bytes) -> None:
        """Queue bytes; the caller bounds what is not yet taken."""
        self._pipe.write(data)

    def end(self) -> None:
        """Let the command see the end of its input behind what is queued, and not before the shell has opened it."""
        self._has_ended = True
        if self._reader < 0:
            self._pipe.end()

    def close(self) -> None:
        """Close our ends now; what is queued is dropped."""
        self._release()
        self._pipe.close()

    def _release(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def _nobody(size: int) -> None:
    """Count nothing."""


class TerminalFeed:
    """Hands what is typed to a terminal piece by piece, and nothing while the shell reads a command.

    A key that interrupts must not come while the shell reads its own line, and what a command has not read when it ends
    must not all become the input of the next one.

    :param write: hands bytes to the terminal, which reports what it took to :meth:`taken`.
    :param end_marker: says what to type for the end of the input; asked when its turn comes, as programs change it.
    """

    def __init__(self, write: Callable[[bytes], None], end_marker: Callable[[], bytes]) -> None:
        self._write = write
        self._end_marker = end_marker
        self._queue: deque[tuple[memoryview | None, Callable[[int], None]]] = deque()
        self._under_way = 0
        self._report: Callable[[int], None] | None = None
        self._is_open = False
        self._is_handing_out = False

    def put(self, data: bytes, report: Callable[[int], None]) -> None:
        """Queue bytes; the caller bounds what is not yet taken.

        :param data: what was typed.
        :param report: learns how many of these bytes were taken.
        """
        if data:
            self._queue.append((memoryview(data), report))
            self._next()

    def put_end(self) -> None:
        """Queue the end of the input."""
        self._queue.append((None, _nobody))
        self._next()

    def open(self) -> None:
        """Hand out from now on."""
        self._is_open = True
        self._next()

    def hold(self) -> None:
        """Hand out nothing until :meth:`open`."""
        self._is_open = False

    def drop(self) -> None:
        """Forget what was not handed out, and report nothing more of what was."""
        self._queue.clear()
        self._report = None

    def taken(self, size: int) -> None:
        """Learn that the terminal took bytes.

        :param size: how many.
        """
        self._under_way -= size
        if self._report is not None:
            self._report(size)
        self._next()

    def _next(self) -> None:
        if self._is_handing_out:  # the terminal took a piece at once; the loop below goes on with the next
            return
        self._is_handing_out = True
        while self._is_open and self._queue and not self._under_way:
            data, self._report = self._queue.popleft()
            if data is None:
                data = memoryview(self._end_marker())
            if len(data) > TYPED_BYTES:
                self._queue.appendleft((data[TYPED_BYTES:], self._report))
                data = data[:TYPED_BYTES]
            if data:
                self._under_way = len(data)
                self._write(bytes(data))
        self._is_handing_out = False
