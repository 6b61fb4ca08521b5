"""The client's stdin for many hosts: each command reads all of it, at its own pace and whenever it is started."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_rsh.cli.descriptors import PIECE_BYTES
from twisted_rsh.cli.input import IInputOwner, InputFailed, InputReader
from twisted_rsh.core.errors import Error

__all__ = ["InputCopy", "SharedInput"]


@implementer(IInputOwner)
class SharedInput:
    """Copies a descriptor to a temporary file, from which each host's command gets it.

    It reads no further than the command that is ahead of the others takes, so a writer of the descriptor waits for that
    one.  Only the file grows.

    :param reactor: the reactor.
    :param fd: the descriptor.
    :raises OSError: there is no temporary file to be had.
    """

    def __init__(self, reactor: Any, fd: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="trsh-")  # noqa: SIM115 - stop() closes it
        self._size = 0
        self._is_ended = False
        self._error: Exception | None = None
        self._waiting: list[Deferred[None]] = []
        self._reader = InputReader(reactor, fd, self)

    def read(self) -> InputCopy:
        """Return the input from its beginning, for one command."""
        return InputCopy(self)

    async def piece(self, position: int) -> bytes:
        """Return the next bytes after a position, as soon as there are any; ``b""`` at the end.

        :param position: bytes that were taken already.
        :raises twisted_rsh.core.errors.Error: the descriptor could not be read to its end, or the temporary file not be
            written.
        :raises OSError: the temporary file cannot be read.
        """
        while position >= self._size and not self._is_ended:
            more: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(more)
            self._reader.resume()
            await more
        if position < self._size:
            return os.pread(self._file.fileno(), PIECE_BYTES, position)
        if self._error is not None:
            raise self._error
        return b""

    def stop(self) -> None:
        """Read no more, and drop the copy.  May be called more than once."""
        self._reader.stop()
        self._file.close()

    def input_room(self) -> int:
        """See IInputOwner."""
        return PIECE_BYTES if self._waiting else 0

    def input_received(self, data: bytes) -> None:
        """See IInputOwner."""
        try:
            while data:
                size = os.pwrite(self._file.fileno(), data, self._size)
                self._size += size
                data = data[size:]
        except OSError as error:
            self._reader.stop()
            self._end(Error(f"cannot keep stdin: {error.strerror}"))
        self._wake()

    def input_ended(self, error: OSError | None) -> None:
        """See IInputOwner."""
        self._end(None if error is None else InputFailed(error))
        self._wake()

    def _end(self, error: Exception | None) -> None:
        self._is_ended = True
        self._error = error

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class InputCopy:
    """The input of one command, for ``async for``; :meth:`SharedInput.read` makes it.

    :param shared: the input of all.
    """

    def __init__(self, shared: SharedInput) -> None:
        self._shared = shared
        self._position = 0

    def __aiter__(self) -> InputCopy:
        return self

    async def __anext__(self) -> bytes:
        data = await self._shared.piece(self._position)
        if not data:
            raise StopAsyncIteration
        self._position += len(data)
        return data
