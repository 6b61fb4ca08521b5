r"""dash: its commands are typed as they are, line by line, as in a script.

dash reads its commands from a FIFO that it opens by name, as it would a script.  It keeps the FIFO above the
descriptors that a command can name, and its children do not get it.  It is interactive, so that an interrupt and an
error leave it alive.  One command is two pieces::

    \. …/open "$_"; \command printf 's 5\n%.0s' "$_" 1<>…/reports; \. …/status "$_" && \: "$_"
    TEXT

    { \command printf 'e 5 %s %s\n%.0s' "$?" "$-" "$_" 1<>…/reports || \:; PS1= PS2=; } 2>&-

The first line opens the input if the command has one, says that the command begins, and puts ``$?`` back.  The text
follows as it was given.  Nothing of ours is around it: what ``set -e`` exempts stays exempt, an alias holds from the
next line on, a message names no ``eval``.

When dash abandons a command, as it does at an interrupt, at a syntax error or at ``${x?}``, it forgets what it has read
and not used.  So each piece is a packet of the FIFO (pipe(2), ``O_DIRECT``), and dash reads one at a time: it forgets
the rest of the text, and never the report.  Where the system has no packets, the report waits until the command has
begun, as dash has read the whole text then.

What may be incomplete (:mod:`twisted_rsh.execution.shells.completeness`) is shown to another dash first, which says
what is wrong with it.  What does not fit into a packet is evaluated, and so is what the prompt must not show: dash
prints ``PS1`` before each line, so both prompts are empty, and a text that names them finds the user's.  If an alias
makes a text incomplete, the shell takes the report for a part of it.  A question that was read and not answered tells
that, and the shell is interrupted.

Sources: dash(1); pipe(2), pipe(7).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
from dataclasses import replace

from twisted.internet.interfaces import IDelayedCall

from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import InputPipe
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.completeness import complete_size
from twisted_rsh.execution.shells.evaluation import WITHHELD, Evaluation, ReportReader, Syntax, unwatched
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.report_fifo import ReportFifo
from twisted_rsh.execution.shells.reports import INTERRUPTED, GarbledReport, Report, ReportKind
from twisted_rsh.execution.shells.talk import Dialect, Launch, TalkListener, quoted

__all__ = [
    "DASH",
    "INTERRUPT_SECONDS",
    "MAX_EXAMINED_BYTES",
    "MAX_PACKET_BYTES",
    "MAX_PROMPT_BYTES",
    "PLAIN",
    "SWALLOWED_SECONDS",
    "DashTalk",
]

MAX_PACKET_BYTES = 4096
"""Bytes of a packet: Linux's ``PIPE_BUF``.  A longer text would be two, and dash might forget only one of them."""

SWALLOWED_SECONDS = 0.25
"""Seconds after which a question that was read and not answered has been taken for a part of the command."""

LOOK_SECONDS = 0.002
"""Seconds between two looks whether a command has begun, for which a signal waits."""

_MARK_BYTES = 20
"""Bytes of the number of a command and a newline."""

INTERRUPT_SECONDS = 0.05
"""Seconds between an interrupt and the next question, which dash would forget if it read it before the interrupt."""

_MUTE = "the shell can report no more, as with too low a limit of open files; it was ended"

_MAX_SWALLOWED = 2
"""Questions in a row that are read and not answered until the shell is given up: the first costs an interrupt."""

_NULL_DEVICE = os.fsencode(os.devnull)

MAX_EXAMINED_BYTES = MAX_PACKET_BYTES - 1024
"""Bytes of a text that may go bare: the rest of its packet is for the line before it, with paths in a private folder.
It also bounds the time of the look whether the text is complete."""

MAX_PROMPT_BYTES = 512
"""Bytes of ``PS1`` and of ``PS2`` that are kept for the user; a prompt of more is cut."""

_LEAVES_VERBOSE = re.compile(
    rb"\bset\s+(?:-[a-zA-Z]*v|-o\s+verbose)(?!.*\bset\s+(?:\+[a-zA-Z]*v|\+o\s+verbose))", re.DOTALL
)
"""A text after which ``set -v`` is on: dash would show the report's line."""


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


