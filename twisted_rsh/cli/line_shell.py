"""The one shell that runs the lines of a console, so that a line finds what the last one did."""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred

from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.status import describe_ending, exit_status
from twisted_rsh.client.waiting import Once
from twisted_rsh.core.endings import Ending, Exited, JobEnd
from twisted_rsh.core.requests import Terminal

__all__ = ["LineShell", "start_line_shell"]

_LEAVING = re.compile(r"\b(?:exit|logout)\b")
"""Matches a line that asks for the end of the shell."""


class LineShell:
    """Runs lines in one shell, and knows when the shell has ended.

    :param shell: the shell.
    :param options: the time-out of each line, and the limit of its output.
    :ivar shell: the parameter.
    :ivar ending: how the shell ended; ``None`` while it runs.  The server reports the end of a shell before that of
        the line that has ended it, so this is right when a line has ended.
    """

    def __init__(self, shell: Shell, options: ClientOptions) -> None:
        self.shell = shell
        self.ending: Ending | None = None
        self._options = options
        self._end: Once[Ending] = Once()
        shell.wait().addCallback(self._ended)

    def start(self, line: str, typed_ahead: bytes | None = None) -> Job:
        """Start a line.

        :param line: text for the shell.
        :param typed_ahead: keys that were typed for it; ``None`` when no person types.
        :returns: the command; wait for its end, and look at `ending` before the next line.
        :raises twisted_rsh.client.errors.SessionLost: the connection is gone; nothing was started.
        """
        return self.shell.start(
            line, timeout=self._options.timeout, max_output=self._options.max_output, typed_ahead=typed_ahead
        )

    async def leave(self) -> Ending:
        """Let the shell exit as at the end of its input, with its traps, and wait for its end.

        :returns: how it ended, also when the connection is lost.
        """
        return (await self.shell.leave()).ending

    def when_ended(self) -> Deferred[Ending]:
        """Wait for the end of the shell.

        :returns: fires with its ending, also when the connection is lost.  Cancelling it changes nothing.
        """
        return self._end.wait()

    def tell_end(self, outputs: LocalOutputs, line: str) -> int:
        """Tell the user that the shell has ended, unless the last line asked for that.

        :param outputs: shows it.
        :param line: the last line; empty for none.
        :returns: the exit status that stands for the shell's ending.
        """
        ending = self.ending
        assert ending is not None
        if not isinstance(ending, Exited):
            outputs.say(f"the shell has ended: {describe_ending(ending)}")
        elif _LEAVING.search(line) is None:
            outputs.say(f"the shell has ended with status {ending.code}")
        return exit_status(ending)

    def _ended(self, end: JobEnd) -> None:
        self.ending = end.ending
        self._end.happen(end.ending)


async def start_line_shell(
    connection: Connection,
    options: ClientOptions,
    terminal: Terminal | None = None,
) -> LineShell:
    """Start the user's shell on the server.

    :param connection: the connection.
    :param options: the shell's limits and start-up files, and the limits of its lines.
    :param terminal: the terminal that it is to have; ``None`` for pipes.
    :raises twisted_rsh.client.errors.ShellRefused: the server starts no shell.
    :raises twisted_rsh.client.errors.SessionLost: the connection is gone.
    """
    shell = await connection.open_shell(
        terminal=terminal,
        environment=dict(options.environment),
        max_cpu=options.max_cpu,
        max_memory=options.max_memory,
        on_disconnect=options.on_disconnect,
        startup_files=not options.clean,
    )
    return LineShell(shell, options)
