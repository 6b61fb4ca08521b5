"""A descriptor on its way to a command's standard input: bytes as they are, or what a person types, as text."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.cli.descriptors import PIECE_BYTES, open_nonblocking
from twisted_rsh.cli.outage import Outage
from twisted_rsh.cli.output import local_encoding
from twisted_rsh.client.job import Job
from twisted_rsh.client.text import Transcoder

__all__ = ["InputReader", "JobInput"]


@implementer(IReadDescriptor)
class InputReader:
    """Reads a descriptor as far as it is allowed to, and not one byte further.

    It is allowed nothing at first: call :meth:`allow`.  All calls to the owner come from the reactor, never from
    within a method.  The end of a terminal's input (Ctrl-D) is as final as that of a pipe.

    :param reactor: provides `IReactorFDSet` and `IReactorTime`.
    :param fd: the descriptor to read.  It stays open and its flags stay as they are.
    :param on_data: called with bytes, at least one, and no more than are allowed.
    :param on_end: called once, when there is no more input; not after :meth:`stop`.
    :raises OSError: the descriptor is not open: :func:`ensure_standard_descriptors` prevents that.
    :ivar error: what ended the input before its true end, such as an I/O error of a disk; ``None`` otherwise.  A
        terminal that vanished is a true end.
    """

    def __init__(self, reactor: Any, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.error: OSError | None = None
        self._reactor = reactor
        self._on_data = on_data
        self._on_end = on_end
        self._is_terminal = os.isatty(fd)
        self._way = open_nonblocking(fd, os.O_RDONLY)
        self._allowed = 0
        self._waiting = False
        self._turn: IDelayedCall | None = None

    def allow(self, size: int) -> None:
        """Add to what may be read.

        :param size: bytes, at least 0.
        """
        self._allowed += size
        self._go_on()

    def stop(self) -> None:
        """Read no more, and close what was opened.  May be called more than once."""
        if self._waiting:
            self._waiting = False
            self._reactor.removeReader(self)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._way.is_open:
            self._way.close()

    def _go_on(self) -> None:
        if self._way.is_open and self._allowed and not self._waiting and self._turn is None:
            self._turn = self._reactor.callLater(0, self._read)

    def _read(self) -> None:
        self._turn = None
        try:
            data = self._way.read(min(self._allowed, PIECE_BYTES))
        except BlockingIOError:
            self._waiting = True
            self._reactor.addReader(self)
            return
        except OSError as error:
            if not (self._is_terminal and error.errno == errno.EIO):
                self.error = error
            data = b""
        if not data:
            self._end()
            return
        self._allowed -= len(data)
        self._on_data(data)
        self._go_on()

    def _end(self) -> None:
        self.stop()
        self._on_end()

    def fileno(self) -> int:
        """For the reactor: the descriptor to watch, -1 after the end."""
        return self._way.fd

    def doRead(self) -> None:
        """For the reactor: there is something to read."""
        self._waiting = False
        self._reactor.removeReader(self)
        self._read()

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor: nothing more comes.  The epoll reactor calls this when a pipe hangs up without data.

        :param reason: `ConnectionDone` at a hang-up; anything else when the reactor shuts down or a callback failed.
        """
        self._waiting = False
        if isinstance(reason.value, ConnectionDone):
            self._end()
        else:
            self.stop()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "stdin"


class JobInput:
    """Reads a descriptor for one command, no further than the command takes.

    :param reactor: the reactor.
    :param fd: the descriptor.  What comes from a terminal is text in its own code page.
    :param job: the command.
    :param encoding: the code page of the command's text; ``None`` for the one that the server names.
    :param outage: looks at what a person types.
    :param leave: called when that is the way out of an outage.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        job: Job,
        encoding: str | None,
        outage: Outage,
        leave: Callable[[], None],
    ) -> None:
        self._job = job
        self._encoding = encoding
        self._outage = outage
        self._leave = leave
        self._transcoder: Transcoder | None = None
        self._is_typed = os.isatty(fd)
        self._is_started = not self._is_typed
        self._is_reading = False
        self._ahead: list[Callable[[], None]] = []
        self._reader = InputReader(reactor, fd, self._came, lambda: self._in_turn(self._end))
        if self._is_typed:
            # What was typed ahead is text, too, and waits until it is known in which code page it is wanted.  Of an
            # outage, though, it may be the way out, and a raw terminal has no other.
            outage.keys_are_read(self._read)
            job.when_started().addCallback(self._started)
        else:
            self._read()

    @property
    def error(self) -> OSError | None:
        """What ended the input before its true end; ``None`` otherwise."""
        return self._reader.error

    def stop(self) -> None:
        """Read no more."""
        self._reader.stop()

    def _read(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._reader.allow(PIECE_BYTES)

    def _started(self, _result: None) -> None:
        self._is_started = True
        self._read()
        while self._ahead:
            self._ahead.pop(0)()

    def _came(self, data: bytes) -> None:
        if self._is_typed and self._outage.typed(data):
            self._leave()
        else:
            self._in_turn(partial(self._write, data))

    def _in_turn(self, act: Callable[[], None]) -> None:
        if self._is_started:
            act()
        else:
            self._ahead.append(act)

    def _write(self, data: bytes) -> None:
        encoding = self._encoding or self._job.encoding
        if self._is_typed and self._transcoder is None and encoding is not None:
            self._transcoder = _input_transcoder(encoding)
        text = data if self._transcoder is None else self._transcoder.convert(data)
        written = self._job.stdin.write(text)
        written.addCallbacks(lambda _: self._reader.allow(len(data)), lambda _: self._reader.stop())

    def _end(self) -> None:
        # A command that took half of its input for all of it would do harm.
        if self._reader.error is None:
            self._job.stdin.end()
        else:
            self._job.close()


def _input_transcoder(target: str) -> Transcoder | None:
    try:
        return Transcoder(local_encoding(), target)
    except LookupError:
        return None
