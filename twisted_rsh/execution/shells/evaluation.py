r"""A talk by evaluation: each command is one line that evaluates its text, for shells that have no better way.

The shell is interactive, reads its commands from descriptor 0, and reports on descriptor 9.  One command is one line::

    { { GUARD; printf 's 5\n' >&9; } >/dev/null 2>&1; eval 'TEXT' 9>&-; REPORT; } <INPUT

The marker ``s`` says that the shell has read the whole line and opened the input.  The server may interrupt the shell
from then on, and no sooner.  REPORT tells the status and the shell's options.  It then undoes whatever the text has
done to the prompts and to the commands that run at a prompt.  GUARD makes the shell report by itself when it abandons
the line, as it does at an interrupt or at ``${x?}``: in bash as ``PROMPT_COMMAND``, in zsh as ``precmd``, in dash as
part of ``PS1``.  Both reports carry the command's number, so the server takes whichever comes first and ignores the
other.  In zsh the line also watches the ``eval``, so that GUARD reports 130 after an interrupt.  GUARD and REPORT send
their own output, such as a trace that the user has switched on, to ``/dev/null``.

Sources: bash(1), dash(1), zshmisc(1), zshparam(1), zshoptions(1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted_rsh.execution.processes.descriptors import open_pipe
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES, FlowControlledProtocol, InputPipe, OutputPipe
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.reports import INTERRUPTED, GarbledReport, Report, ReportKind
from twisted_rsh.execution.shells.talk import Launch, TalkListener, quoted

__all__ = [
    "MAX_REPORT_BYTES",
    "STATUS_FD",
    "TERMINAL_FD",
    "WITHHELD",
    "Evaluation",
    "EvaluationTalk",
    "ReportReader",
    "Syntax",
    "unwatched",
]

STATUS_FD = 9
"""The shell's descriptor for its reports: the highest that dash accepts in a redirection."""

TERMINAL_FD = 8
"""The shell's descriptor for its terminal; the commands get it as their standard input."""

WITHHELD = frozenset({b"ENV", b"BASH_ENV", b"HISTFILE", b"PROMPT_COMMAND", b"PS0", b"PS1", b"PS2", b"TMOUT", b"MAIL"})
"""Variables that would make a shell run or print something by itself, keep a history, or exit."""


