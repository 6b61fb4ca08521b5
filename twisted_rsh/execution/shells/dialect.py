r"""The language between the server and a persistent shell: the lines that the shell reads, and the reports it writes.

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

import enum
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted_rsh.execution.processes.pipes import InputPipe
from twisted_rsh.execution.shells.command import PrivateFolder

__all__ = [
    "BASH",
    "DASH",
    "DIALECTS",
    "INTERRUPTED",
    "MAX_REPORT_BYTES",
    "STATUS_FD",
    "TERMINAL_FD",
    "ZSH",
    "Dialect",
    "GarbledReport",
    "Report",
    "ReportKind",
    "ReportReader",
    "ShellDialogue",
    "dialect_of",
    "quoted",
]

STATUS_FD = 9
"""The shell's descriptor for its reports: the highest that dash accepts in a redirection."""

TERMINAL_FD = 8
"""The shell's descriptor for its terminal; the commands get it as their standard input."""

INTERRUPTED = 130
"""The status of a command that an interrupt has ended: 128 plus the number of ``INT``."""


def quoted(text: bytes) -> bytes:
    """Quote text for any POSIX shell, and for zsh with any options.

    :param text: bytes without NUL.
    :returns: one shell word that stands for exactly these bytes.
    """
    return b"'" + text.replace(b"'", b"'\\''") + b"'"


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""One kind of shell, and the lines to write to it.

    :ivar name: the shell's name.
    :ivar arguments: program arguments that make it interactive, without start-up files and without line editing.
    :ivar opening: the first commands; they switch off what only a person at a keyboard wants.
    :ivar builtin: the word before a built-in command; it bypasses an alias or function of the same name.
    :ivar restore: commands that undo a user's changes to the prompts; their output is discarded.
    :ivar guard: given the commands that report, returns the commands that make the shell run them when it abandons a
        line.
    :ivar watch: given a command and the commands that report :data:`INTERRUPTED`, returns the command with a wrapper
        that reports so after an interrupt.
    """

    name: str
    arguments: tuple[bytes, ...]
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


def _unwatched(command: bytes, _report: bytes) -> bytes:
    return command


def _bash_guard(report: bytes) -> bytes:
    return b"PROMPT_COMMAND=" + quoted(report)


def _dash_guard(report: bytes) -> bytes:
    return b"PS1=" + quoted(b"$(%s)" % report)


def _zsh_guard(report: bytes) -> bytes:
    return b"precmd() { %s; }" % report


def _zsh_watch(command: bytes, report: bytes) -> bytes:
    # When an interrupt ends a loop of built-in commands, `eval` returns 2, or the status of the last of them.
    report_interrupt = b"[[ ${TRY_BLOCK_INTERRUPT-} = 1 ]] && precmd() { %s; }" % report
    return b"{ %s; } always { { %s; } >/dev/null 2>&1; }" % (command, report_interrupt)


BASH = Dialect(
    name="bash",
    arguments=(b"--noprofile", b"--norc", b"--noediting", b"-i"),
    opening=b"unset HISTFILE MAILCHECK; set +o history +H",
    builtin=rb"\builtin",
    # `jobs -n` consumes the notices of finished jobs, which bash would print at the next prompt, into other output.
    restore=rb"\builtin unset PROMPT_COMMAND; PS0= PS1= PS2=; \builtin set +vH; \builtin jobs -n",
    guard=_bash_guard,
    watch=_unwatched,
)
"""GNU bash, 3.2 and later, also under the name ``sh``."""

DASH = Dialect(
    name="dash",
    arguments=(b"-i",),
    opening=b"unset HISTFILE; set +o emacs +o vi",
    builtin=rb"\command",
    restore=rb"PS1= PS2=; \command set +v",
    guard=_dash_guard,
    watch=_unwatched,
)
"""dash, and any other plain POSIX shell."""

ZSH = Dialect(
    name="zsh",
    arguments=(b"-f", b"-i", b"+o", b"zle"),
    opening=b"unset HISTFILE; MAILCHECK=0; setopt interactivecomments",
    builtin=rb"\builtin",
    restore=(
        rb"\builtin unfunction -m precmd preexec periodic; precmd_functions=() preexec_functions=() "
        rb"periodic_functions=() PS1= PS2=; \builtin unsetopt zle promptcr promptsp verbose banghist"
    ),
    guard=_zsh_guard,
    watch=_zsh_watch,
)
"""zsh, 5.0 and later.  A ``#`` begins a comment, as in its scripts."""

