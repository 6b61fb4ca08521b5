"""The interface between a persistent shell and the way the server talks to one kind of shell.

A *dialect* is one kind of shell.  It starts a *talk* for each process: the talk says how the process is started, types
the texts of the commands, and turns what comes back into reports.  The shell hears them as a `TalkListener`.

To add a way to talk to a shell, write a :class:`Dialect` and a :class:`Talk`, and name the dialect in
:data:`twisted_rsh.execution.shells.dialects.DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.reports import Report

__all__ = ["Dialect", "InterruptibleTalk", "Launch", "Talk", "TalkListener", "quoted"]


def quoted(text: bytes) -> bytes:
    """Quote text for any POSIX shell, and for zsh with any options.

    :param text: bytes without NUL.
    :returns: one shell word that stands for exactly these bytes.
    """
    return b"'" + text.replace(b"'", b"'\\''") + b"'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a talk wants the shell's process to be started.

    :ivar arguments: program arguments after those of the dialect.
    :ivar environment: variables that replace those of the plan.
    :ivar inherited: the descriptors that the process gets besides its outputs: the number in the process, and ours.
        They stay the talk's, which closes them in `started` and in `close`.
    :ivar input_at: the number at which the process has its terminal open for reading, besides 1 and 2; ``None`` for
        none.  Without a terminal it has no meaning.
    :ivar cwd: the folder to start it in instead of the plan's; ``None`` for the plan's.
    :ivar error_at: the number at which the process has its error output.  With a terminal it has no meaning.
    :ivar first_error: the descriptor of ours that the process has as 2 at first, where `error_at` is another one.  It
        stays the talk's, too.
    """

    arguments: tuple[bytes, ...] = ()
    environment: Mapping[bytes, bytes] = field(default_factory=dict)
    inherited: Mapping[int, int] = field(default_factory=dict)
    input_at: int | None = None
    cwd: bytes | None = None
    error_at: int = 2
    first_error: int | None = None


class TalkListener(Protocol):
    """The shell, as its talk sees it.  Every call comes from the reactor or from within :meth:`Talk.ask`."""

    def reported(self, report: Report) -> None:
        """Take a report.  A second report of the same end is ignored."""

    def garbled(self) -> None:
        """End the shell: the channel of its reports carried something that is no report."""

    def give_up(self, text: str) -> None:
        """End a shell that cannot be used any more.

        :param text: one line that says why.
        """


class Talk(Protocol):
    """The talk with one shell.

    The calls come in this order: `launch` is read; `started` when the process runs, or `close` if it could not be
    started; `open`; then `send_command`, `ask` and `command_ended` as commands come and go; `leave` at most once;
    `exited` when the process has ended.

    :ivar launch: how the process is to be started.
    :ivar number: the number of the last text or question; no report has a greater one.
    """

    launch: Launch
    number: int

    def started(self, transport: SpawnedProcess) -> None:
        """Close our copies of what the process has inherited.

        :param transport: the process; its `terminal_name` is the path of its terminal.
        """

    def open(self) -> None:
        """Send the first text.  `Report(ENDED, 0)` follows when the shell is ready."""

    def send_command(self, text: bytes, source: bytes | None, *, aside: bool) -> int:
        """Have the shell run a command.

        `Report(BEGUN, number)` follows when the shell has read the whole text and opened the input, so that it may be
        interrupted; then `Report(ENDED, number, status, flags)`.  A command that cannot be begun has only the second.
        The text may be anything without NUL; what is incomplete or no command at all must end with a status, and
        leave the next text alone.

        :param text: the command's text.
        :param source: the path of the input, or ``None`` for the terminal.
        :param aside: whether to run it in a subshell that leaves nothing behind: no status, options or history.
        :returns: the command's number.
        """

    def command_ended(self, report: Report) -> None:
        """Keep what the next command needs.

        :param report: the report of the end.
        """

    def ask(self) -> None:
        """Find out whether the shell is at its prompt: ask it, unless it has not read the last question.

        A report that satisfies :meth:`is_in_step` follows when it is, possibly from within this call.

        :raises OSError: the question cannot be asked.
        """

    def look(self) -> None:
        """Find out whether the command has begun, and report it, if reports of that do not come by themselves.

        There is something to do with a command that has begun: a signal waits, or the command is to end.
        """

    def is_in_step(self, report: Report) -> bool:
        """Return whether a report answers a question that was asked after the last command."""

    def leave(self) -> None:
        """Let the shell exit by itself: the end of its input.  Only called at the prompt."""

    def exited(self) -> None:
        """Take the reports that were written before the process ended; then close everything."""

    def close(self) -> None:
        """Close everything: the process could not be started."""


@runtime_checkable
class InterruptibleTalk(Protocol):
    """A :class:`Talk` that has to know of interrupts: its shell may end an interrupted command with another status."""

    def interrupted(self) -> None:
        """Note that the shell itself gets an interrupt, so that the command ends unless the user has a trap for it."""


class Dialect(Protocol):
    """One kind of shell."""

    @property
    def name(self) -> str:
        """The shell's name."""

    def arguments(self, *, startup_files: bool) -> tuple[bytes, ...]:
        """Return the program arguments.

        :param startup_files: whether the shell reads the start-up files of its user, as an interactive shell does.
        """

    def withheld(self, *, startup_files: bool) -> frozenset[bytes]:
        """Return the names of environment variables that the shell is started without.

        :param startup_files: as for :meth:`arguments`.
        """

    def start_talk(self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener) -> Talk:
        """Make ready to talk to a new process.

        :param reactor: watches the channels, and tells the time.
        :param plan: what the process is going to execute.
        :param folder: the private folder of the shell.
        :param listener: hears the reports.
        :raises OSError: a channel cannot be made; no descriptor stays open.
        """