def _guard(report: bytes) -> bytes:
    return b"PS1=" + quoted(b"$(%s)" % report)


PLAIN: Dialect = Evaluation(
    name="dash",
    clean=(b"-i",),
    own=(b"-i",),
    syntax=Syntax(
        opening=b"unset HISTFILE; set +o emacs +o vi",
        builtin=rb"\command",
        restore=rb"PS1= PS2=; \command set +v",
        guard=_guard,
        watch=unwatched,
    ),
)
"""Any other plain POSIX shell, such as ash, and dash on a system without ``/proc``."""


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
        self._source = _NULL_DEVICE
        self._files: dict[str, tuple[bytes, bytes]] = {}
        self._kept: Report | None = None
        self._names_prompts = self._keeps_jobs = False
        self._prompts = (b"", b"")
        self._prompts_path = folder.place("prompts")
        self._later = b""
        self._swallowed = 0
        self._check: IDelayedCall | None = None
        # dash takes the name of its commands' file for its own, `$0`, and puts it in front of every message.
        name = self._name = os.path.basename(plan.executable)
        path = folder.place(os.fsdecode(name))
        mark_path = folder.place("begun")
        os.mkfifo(path, 0o600)
        with contextlib.ExitStack() as on_failure:
            self._reports = ReportFifo(reactor, folder, self._received)
            on_failure.callback(self._reports.close)
            mark = os.open(mark_path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._mark = above_child_fds(mark)
            on_failure.callback(os.close, self._mark)
            commands = above_child_fds(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            on_failure.pop_all()
        report = quoted(self._reports.path)
        self._say_rest = rb""" %s %s\n%.0s' "$?" "$-" "$_" 1<>""" + report
        self._begin_rest = rb"""\n%.0s' "$_" 1<>""" + report
        self._mark_rest = rb"""\n%.0s' "$_" 1<>""" + quoted(mark_path)
        self._is_quiet = False
        self._looking: IDelayedCall | None = None
        self._commands = InputPipe(reactor, commands, 0)
        self._has_packets = _make_packets(commands)
        self.launch = Launch(arguments=(name,), environment={b"ENV": b""}, cwd=os.path.dirname(path), input_at=0)

    def started(self, transport: SpawnedProcess) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.started`."""
        self._transport = transport

    def open(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.open`."""
        environment = dict(self._plan.environment)
        folder = quoted(self._plan.cwd)
        # `cd` exports PWD, which a shell that is started in its folder does not.
        opening = rb"\cd -- %s || \exit 2; \unset OLDPWD PWD ENV HISTFILE; PWD=%s; " % (folder, folder)
        if b"PWD" in environment:
            opening += rb"\export PWD; "
        # An interactive dash ignores TERM, and so does its child until it has come to put it back: `kill` might be
        # faster.  A wrong option keeps `set` from doing more than to change the letter before it.
        opening += rb"\command set +iZ; \trap - TERM; \command set -iZ"
        self._commands.write(b"{ %s; } 2>/dev/null\n" % opening)
        if startup := environment.get(b"ENV"):
            # dash itself would read it before it is in its folder.
            line = rb'ENV=%s; \export ENV; \eval "\\command \\. \"$ENV\""' % quoted(startup)
            self._commands.write(line + b"\n")
        self._names_prompts = True
        self._commands.write(rb"\set +o emacs +o vi; { %s; } 2>/dev/null" % self._keep_prompts() + b"\n")
        self._commands.write(self._report(b"e", 0))

    def send_command(self, text: bytes, source: bytes | None, *, aside: bool) -> int:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.send_command`."""
        self.number += 1
        self._last_command = self.number
        self._is_aside = aside
        self._kept = None
        self._names_prompts = b"PS1" in text or b"PS2" in text
        complete = complete_size(text) if len(text) <= MAX_EXAMINED_BYTES else -1
        if b"$!" in text and self._transport is not None and self._transport.terminal_name is not None:
            self._keeps_jobs = True
        is_bare = complete >= 0 and not (self._names_prompts or self._keeps_jobs or self._is_verbose(text))
        if is_bare:
            line = text[:complete] + (self._checked(text[complete:]) if complete < len(text) else b"")
        else:
            line = self._evaluation(text, is_complete=complete == len(text))
        if aside:
            line = b"(%s\n) && \\:" % line
        self._commands.write(self._first_line(source, traces=is_bare) + line + b"\n")
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
        self._read_mark()
        if not self._commands.buffered():
            self._ask()

    def look(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.look`."""
        self._read_mark()
        if self._is_quiet and self._looking is None:
            self._looking = self._reactor.callLater(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looking = None
        self.look()

    def _read_mark(self) -> None:
        """Report that the command has begun, if its mark says so."""
        if self._is_quiet and os.pread(self._mark, _MARK_BYTES, 0) == b"%d\n" % self._last_command:
            self._begun()

    def _begun(self) -> None:
        self._is_quiet = False
        self._listener.reported(Report(ReportKind.BEGUN, self._last_command))

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
        self._read_mark()
        self.close()

    def close(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.close`."""
        self._stop_checking()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._commands.close()
        self._reports.close()
        os.close(self._mark)

    # Lines

    def _first_line(self, source: bytes | None, *, traces: bool) -> bytes:
        """Return the line before a command's text.  ``$_`` is the last word of each command, so it stays.

        :param source: the path of the input, or ``None`` for the terminal.
        :param traces: whether a trace that is on stays on after this line.
        """
        parts = []
        if source is not None and (source, self._source) != (_NULL_DEVICE, _NULL_DEVICE):
            # A text's own `exec <FILE` holds for the next one, unless that has an input or this one had.
            self._source = source
            parts.append(rb'\. %s "$_"; ' % self._file("open", rb"\exec <%s" % quoted(source)))
        # Without input nothing waits for the beginning: a mark in a file does not wake the server.
        self._is_quiet = self._has_packets and self._source == _NULL_DEVICE == source
        if self._is_quiet:
            parts.append(rb"\command printf '%d%s" % (self.number, self._mark_rest))
        else:
            parts.append(rb"\command printf 's %d%s" % (self.number, self._begin_rest))
        if b"x" in self._flags and not traces:
            parts.append(rb"; \set +x")
        if self._status:
            parts.append(rb'; \. %s "$_" && \: "$_"' % self._status_file())
        line = b"".join(parts)
        return b"{ %s; } 2>/dev/null\n" % line if b"x" in self._flags else line + b"\n"

    def _evaluation(self, text: bytes, *, is_complete: bool) -> bytes:
        """Return the line that evaluates a text.  Its own report, of command 0, comes before the one that ends it.

        :param text: the command.
        :param is_complete: whether the text is known to be complete.
        """
        before = []
        after = [b"%s || \\:" % self._say(b"e", 0)]
        if self._names_prompts:
            before.append(b"PS1=%s PS2=%s" % tuple(map(quoted, self._prompts)))
            after.append(self._keep_prompts())
        if self._keeps_jobs and b"m" in self._flags:
            before.append(rb"\set -m")
            after.append(rb"\set +m")
        if b"x" in self._flags:
            text = b"\\set -x\n" + text
        if b"v" in self._flags:
            before.append(rb"\set -v")
        if self._is_verbose(text):
            after.append(rb"\set +v")
        end = b"{ %s; } 2>/dev/null" % b"; ".join(after)
        if self._is_verbose(text) or (not is_complete and b"e" in self._flags):
            # Of a file dash shows what it reads, and no status of a file ends the shell where `&&` is after it.
            line = rb"\. %s && \:; " % self._file("text", text) + end
        elif is_complete:
            line = rb"\eval " + quoted(text + b"\n" + end)
        else:
            line = rb"\eval " + quoted(text + b"\n") + b"; " + end
        if before and self._status:
            before.append(rb"\. %s && \:" % self._status_file())
        return b"; ".join((*before, line))

    def _checked(self, text: bytes) -> bytes:
        """Return the line that runs what may be incomplete: another dash says what is wrong with it, as of a script."""
        evaluation = rb"\eval " + quoted(text + b"\n")
        if b"x" in self._flags:  # a trace would show both
            return rb"{ \set +x; } 2>/dev/null; \eval " + quoted(b"\\set -x\n" + text + b"\n")
        program = quoted(self._plan.executable)
        return b"%s -nc %s %s && %s" % (program, quoted(text + b"\n"), self._name, evaluation)

    def _is_verbose(self, text: bytes) -> bool:
        """Return whether dash shows what it reads, before or after a text."""
        return b"v" in self._flags or _LEAVES_VERBOSE.search(text) is not None

    def _keep_prompts(self) -> bytes:
        """Return the commands that write both prompts to a file and empty them."""
        return rb"""\command printf '%%s\0%%s%%.0s' "$PS1" "$PS2" "$_" >|%s; PS1= PS2=""" % quoted(self._prompts_path)

    def _read_prompts(self) -> None:
        """Read the prompts that the last command has left."""
        with contextlib.suppress(OSError), open(self._prompts_path, "rb") as file:
            first, _, second = file.read(2 * MAX_PROMPT_BYTES + 1).partition(b"\0")
            self._prompts = (first[:MAX_PROMPT_BYTES], second[:MAX_PROMPT_BYTES])

    def _status_file(self) -> bytes:
        # With `&&` after it, no status ends a shell in which `set -e` is on.
        return self._file(f"status{self._status}", rb"\return %d && \:" % self._status)

    def _file(self, name: str, text: bytes) -> bytes:
        """Return the quoted path of a file of commands; write the file unless it is there with this text."""
        path, written = self._files.get(name, (b"", b""))
        if written != text or not os.path.exists(path):
            path = self._folder.place(name)
            with open(path, "xb") as file:
                file.write(text + b"\n")
            self._files[name] = (path, text)
        return quoted(path)

    def _report(self, kind: bytes, number: int) -> bytes:
        """Return the line that reports a status and the options, without any output.

        Its error output is closed, which costs less than another file.
        """
        return b"{ %s || \\:; PS1= PS2=; } 2>&-\n" % self._say(kind, number)

    def _say(self, kind: bytes, number: int) -> bytes:
        return rb"\command printf '%s %d%s" % (kind, number, self._say_rest)

    # Reports

    def _received(self, data: bytes) -> None:
        try:
            reports = self._reader.feed(data)
        except GarbledReport:
            self._reports.close()
            if data.startswith(self._name + b": "):  # dash itself says why it cannot report
                self._listener.give_up(_MUTE)
            else:
                self._listener.garbled()
            return
        for report in reports:
            if report.kind is ReportKind.BEGUN:
                later, self._later = self._later, b""
                self._commands.write(later)
                self._listener.reported(report)
            elif report.number == 0 and self.number:
                self._kept = report
            else:
                self._ended(report)

    def _ended(self, report: Report) -> None:
        """Pass the report of an end on, with the status that an evaluated text has reported itself."""
        if self._is_quiet:
            if report.status == INTERRUPTED:
                self._read_mark()  # the interrupt may have come first
            else:
                self._begun()
            self._is_quiet = False
        if report.number == self.number:
            self._stop_checking()
            if self._names_prompts:
                self._names_prompts = False
                self._read_prompts()
        if report.number == 0:
            self._flags = report.flags
        if self._kept is not None and report.kind is ReportKind.ENDED:
            report = replace(self._kept, number=report.number)
        self._listener.reported(report)

    # Questions

    def _ask(self) -> None:
        self.number += 1
        later, self._later = self._later, b""
        # The empty line has dash print what it has to say of jobs, before it answers that it is in step.
        self._commands.write(later or b"\n")
        self._commands.write(self._report(b"r", self.number))
        if self._check is None:
            self._check = self._reactor.callLater(SWALLOWED_SECONDS, self._check_answer)

    def _check_answer(self) -> None:
        """Interrupt a shell that has taken a question for a part of the command; give up one that cannot answer."""
        self._check = None
        if self._commands.buffered() or not self._is_idle():
            self._check = self._reactor.callLater(SWALLOWED_SECONDS, self._check_answer)
            return
        self._swallowed += 1
        if self._swallowed > _MAX_SWALLOWED:
            self._listener.give_up(_MUTE)
            return
        assert self._transport is not None
        if self._transport.pid is not None:
            os.kill(self._transport.pid, signal.SIGINT)
        self._check = self._reactor.callLater(INTERRUPT_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        self._check = None
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
