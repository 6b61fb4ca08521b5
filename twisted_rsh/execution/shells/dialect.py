r"""How each kind of shell is talked to: the texts that a server writes to a persistent shell's command pipe.

The shell is interactive, reads its commands from descriptor 0, and reports on descriptor 9.  One command is one line::

    { { GUARD; printf 's 5\n' >&9; } >/dev/null 2>&1; eval 'TEXT' 9>&-; REPORT; } <INPUT

The marker ``s`` says that the line has been read as a whole and its input opened: from then on, and no sooner, may the
shell be interrupted.  REPORT says the status and the shell's options, and then undoes whatever the text has done to the
prompts and to what is run at them.  GUARD makes the shell say the same by itself when it abandons the line, as it does
at an interrupt or at ``${x?}``: in bash as ``PROMPT_COMMAND``, in zsh as ``precmd``, in dash as part of ``PS1``.  Both
carry the command's number, so that it does not matter which of the two is heard, or whether both are.  In zsh the
``eval`` is watched, so that GUARD says 130 where it was interrupted.  What GUARD and REPORT print, as they do where the
user has switched tracing on, nobody sees.

Sources: bash(1), dash(1), zshmisc(1), zshparam(1), zshoptions(1).
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

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
"""The shell's descriptor for its terminal, which is the standard input of the commands."""

INTERRUPTED = 130
"""The status of a command that an interrupt has ended: 128 and the number of ``INT``."""


def quoted(text: bytes) -> bytes:
    """Quote text for any POSIX shell, and for zsh whatever its options.

    :param text: bytes without NUL.
    :returns: one word that stands for exactly these bytes.
    """
    return b"'" + text.replace(b"'", b"'\\''") + b"'"


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""One kind of shell.

    :ivar name: what to call it.
    :ivar arguments: those that make it interactive, without start-up files and without line editing.
    :ivar opening: what is run first of all, to switch off what only a person at a keyboard wants.
    :ivar builtin: the word before a built-in command that keeps aliases and functions of its name away.
    :ivar restore: undoes what a command may have done to the prompts; nothing of what it prints is seen.
    :ivar guard: makes the shell report by itself when a line is abandoned, given the text that reports.
    :ivar watch: puts around a command what makes the shell report the status :data:`INTERRUPTED` when the command is
        interrupted, given the command and the text that reports so.
    """

    name: str
    arguments: tuple[bytes, ...]
    opening: bytes
    builtin: bytes
    restore: bytes
    guard: Callable[[bytes], bytes]
    watch: Callable[[bytes, bytes], bytes]

    def _report(self, kind: bytes, number: int, status: bytes = b'"$?"') -> bytes:
        """Report a status and the options that are on, and restore; nothing that this prints or traces is seen."""
        words = b"'%s %d %%s %%s\\n' %s \"$-\"" % (kind, number, status)
        say = b"%s printf %s >&%d" % (self.builtin, words, STATUS_FD)
        return b"{ %s; %s; } >/dev/null 2>&1" % (say, self.restore)

    def opening_line(self) -> bytes:
        """Say what to write first; the shell reports on it as on command 0.

        :returns: one line.
        """
        return b"{ %s; } >/dev/null 2>&1; %s\n" % (self.opening, self._report(b"e", 0))

    def command_line(
        self, number: int, text: bytes, *, source: bytes | None, status: int = 0, flags: bytes = b""
    ) -> bytes:
        """Say what to write for a command.

        :param number: the command's number.
        :param text: the command; several lines are as good as one, and a syntax error does no harm.
        :param source: the path of what the command is to read, or ``None`` for the terminal.
        :param status: the status of the command before, for ``$?``.
        :param flags: the options that are on, as that command's report said.
        :returns: one line of the shell's, however many newlines it has, behind an empty one where that helps.
        """
        if status and b"e" not in flags:  # with errexit on, the shell would end
            text = b"(exit %d)\n%s" % (status, text)
        opening = b"%s; %s printf 's %d\\n' >&%d" % (
            self.guard(self._report(b"e", number)),
            self.builtin,
            number,
            STATUS_FD,
        )
        if b"x" in flags:  # else our own commands would be traced as well
            opening = b"%s set +x; %s" % (self.builtin, opening)
            text = b"%s set -x\n%s" % (self.builtin, text)
        closing = b"%d>&-" % STATUS_FD
        if source is None:
            closing += b" %d<&-" % TERMINAL_FD
        evaluation = b"%s eval %s %s" % (self.builtin, quoted(text), closing)
        source_word = b"<&%d" % TERMINAL_FD if source is None else b"<" + quoted(source)
        evaluation = self.watch(evaluation, self._report(b"e", number, b"%d" % INTERRUPTED))
        parts = (opening, evaluation, self._report(b"e", number), source_word)
        # After an unterminated quote bash finds fault with the braces of the next line, unless that is an empty one.
        before = b"\n" if status else b""
        return before + b"{ { %s; } >/dev/null 2>&1; %s; %s; } %s\n" % parts

    def sync_script(self, number: int) -> bytes:
        """Say what a file has to have for :meth:`sync_line`.

        :param number: a number that says which of several was answered.
        :returns: the text of the file.
        """
        return self._report(b"r", number) + b"\n"

    def sync_line(self, path: bytes) -> bytes:
        """Say what to write to learn that the shell waits for its next line, and what the status of the last one was.

        The shell may be interrupted while it reads this, and then takes the rest of it for a line of its own.  So it
        is short, no part of it means anything else, and what it does is in a file.

        :param path: that of the file, which ends in a colon: ``:`` alone does nothing.
        :returns: one line.
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
    # Where a loop of built-in commands is interrupted, `eval` reports 2, or the status of the last of them.
    told = b"[[ ${TRY_BLOCK_INTERRUPT-} = 1 ]] && precmd() { %s; }" % report
    return b"{ %s; } always { { %s; } >/dev/null 2>&1; }" % (command, told)


