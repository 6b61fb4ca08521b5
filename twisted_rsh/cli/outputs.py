"""The client's standard output and standard error together, and what the client itself says there."""

from __future__ import annotations

from typing import Any, TextIO

from twisted_rsh.cli.output import NO_STYLE, IOutputHolder, LocalOutput
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.status import FAILURE_STATUS, describe_ending, exit_status, printable
from twisted_rsh.core.endings import Ending, OutcomeUnknown, Refused, Signalled
from twisted_rsh.core.errors import Error

__all__ = ["ERROR_STYLE", "LocalOutputs", "OutputFailed"]

PROGRAM = "trsh"

ERROR_STYLE = (b"\x1b[31m", b"\x1b[0m")
"""Bytes to write before and after a piece of standard error in the console: red, and back (ECMA-48 SGR)."""


class OutputFailed(Error):
    """The client could not write a command's output, although its reader had not left."""


class LocalOutputs:
    """Standard output and standard error of the client, with the lines that it writes there itself.

    :param reactor: the reactor.
    :param encoding: the code page of the commands' text; ``None`` for the one that the server names.
    :param quiet: whether to tell nothing but failures of the client's own.
    :param silent: whether to tell not even those.
    :param error_style: bytes to write before and after each piece of standard error on a terminal.
    :param fds: the descriptors of standard output and standard error.
    :param log: the open file that gets the client's own lines; ``None`` for standard error.
    :ivar encoding: the parameter.
    :ivar quiet: the parameter.
    :ivar log: the parameter.
    :ivar stdout: the standard output.
    :ivar stderr: the standard error.
    """

    def __init__(
        self,
        reactor: Any,
        encoding: str | None = None,
        quiet: bool = False,
        error_style: tuple[bytes, bytes] = NO_STYLE,
        fds: tuple[int, int] = (1, 2),
        *,
        log: TextIO | None = None,
        silent: bool = False,
    ) -> None:
        self.encoding = encoding
        self.quiet = quiet
        self._is_silent = silent
        self.log = log
        self.stdout = LocalOutput(reactor, fds[0])
        self.stderr = LocalOutput(reactor, fds[1], error_style)

    def show(self, job: Job | Shell, *, is_lent: bool = False) -> None:
        """Write all that comes on both streams of a job, from now to their ends.

        :param job: a command, or a shell: what it writes while no command runs.
        :param is_lent: whether the job has been lent the terminal; see :meth:`LocalOutput.begin_command`.
        """
        self.stdout.begin_command(is_lent)
        self.stderr.begin_command(is_lent)
        self.stdout.show(job.stdout, job, self.encoding)
        self.stderr.show(job.stderr, job, self.encoding)

    def say(self, text: str) -> None:
        """Tell the user something, in one line on standard error that begins with the program's name, unless silent."""
        if not self._is_silent:
            self._tell(f"{PROGRAM}: {printable(text)}")

    def remark(self, text: str) -> None:
        """Tell the user something about the last command, in one line on standard error, unless quiet."""
        if not self.quiet:
            self.tell_line(text)

    def tell_line(self, text: str) -> None:
        """Tell the user a line that was asked for, on standard error or in the log file."""
        self._tell(printable(text))

    def _tell(self, line: str) -> None:
        if self.log is not None:
            self.log.write(f"{line}\n")
        else:
            self.end_line()
            self.stderr.say(line)

    def tell(self, ending: Ending) -> int:
        """Tell the user how a command ended, if the exit status does not say it.

        :param ending: how it ended.
        :returns: the exit status that stands for it.
        """
        text = describe_ending(ending)
        # A user with a reader that has enough, such as "head", knows why the command broke off; on a terminal, which is
        # hung up then, by HUP.
        is_expected = self.stdout.reader_left and ending in {Signalled("PIPE"), Signalled("HUP")}
        status = exit_status(ending)
        if text is None or is_expected:
            return status
        if isinstance(ending, Refused) and status != FAILURE_STATUS:
            self._tell(f"{PROGRAM}: {printable(text)}")  # as a shell would say that a command is not there
        elif isinstance(ending, Refused | OutcomeUnknown) or not self.quiet:
            self.say(text)
        return status

    def end_line(self) -> None:
        """End a line that a command left open on a terminal, so that what follows begins its own."""
        self.stdout.end_line()
        self.stderr.end_line()

    def end_command(self) -> None:
        """Take note that the terminal is no longer lent."""
        self.stdout.end_command()
        self.stderr.end_command()

    def hold(self, holder: IOutputHolder) -> None:
        """Write nothing until :meth:`release`.

        :param holder: told when there is something to write.
        """
        self.stdout.hold(holder)
        self.stderr.hold(holder)

    def release(self) -> None:
        """Write what has been held, and all that follows.  May be called more than once."""
        self.stdout.release()
        self.stderr.release()

    async def flushed(self) -> None:
        """Wait until everything is written, or never will be."""
        await self.stdout.flushed()
        await self.stderr.flushed()

    async def settle(self) -> None:
        """Wait until everything is written and its last line ended, so that a prompt may follow."""
        self.end_line()
        while self.stdout.is_pending or self.stderr.is_pending:
            await self.flushed()
            self.end_line()  # more output may have come meanwhile

    def check(self) -> None:
        """Check that both outputs work, apart from one that its reader left.

        :raises OutputFailed: one of them does not.
        """
        for name, output in (("stdout", self.stdout), ("stderr", self.stderr)):
            if output.error is not None and not output.reader_left:
                raise OutputFailed(f"cannot write to {name}: {output.error.strerror}")

    def stop(self) -> None:
        """Write no more, and close what was opened.  May be called more than once."""
        self.stdout.stop()
        self.stderr.stop()