DIALECTS = {b"bash": BASH, b"rbash": BASH, b"dash": DASH, b"ash": DASH, b"sh": DASH, b"zsh": ZSH}
"""The dialect of each known shell, by the name of its program."""


def dialect_of(executable: bytes) -> Dialect | None:
    """Look up a shell's dialect by the name of its program.

    :param executable: absolute path.  The target of a symbolic link, such as ``/bin/sh``, counts before the link.
    :returns: the dialect, or ``None`` for an unknown program.
    """
    real = os.path.basename(os.path.realpath(executable))
    return DIALECTS.get(real) or DIALECTS.get(os.path.basename(executable))


MAX_REPORT_BYTES = 256
"""Bytes of one report: a letter, two numbers, and the letters of the options, of which zsh has about 60."""

_REPORT = re.compile(rb"(?:(s) (\d{1,18})|([er]) (\d{1,18}) (\d{1,3}) ([!-~]*))")
"""``s 5``: command 5 begins.  ``e 5 0 himBs``: it has ended with status 0.  ``r 6 0 himBs``: the answer to question 6.
"""


class ReportKind(enum.Enum):
    """The subject of a report."""

    BEGUN = b"s"
    """The shell has read the whole line of a command and begins the command."""

    ENDED = b"e"
    """The shell has finished a command or abandoned it."""

    IN_STEP = b"r"
    """The shell has run a line that only asked for this report: it reads its next line."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report of the shell.

    :ivar kind: its subject.
    :ivar number: the number of the command or of the question.
    :ivar status: the status of the last command, 0 to 255; 0 in a report that a command begins.
    :ivar flags: the letters of the shell's options (``$-``); empty in a report that a command begins.
    """

    kind: ReportKind
    number: int
    status: int = 0
    flags: bytes = b""


class GarbledReport(Exception):
    """The status pipe carried something that is no report, so the shell's state is unknown from now on."""


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


class ShellDialogue:
    """Numbers the lines to one shell, and carries the status and the options from one command to the next.

    :param dialect: the shell's dialect.
    :param folder: holds the file of a question.
    :param commands: the shell's command pipe, which gets the lines.
    :ivar number: the number of the last line that was sent; no report has a greater one.
    """

    def __init__(self, dialect: Dialect, folder: PrivateFolder, commands: InputPipe) -> None:
        self._dialect = dialect
        self._folder = folder
        self._commands = commands
        self.number = self._last_command = 0
        self._status = 0
        self._flags = b""

    def send_opening(self) -> None:
        """Send the first line.  The shell answers with the end of command 0."""
        self._commands.write(self._dialect.opening_line())

    def send_command(self, text: bytes, source: bytes | None) -> int:
        """Send the line of a command.

        :param text: the command.
        :param source: the path of its input, or ``None`` for the terminal.
        :returns: the command's number.
        """
        self.number += 1
        self._last_command = self.number
        line = self._dialect.command_line(self.number, text, source=source, status=self._status, flags=self._flags)
        self._commands.write(line)
        return self.number

    def command_ended(self, report: Report) -> None:
        """Keep the status and the options of the command that has ended; the next command finds them.

        :param report: the report of its end.
        """
        self._status, self._flags = report.status, report.flags

    def send_question(self) -> None:
        """Ask the shell whether it is at its prompt.  The answer satisfies :meth:`is_in_step`.

        :raises OSError: the file of the question cannot be written.
        """
        path = self._folder.place("sync:")
        with open(path, "xb") as file:
            file.write(self._dialect.sync_script(self.number + 1))
        self.number += 1
        self._commands.write(self._dialect.sync_line(path))

    def is_in_step(self, report: Report) -> bool:
        """Return whether a report answers a question that was sent after the last command."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command
