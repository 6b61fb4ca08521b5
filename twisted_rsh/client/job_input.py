"""A descriptor on its way to a command's standard input: bytes as they are, or what a person types, as text."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted_rsh.client.local_output import local_encoding
from twisted_rsh.client.outage import Outage
from twisted_rsh.client.remote_job import RemoteJob
from twisted_rsh.client.stdio import PIECE_BYTES, InputReader
from twisted_rsh.client.text import Transcoder

__all__ = ["JobInput"]


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
        job: RemoteJob,
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
