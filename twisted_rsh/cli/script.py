"""Commands from a file or a pipe, one a line, run one after another in one shell, as ``sh`` would."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_rsh.cli.descriptors import PIECE_BYTES
from twisted_rsh.cli.foreground import Foreground
from twisted_rsh.cli.input import IInputOwner, InputFailed, InputReader
from twisted_rsh.cli.line_shell import LineShell, start_line_shell
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.terminal import local_encoding
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.text import decode_text
from twisted_rsh.core.errors import Error
from twisted_rsh.core.limits import MAX_CONTROL_BYTES

__all__ = ["CommandLines", "LineTooLong", "run_script"]


class LineTooLong(Error):
    """A line is longer than a command can be."""


@implementer(IInputOwner)
class CommandLines:
    """The lines of a descriptor, read no further than needed.

    :param reactor: the reactor.
    :param fd: the descriptor.
    """

    def __init__(self, reactor: Any, fd: int) -> None:
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._is_ended = False
        self._error: OSError | None = None
        self._waiting: Deferred[None] | None = None
        self._reader = InputReader(reactor, fd, self)

    async def next(self) -> str | None:
        """Return the next line without its line feed, or ``None`` at the end.

        :raises LineTooLong: it is longer than a command can be.
        :raises twisted_rsh.cli.input.InputFailed: the lines could not be read to their end.
        """
        while not self._lines and not self._is_ended:
            if len(self._rest) > MAX_CONTROL_BYTES:
                raise LineTooLong(f"a line of stdin is longer than {MAX_CONTROL_BYTES} bytes")
            self._waiting = Deferred()
            self._reader.resume()
            await self._waiting
        if self._lines:
            return decode_text(self._lines.popleft(), local_encoding())
        if self._error is not None:
            raise InputFailed(self._error)
        return None

    def stop(self) -> None:
        """Read no more."""
        self._reader.stop()

    def input_room(self) -> int:
        """See :class:`~twisted_rsh.cli.input.IInputOwner`."""
        return 0 if self._waiting is None else PIECE_BYTES

    def input_received(self, data: bytes) -> None:
        """See :class:`~twisted_rsh.cli.input.IInputOwner`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        self._wake()

    def input_ended(self, error: OSError | None) -> None:
        """See :class:`~twisted_rsh.cli.input.IInputOwner`."""
        self._is_ended = True
        self._error = error
        if self._rest:
            self._lines.append(self._rest)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def run_script(
    reactor: Any, connection: Connection, options: ClientOptions, foreground: Foreground, stdin: int = 0
) -> int:
    """Run one line after another in one shell, without input, up to the last, whatever their statuses are.

    :param reactor: the reactor.
    :param connection: the connection.
    :param options: the time-out of each command, and its limits.
    :param foreground: shows the commands.
    :param stdin: the descriptor that has the lines.
    :returns: the exit status of the last command, or that of the shell if a line ended it, as ``exit 3`` does.
    :raises twisted_rsh.core.errors.Error: the client failed, and runs no more commands.
    """
    status = 0
    shell: LineShell | None = None
    lines = CommandLines(reactor, stdin)
    try:
        while (line := await lines.next()) is not None:
            if not line.strip():
                continue
            if shell is None:
                shell = await start_line_shell(connection, options, is_unattended=True)
                foreground.outputs.show(shell.shell)
            ending = await foreground.run(shell.start(line), None)
            if connection.lost is None and shell.ending is not None:
                return shell.tell_end(foreground.outputs, line)
            status = foreground.outputs.tell(ending)
            if connection.lost is not None:  # and the line above has told the user
                break
    finally:
        lines.stop()
    return status