BASH = Dialect(
    name="bash",
    arguments=(b"--noprofile", b"--norc", b"--noediting", b"-i"),
    opening=b"unset HISTFILE MAILCHECK; set +o history +H",
    builtin=rb"\builtin",
    # `jobs -n` takes back the news of finished jobs, which would be told at the next prompt, in the middle of nowhere.
    restore=rb"\builtin unset PROMPT_COMMAND; PS0= PS1= PS2=; \builtin set +vH; \builtin jobs -n",
    guard=_bash_guard,
    watch=_unwatched,
)
"""GNU bash, 3.2 and later, also when it is called ``sh``."""

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
"""The dialect of a shell by the name of its program."""


def dialect_of(executable: bytes) -> Dialect | None:
    """Find out which dialect a shell speaks, by the name of its program.

    :param executable: absolute path; of a symbolic link, such as ``/bin/sh``, what it leads to counts first.
    :returns: the dialect, or ``None`` when none is known for it.
    """
    real = os.path.basename(os.path.realpath(executable))
    return DIALECTS.get(real) or DIALECTS.get(os.path.basename(executable))


MAX_REPORT_BYTES = 256
"""Bytes of one report: a letter, two numbers, and the options, of which zsh has some 60 letters."""

_REPORT = re.compile(rb"(?:(s) (\d{1,18})|([er]) (\d{1,18}) (\d{1,3}) ([!-~]*))")
"""``s 5``: command 5 begins.  ``e 5 0 himBs``: it has ended with status 0.  ``r 5 0 himBs``: the shell is in step."""


class ReportKind(enum.Enum):
    """What a report is about."""

    BEGUN = b"s"
    """The shell has read a command as a whole and begins with it."""

    ENDED = b"e"
    """The shell has finished a command, or has abandoned it."""

    IN_STEP = b"r"
    """The shell has come to a line that only asked for this report."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report.

    :ivar kind: what it is about.
    :ivar number: the number of the command, or of the question.
    :ivar status: the status of the last command, 0 to 255; 0 when one begins.
    :ivar flags: the letters of the shell's options (``$-``); empty when a command begins.
    """

    kind: ReportKind
    number: int
    status: int = 0
    flags: bytes = b""


class GarbledReport(Exception):
    """Something wrote to the status pipe that is no report: what the shell does can no longer be told."""


class ReportReader:
    """Cuts what comes through a status pipe into reports, and holds at most :data:`MAX_REPORT_BYTES`."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Report]:
        """Take bytes.

        :param data: what was read.
        :returns: the reports that are complete now, in order.
        :raises GarbledReport: this is not a shell's doing.
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
    """Numbers what is said, and carries the status and the options from one command to the next.

    :param dialect: how the shell is talked to.
    :param folder: where what a question does is put.
    :param send_line: says a line.
    """

    def __init__(self, dialect: Dialect, folder: PrivateFolder, send_line: Callable[[bytes], None]) -> None:
        self._dialect = dialect
        self._folder = folder
        self._send_line = send_line
        self._number = self._last_command = 0
        self._status = 0
        self._flags = b""

    def open(self) -> None:
        """Say what comes first; the end of command 0 answers it."""
        self._send_line(self._dialect.opening_line())

    def give(self, text: bytes, source: bytes | None) -> int:
        """Give the shell a command.

        :param text: the command.
        :param source: the path of its input, or ``None`` for the terminal.
        :returns: its number.
        """
        self._number += 1
        self._last_command = self._number
        line = self._dialect.command_line(self._number, text, source=source, status=self._status, flags=self._flags)
        self._send_line(line)
        return self._number

    def ended(self, report: Report) -> None:
        """Learn how the last command has ended; the next one finds the same in ``$?``."""
        self._status, self._flags = report.status, report.flags

    def ask(self) -> None:
        """Ask the shell whether it is at its prompt.

        :raises OSError: the question cannot be put into its file.
        """
        path = self._folder.place("sync:")
        with open(path, "xb") as file:
            file.write(self._dialect.sync_script(self._number + 1))
        self._number += 1
        self._send_line(self._dialect.sync_line(path))

    def was_said(self, report: Report) -> bool:
        """Say whether a report answers anything that was said."""
        return report.number <= self._number

    def is_in_step(self, report: Report) -> bool:
        """Say whether a report answers a question that was asked behind the last command."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command