@dataclass(frozen=True, slots=True)
class Syntax:
    r"""The lines to write to one kind of shell.

    :ivar opening: the first commands; they switch off what only a person at a keyboard wants.
    :ivar builtin: the word before a built-in command; it bypasses an alias or function of the same name.
    :ivar restore: commands that undo a user's changes to the prompts; their output is discarded.
    :ivar guard: given the commands that report, returns the commands that make the shell run them when it abandons a
        line.
    :ivar watch: given a command and the commands that report :data:`INTERRUPTED`, returns the command with a wrapper
        that reports so after an interrupt.
    """

    opening: bytes
    builtin: bytes
    restore: bytes
    guard: Callable[[bytes], bytes]
    watch: Callable[[bytes, bytes], bytes]

    def _report(self, kind: bytes, number: int, status: bytes = b'"$?"') -> bytes:
        """Return the commands that report a status and the options, then restore the prompts, without any output."""
        words = b"'%s %d %%s %%s\\n' %s \"$-\"" % (kind, number, status)
        say = b"%s printf %s >&%d" % (self.builtin, words, STATUS_FD)
        return b"{ %s; %s; } >/dev/null 2>&1" % (say, self.restore)

    def opening_line(self) -> bytes:
        """Return the first line to write.  The shell reports its end as the end of command 0.

        :returns: one line, with its newline.
        """
        return b"{ %s; } >/dev/null 2>&1; %s\n" % (self.opening, self._report(b"e", 0))

    def command_line(
        self, number: int, text: bytes, *, source: bytes | None, status: int = 0, flags: bytes = b""
    ) -> bytes:
        """Return the line that runs a command.

        :param number: the command's number.
        :param text: the command; it may have several lines, and a syntax error does no harm.
        :param source: the path of the command's input, or ``None`` for the terminal.
        :param status: the status of the previous command, for ``$?``.
        :param flags: the options that are on, from the previous command's report.
        :returns: one line to the shell, however many newlines are in it.  An empty line precedes it after a status
            other than 0.
        """
        if status and b"e" not in flags:  # with errexit on, `(exit N)` would end the shell
            text = b"(exit %d)\n%s" % (status, text)
        opening = b"%s; %s printf 's %d\\n' >&%d" % (
            self.guard(self._report(b"e", number)),
            self.builtin,
            number,
            STATUS_FD,
        )
        if b"x" in flags:  # the trace shows the user's commands, never the server's
            opening = b"%s set +x; %s" % (self.builtin, opening)
            text = b"%s set -x\n%s" % (self.builtin, text)
        closing = b"%d>&-" % STATUS_FD
        if source is None:
            closing += b" %d<&-" % TERMINAL_FD
        evaluation = b"%s eval %s %s" % (self.builtin, quoted(text), closing)
        source_word = b"<&%d" % TERMINAL_FD if source is None else b"<" + quoted(source)
        evaluation = self.watch(evaluation, self._report(b"e", number, b"%d" % INTERRUPTED))
        parts = (opening, evaluation, self._report(b"e", number), source_word)
        # After an unterminated quote bash rejects the braces of the next line, unless that line is empty.
        before = b"\n" if status else b""
        return before + b"{ { %s; } >/dev/null 2>&1; %s; %s; } %s\n" % parts

    def sync_script(self, number: int) -> bytes:
        """Return the text of the file that :meth:`sync_line` runs.

        :param number: the number of the question; the answer repeats it.
        :returns: the text.
        """
        return self._report(b"r", number) + b"\n"

    def sync_line(self, path: bytes) -> bytes:
        """Return the line that asks whether the shell waits for its next line, and for the status of the last one.

        An interrupt may come while the shell reads this line; the shell then takes the rest for a line of its own.  So
        the line is short, no part of it means anything else, and the commands themselves are in a file.

        :param path: the path of the file.  It ends in a colon: the command ``:`` alone does nothing.
        :returns: one line, with its newline.
        """
        return b". %s\n" % path


MAX_REPORT_BYTES = 256
"""Bytes of one report: a letter, two numbers, and the letters of the options, of which zsh has about 60."""

_REPORT = re.compile(rb"(?:(s) (\d{1,18})|([er]) (\d{1,18}) (\d{1,3}) ([!-~]*))")
"""``s 5``: command 5 begins.  ``e 5 0 himBs``: it has ended with status 0.  ``r 6 0 himBs``: the answer to question 6.
"""


class ReportReader:
    """Splits the bytes of a status pipe into reports.  It holds at most :data:`MAX_REPORT_BYTES` between two calls."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Report]:
        """Parse bytes from the status pipe.

        :param data: the bytes, in pieces of any size.
        :returns: the reports that are complete now, in order.
        :raises GarbledReport: a line is no report, or a report is too long.
        """
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > MAX_REPORT_BYTES:
            raise GarbledReport
        return [_parse(line) for line in lines]


def _parse(line: bytes) -> Report:
    found = _REPORT.fullmatch(line)
    if found is None or len(line) > MAX_REPORT_BYTES:
        raise GarbledReport
    begun, begun_number, kind, number, status, flags = found.groups()
    if begun:
        return Report(ReportKind.BEGUN, int(begun_number))
    if int(status) > 255:
        raise GarbledReport
    return Report(ReportKind(kind), int(number), int(status), flags)


def unwatched(command: bytes, _report: bytes) -> bytes:
    """Return the command as it is: the `watch` of a shell that needs none."""
    return command


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A dialect that is spoken by evaluation.

    :ivar name: the shell's name.
    :ivar clean: program arguments that make it interactive, without start-up files and without line editing.
    :ivar own: program arguments that make it interactive without line editing.
    :ivar syntax: the lines to write to it.
    """

    name: str
    clean: tuple[bytes, ...]
    own: tuple[bytes, ...]
    syntax: Syntax

    def arguments(self, *, startup_files: bool) -> tuple[bytes, ...]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.arguments`."""
        return self.own if startup_files else self.clean

    def withheld(self, *, startup_files: bool) -> frozenset[bytes]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.withheld`."""
        return WITHHELD - {b"ENV"} if startup_files else WITHHELD

    def start_talk(
        self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener
    ) -> EvaluationTalk:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.start_talk`."""
        return EvaluationTalk(self.syntax, reactor, folder, listener)


