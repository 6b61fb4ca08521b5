"""Commands from a file or a pipe, one a line: run one after another in one shell, as ``sh`` would."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred

from twisted_rsh.cli.descriptors import PIECE_BYTES
from twisted_rsh.cli.foreground import Foreground, InputFailed
from twisted_rsh.cli.input import InputReader
from twisted_rsh.cli.line_shell import LineShell, start_line_shell
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.output import local_encoding
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error
from twisted_rsh.client.text import decode_text
from twisted_rsh.core.limits import MAX_CONTROL_BYTES

__all__ = ["CommandLines", "LineTooLong", "run_script"]


class LineTooLong(Error):
    """A line is longer than any command can be."""


class CommandLines:
    """The lines of a descriptor, read no further than needed.

    :param reactor: the reactor.
    :param fd: the descriptor.
    """

    def __init__(self, reactor: Any, fd: int) -> None:
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False
        self._waiting: Deferred[None] | None = None
        self._reader = InputReader(reactor, fd, self._read, self._end)

    async def next(self) -> str | None:
        """Return the next line without its line feed, or ``None`` at the end.

        :raises LineTooLong: it cannot be a command.
        :raises twisted_rsh.cli.foreground.InputFailed: the lines could not be read to their end.
        """
        while not self._lines and not self._ended:
            if len(self._rest) > MAX_CONTROL_BYTES:
                raise LineTooLong(f"a line of stdin is longer than {MAX_CONTROL_BYTES} bytes")
            self._waiting = Deferred()
            self._reader.allow(PIECE_BYTES)
            await self._waiting
        if not self._lines:
            if self._reader.error is not None:
                raise InputFailed(f"cannot read stdin: {self._reader.error.strerror}")
            return None
        return decode_text(self._lines.popleft(), local_encoding())

    def stop(self) -> None:
        """Read no more."""
        self._reader.stop()

    def _read(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        self._wake()

    def _end(self) -> None:
        self._ended = True
        if self._rest:
            self._lines.append(self._rest)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def run_script(
    reactor: Any, connection: Connection, options: ClientOptions, foreground: Foreground, lines: CommandLines
) -> int:
    """Run one line after another in one shell, without input, up to the last, whatever they exit with.

    :param reactor: the reactor.
    :param shell: the connection.
    :param options: the time-out of each command, and its limits.
    :param foreground: shows them.
    :param lines: the commands.
    :returns: the exit status of the last, or that of the shell if a line ended it, as ``exit 3`` does.
    :raises twisted_rsh.core.errors.Error: the client failed; no more commands were run.
    """
    status = 0
    lines_shell: LineShell | None = None
    try:
        while (line := await lines.next()) is not None:
            if not line.strip():
                continue
            if lines_shell is None:
                lines_shell = await start_line_shell(reactor, connection, options, unattended=True)
                foreground.show_background(lines_shell.shell)
            ending = await foreground.run(lines_shell.start(line), None)
            if connection.lost is None and await lines_shell.has_ended_with(line, ending):
                return lines_shell.tell_end(foreground, line)
            status = foreground.tell(ending)
            if connection.lost is not None:  # and the user has been told
                break
    finally:
        lines.stop()
    return status
