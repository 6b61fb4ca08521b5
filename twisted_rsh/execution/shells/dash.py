r"""dash: its commands are typed as they are, line by line, as in a script.

dash reads its commands from a FIFO that it opens by name, as it would a script.  It keeps the FIFO above the
descriptors that a command can name, and its children do not get it.  It is interactive, so that an interrupt and an
error leave it alive.  One command is two pieces::

    \. '…/open' "$_"; \command printf 's 5\n%.0s' "$_" 1<>'…/reports'; \. '…/status3' "$_" && \: "$_"
    TEXT

    { \command printf 'e 5 %s %s\n%.0s' "$?" "$-" "$_" 1<>'…/reports' || \:; PS1= PS2=; } 2>/dev/null

The first line opens the input if another one than before is wanted, says that the command begins, and puts ``$?`` back.
The text follows as it was given.  Nothing of ours is around it: what ``set -e`` exempts stays exempt, an alias holds
from the next line on, a message names no ``eval``.

When dash abandons a command, as it does at an interrupt, at a syntax error or at ``${x?}``, it forgets what it has read
and not used.  So each piece is a packet of the FIFO (pipe(2), ``O_DIRECT``), and dash reads one at a time: it forgets
the rest of the text, and never the report.  Where the system has no packets, the report waits until the command has
begun, as dash has read the whole text then.

What may be incomplete (:mod:`twisted_rsh.execution.shells.completeness`) and what does not fit into a packet is
evaluated.  The shell then finds the end of the text where it is.  If an alias makes a text incomplete, the shell takes
the report for a part of it: a question that was read and not answered tells that, and the shell is interrupted.

dash prints ``PS1`` before each line, so both prompts are empty while a text that does not name them runs.

Sources: dash(1); pipe(2), pipe(7).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal

from twisted.internet.interfaces import IDelayedCall

from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import InputPipe
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.completeness import is_complete
from twisted_rsh.execution.shells.evaluation import WITHHELD, ReportReader
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.report_fifo import ReportFifo
from twisted_rsh.execution.shells.reports import GarbledReport, Report, ReportKind
from twisted_rsh.execution.shells.talk import Dialect, Launch, TalkListener, quoted

__all__ = ["DASH", "MAX_PACKET_BYTES", "SWALLOWED_SECONDS", "DashTalk"]

MAX_PACKET_BYTES = 4096
"""Bytes of a packet: Linux's ``PIPE_BUF``.  A longer text would be two, and dash might forget only one of them."""

SWALLOWED_SECONDS = 0.25
"""Seconds after which a question that was read and not answered has been taken for a part of the command."""

_MAX_SWALLOWED = 2
"""Questions in a row that are read and not answered until the shell is given up: the first costs an interrupt."""

_NULL_DEVICE = os.fsencode(os.devnull)

_SPARE_BYTES = 1024
"""Bytes of a packet that are for the line before the text: three paths in a folder for temporary files."""


class _Dash:
    """The dialect of dash."""

    name = "dash"

    def arguments(self, *, startup_files: bool) -> tuple[bytes, ...]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.arguments`; only ``$ENV`` is a start-up file."""
        return (b"-i",)

    def withheld(self, *, startup_files: bool) -> frozenset[bytes]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.withheld`."""
        return WITHHELD - {b"ENV"} if startup_files else WITHHELD

    def start_talk(
        self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener
    ) -> DashTalk:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.start_talk`."""
        return DashTalk(reactor, plan, folder, listener)


DASH: Dialect = _Dash()
"""The Debian Almquist shell."""