class EvaluationTalk(FlowControlledProtocol):
    """A :class:`~twisted_rsh.execution.shells.talk.Talk` by evaluation.

    It numbers the lines, and carries the status and the options from one command to the next.

    :param syntax: the lines to write.
    :param reactor: watches the pipes.
    :param folder: holds the file of a question.
    :param listener: hears the reports.
    :raises OSError: the pipes cannot be made; no descriptor stays open.
    """

    def __init__(self, syntax: Syntax, reactor: IJobReactor, folder: PrivateFolder, listener: TalkListener) -> None:
        self._syntax = syntax
        self._folder = folder
        self._listener = listener
        self._reader = ReportReader()
        self.number = self._last_command = 0
        self._is_aside = False
        self._status = 0
        self._flags = b""
        command_reader, command_writer = open_pipe()
        try:
            status_reader, status_writer = open_pipe()
        except BaseException:
            os.close(command_reader)
            os.close(command_writer)
            raise
        self.launch = Launch(inherited={0: command_reader, STATUS_FD: status_writer}, input_at=TERMINAL_FD)
        self._commands = InputPipe(reactor, command_writer, 0)
        self._reports = OutputPipe(reactor, status_reader, STATUS_FD, self)

    def started(self, transport: SpawnedProcess) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.started`."""
        self._close_inherited()
        self._reports.resume()

    def open(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.open`."""
        self._commands.write(self._syntax.opening_line())

    def send_command(self, text: bytes, source: bytes | None, *, aside: bool) -> int:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.send_command`."""
        self.number += 1
        self._last_command = self.number
        self._is_aside = aside
        if aside:
            text = b"(%s\n)" % text
        line = self._syntax.command_line(self.number, text, source=source, status=self._status, flags=self._flags)
        self._commands.write(line)
        return self.number

    def command_ended(self, report: Report) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.command_ended`."""
        if not self._is_aside:
            self._status, self._flags = report.status, report.flags

    def ask(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.ask`."""
        if self._commands.buffered():
            return
        path = self._folder.place("sync:")
        with open(path, "xb") as file:
            file.write(self._syntax.sync_script(self.number + 1))
        self.number += 1
        self._commands.write(self._syntax.sync_line(path))

    def look(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.look`: the reports come by themselves."""

    def is_in_step(self, report: Report) -> bool:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.is_in_step`."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command

    def leave(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.leave`.

        At the end of its input the shell would exit with the status of our own last command.
        """
        if self._status:
            self._commands.write(b"%s exit %d\n" % (self._syntax.builtin, self._status))
        self._commands.end()

    def exited(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.exited`."""
        self._commands.close()
        if not self._reports.is_closed:
            self._reports.doRead()
            self._reports.close()

    def close(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.close`."""
        self._close_inherited()
        self._commands.close()
        self._reports.close()

    def _close_inherited(self) -> None:
        for fd in self.launch.inherited.values():
            os.close(fd)

    # The pipe of the reports

    def output_room(self, childFD: int) -> int:
        """See :meth:`FlowControlledProtocol.output_room`: a report always has room."""
        return READ_BYTES

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Read reports, and pass them on."""
        try:
            reports = self._reader.feed(data)
        except GarbledReport:
            self._reports.close()
            self._listener.garbled()
            return
        for report in reports:
            self._listener.reported(report)
