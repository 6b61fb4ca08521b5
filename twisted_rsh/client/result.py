"""The result of a command that has ended, and the error that reports a failed one."""

from __future__ import annotations

from twisted_rsh.client.status import describe_ending, exit_status
from twisted_rsh.client.text import decode_text
from twisted_rsh.core.endings import Ending, Exited, ResourceUsage
from twisted_rsh.core.errors import Error
from twisted_rsh.core.values import dataclass

__all__ = ["CommandFailed", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """The ending of a command, and everything that it wrote.

    The output is complete unless the ending is :class:`~twisted_rsh.core.endings.OutcomeUnknown`; then, as after a
    time-out, it is what came until then.

    :ivar command: the command line or argument vector.
    :ivar stdout: what it wrote to its standard output.
    :ivar stderr: what it wrote to its standard error.
    :ivar ending: how it ended: one of the classes of :mod:`twisted_rsh.core.endings`.
    :ivar encoding: the code page of its text, as the server named it; ``"utf-8"`` if it never ran.
    :ivar held_open: whether a process that it left behind still held its output when the server closed it.
    :ivar usage: the time and memory that it took, or ``None`` where that is not known.
    :ivar folder: the folder that a :class:`~twisted_rsh.Shell` was in after the command, an absolute path without
        symbolic links; ``None`` where that is not known, and for a command that ran in no such shell.
    :ivar replaced: the mark of a command that was the first in a new shell, because the one before had ended: how that
        one ended.  Its folder, variables, functions and jobs are gone.  ``None`` for any other command.
    """

    command: str | tuple[str, ...]
    stdout: bytes
    stderr: bytes
    ending: Ending
    encoding: str
    held_open: bool
    usage: ResourceUsage | None = None
    folder: str | None = None
    replaced: Ending | None = None

    @property
    def text(self) -> str:
        """The standard output as text; bytes that cannot be decoded are surrogate escapes, and nothing is lost."""
        return decode_text(self.stdout, self.encoding)

    @property
    def error_text(self) -> str:
        """The standard error as text, likewise."""
        return decode_text(self.stderr, self.encoding)

    @property
    def status(self) -> int:
        """The one number that stands for the ending where only a number can
        (:func:`twisted_rsh.client.status.exit_status`)."""
        return exit_status(self.ending)

    def check(self) -> Result:
        """Return this result if the command exited with status 0.

        :raises twisted_rsh.client.result.CommandFailed: it did not; the exception has the result.
        """
        if isinstance(self.ending, Exited):
            if not self.ending.code:
                return self
            how = f"exited with status {self.ending.code}"
        else:
            how = describe_ending(self.ending) or ""
        raise CommandFailed(f"{self.command!a}: {how}", self)


class CommandFailed(Error):
    """A command did not exit with status 0.

    :ivar result: everything that is known of it.
    """

    def __init__(self, text: str, result: Result) -> None:
        super().__init__(text)
        self.result = result