class DashTalk:
    """A :class:`~twisted_rsh.execution.shells.talk.Talk` with dash.

    :param reactor: watches the FIFOs, and tells the time.
    :param plan: what the process is going to execute.
    :param folder: holds the FIFOs.
    :param listener: hears the reports.
    :raises OSError: the FIFOs cannot be made; no descriptor stays open.
    """

    def __init__(self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener) -> None:
        self._reactor = reactor
        self._plan = plan
        self._folder = folder
        self._listener = listener
        self._reader = ReportReader()
        self._transport: SpawnedProcess | None = None
        self.number = self._last_command = self._answered = 0
        self._is_aside = False
        self._status = 0
        self._flags = b""
        self._source: bytes | None = _NULL_DEVICE
        self._files: dict[bytes, bytes] = {}
        self._later = b""
        self._swallowed = 0
        self._check: IDelayedCall | None = None
        # dash takes the name of its commands' file for its own, `$0`, and puts it in front of every message.
        name = os.path.basename(plan.executable)
        path = folder.place(os.fsdecode(name))
        os.mkfifo(path, 0o600)
        self._reports = ReportFifo(reactor, folder, self._received)
        self._report_word = quoted(self._reports.path)
        try:
            commands = above_child_fds(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except BaseException:
            self._reports.close()
            raise
        self._commands = InputPipe(reactor, commands, 0)
        self._has_packets = _make_packets(commands)
        self.launch = Launch(arguments=(name,), cwd=os.path.dirname(path), input_at=0)

    def started(self, transport: SpawnedProcess) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.started`."""
        self._transport = transport
        if transport.terminal_name is not None:
            self._source = None

    def open(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.open`."""
        # `cd` exports PWD, which a shell that is started in its folder does not.
        line = rb"\cd -- %s || \exit 2; \unset OLDPWD PWD; PWD=%s; \unset HISTFILE; \set +o emacs +o vi +v; "
        folder = quoted(self._plan.cwd)
        exported = any(name == b"PWD" for name, _ in self._plan.environment)
        opening = line % (folder, folder) + (rb"\export PWD; " if exported else b"") + rb"\: "
        self._commands.write(b"{ %s; } 2>/dev/null\n" % opening)
        self._commands.write(self._report(b"e", 0))

    def send_command(self, text: bytes, source: bytes | None, *, aside: bool) -> int:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.send_command`."""
        self.number += 1
        self._last_command = self.number
        self._is_aside = aside
        is_bare = len(text) <= MAX_PACKET_BYTES - _SPARE_BYTES and is_complete(text)
        if not is_bare:
            text = rb"\eval " + quoted(text + b"\n")
        if aside:
            text = b"(%s\n) && \\:" % text
        first = self._first_line(source)
        if is_bare and len(first) + len(text) > MAX_PACKET_BYTES - 1:
            text = rb"\eval " + quoted(text + b"\n")
        self._commands.write(first + text + b"\n")
        report = self._report(b"e", self.number)
        if self._has_packets:
            self._commands.write(report)
        else:
            self._later = report
        return self.number

    def command_ended(self, report: Report) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.command_ended`."""
        if not self._is_aside:
            self._status, self._flags = report.status, report.flags

    def ask(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.ask`."""
        if not self._commands.buffered():
            self._ask()

    def is_in_step(self, report: Report) -> bool:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.is_in_step`."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command

    def leave(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.leave`."""
        # At the end of its input an interactive dash prints a newline, and exits with the status of its last line.
        line = rb"\set +i"
        if self._status:
            line += rb'; \. %s "$_" && \: "$_"' % self._status_file()
        self._commands.write(b"{ %s; } 2>/dev/null\n" % line)
        self._commands.end()

    def exited(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.exited`."""
        self._reports.take()
        self.close()

    def close(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.close`."""
        self._stop_checking()
        self._commands.close()
        self._reports.close()

    # Lines

    def _first_line(self, source: bytes | None) -> bytes:
        """Return the line before a command's text.  ``$_`` is the last word of each command, so it stays."""
        parts = []
        if source != self._source:
            self._source = source
            parts.append(rb'\. %s "$_"; ' % self._file(b"open", rb"\exec <%s" % quoted(source or _NULL_DEVICE)))
        parts.append(rb"""\command printf 's %d\n%%.0s' "$_" 1<>%s""" % (self.number, self._report_word))
        if self._status:
            parts.append(rb'; \. %s "$_" && \: "$_"' % self._status_file())
        line = b"".join(parts)
        return b"{ %s; } 2>/dev/null\n" % line if b"x" in self._flags else line + b"\n"

    def _status_file(self) -> bytes:
        # With `&&` behind it, no status ends a shell in which `set -e` is on.
        return self._file(b"status", rb"\return %d && \:" % self._status)

    def _file(self, name: bytes, text: bytes) -> bytes:
        """Return the quoted path of a file of commands; write the file unless it is there."""
        path = self._files.get(text)
        if path is None or not os.path.exists(path):
            path = self._files[text] = self._folder.place(f"{os.fsdecode(name)}-{len(self._files)}")
            with open(path, "xb") as file:
                file.write(text + b"\n")
        return quoted(path)

    def _report(self, kind: bytes, number: int) -> bytes:
        """Return the line that reports a status and the options, without any output."""
        words = rb"""'%s %d %%s %%s\n%%.0s' "$?" "$-" "$_" """ % (kind, number)
        say = rb"\command printf %s1<>%s" % (words, self._report_word)
        return b"{ %s || \\:; PS1= PS2=; } 2>/dev/null\n" % say

    # Reports

    def _received(self, data: bytes) -> None:
        try:
            reports = self._reader.feed(data)
        except GarbledReport:
            self._reports.close()
            self._listener.garbled()
            return
        for report in reports:
            if report.kind is ReportKind.BEGUN:
                later, self._later = self._later, b""
                self._commands.write(later)
            elif report.number == self.number:
                self._stop_checking()
            self._listener.reported(report)

    # Questions

    def _ask(self) -> None:
        self.number += 1
        later, self._later = self._later, b""
        self._commands.write(later + self._report(b"r", self.number))
        if self._check is None:
            self._check = self._reactor.callLater(SWALLOWED_SECONDS, self._look)

    def _look(self) -> None:
        """Interrupt a shell that has taken a question for a part of the command; give up one that cannot answer."""
        self._check = None
        if self._commands.buffered() or not self._is_idle():
            self._check = self._reactor.callLater(SWALLOWED_SECONDS, self._look)
            return
        self._swallowed += 1
        if self._swallowed > _MAX_SWALLOWED:
            self._listener.give_up("the shell can report no more, as with too low a limit of open files; it was ended")
            return
        assert self._transport is not None
        if self._transport.pid is not None:
            os.kill(self._transport.pid, signal.SIGINT)
        self._ask()

    def _is_idle(self) -> bool:
        """Return whether the shell waits for something; ``True`` where the system does not tell."""
        pid = None if self._transport is None else self._transport.pid
        if pid is None:
            return False
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"S"
        return True

    def _stop_checking(self) -> None:
        self._swallowed = 0
        if self._check is not None:
            self._check.cancel()
            self._check = None


def _make_packets(fd: int) -> bool:
    """Make each write to a FIFO a packet that a read takes alone.

    :param fd: a descriptor of the FIFO.
    :returns: whether the system can do it.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    except (AttributeError, OSError):
        return False
    return True
