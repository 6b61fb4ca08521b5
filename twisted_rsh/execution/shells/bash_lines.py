"""What the server has bash run for itself: the hook at the prompt, reports, start-up, and what puts values back.

None of it has a simple command where bash could trace it or trap it, and each line may stand in a text of the user's
without changing what the text sees.  :mod:`~.bash_talk` tells when which of them is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted_rsh.execution.shells.talk import quoted

__all__ = [
    "ERROR_FD",
    "FORGET",
    "KEEPS",
    "OWN_FD",
    "PROMPTS",
    "BashLines",
]

ERROR_FD = 8
"""Where bash finds its error output when it starts; it closes this descriptor."""

OWN_FD = 9
"""Where bash finds its command terminal when it starts; it closes this descriptor, too."""

MAX_LAST_WORD = 500
"""Characters of ``$_`` that are carried to the next text, if a command of the server's has come between."""

PROMPTS = (b"PS1", b"PS2")
"""The variables that are kept apart between two texts."""

KEEPS = b"keeps"
"""In the report of a prompt: a variable is about to be kept apart, and a report of that follows."""

FORGET = b"{ ( for _ in; do :; done ) || :; } 2>/dev/null\n"
"""A line that has bash forget a program that it was starting when an interrupt came.

Bash 5 leaves its pipeline open then.  The program waits for that before it begins, and the next simple command, a
built-in too, waits for the program and takes its status.  A subshell closes the pipeline, so that the program begins
and can be interrupted; no trap or trace meets the line.  What bash says of the program goes nowhere.
"""

_NOTHING = b"if for _ in; do :; done 2>%b </dev/null/%b; then :; fi"
_NUMBER = b"${LINENO+$LINENO${LINENO@a}}"
"""The number of the line, and after it the letters of the variable's attributes."""
_CARRIED = b"/${#PIPESTATUS[@]}/${PIPESTATUS[*]@Q}/${_:+${_:0:%d}}" % MAX_LAST_WORD
"""What the report of a prompt has after the options where a command of the server's goes before each text.

Each status is quoted, as ``IFS`` decides what stands between two of them.
"""
_KEPT = b"__twisted_rsh_"
_GIVEN = _KEPT + b"given"
_GIVE_BACK = b'"${%b:+${BASH_ALIASES[${%b:=$%b}]-}}"'
"""Nothing, but as bash expands it, the first variable gives the second its value, if that is empty."""
_EMPTY_LOOP = b"for _ in; do :; done"
_COUNT = b'"${LINENO+${LINENO:$((0*(LINENO=%d))):0}}"'
"""Nothing, but as bash expands it, the number of the line becomes another one."""


class BashLines:
    """The lines of one shell, which name its channels.

    :param reports: the path of the FIFO that it reports to.
    :param now: the path of the file of commands that it runs at its next prompt, if the file is there.
    :param prompt: the path of the file that has :meth:`prompt_file`.
    :param end: the word that ends a report (:class:`~.bash_reports.BashReports`).
    :ivar builtin: what stands before a built-in command, so that no function or alias of the user's is called.
    :ivar command: the same before ``exec``: after ``builtin exec`` bash would undo its redirections.
    """

    def __init__(self, reports: bytes, now: bytes, prompt: bytes, end: bytes) -> None:
        self._end = end
        self._reports = quoted(reports)
        self._now = quoted(now)
        self._prompt = quoted(prompt)
        self.builtin = b"\\builtin "
        self.command = b"\\command "

    def use_bare_names(self) -> None:
        """Call built-in commands by their names alone from now on: functions stand for those two."""
        self.builtin = self.command = b""

    @property
    def edit_again(self) -> bytes:
        """Return what has bash act on line editing that a text has switched."""
        words = (self.builtin, self.builtin)
        return b"\nif [[ -o vi ]]; then %bset -o vi; elif [[ -o emacs ]]; then %bset -o emacs; fi" % words

    def report(self, kind: bytes) -> bytes:
        """Return the command that reports; its own status is 0 or 1.

        :param kind: see :class:`~.bash_reports.BashReport`.
        """
        return _NOTHING % (self._reports, self._words(kind))

    def _words(self, kind: bytes, carried: bytes = b"") -> bytes:
        if kind == b"T":
            return b'"T:$?:$-:%b:0:%b"' % (_CARRIED, self._end)
        return b'"%b:$?:$-:$SHELLOPTS%b:%b:%b"' % (kind, carried, _NUMBER, self._end)

    def hooks(self, *, carries: bool) -> bytes:
        """Return the assignment that makes bash report, and run the server's files, at each prompt.

        :param carries: whether the report has ``PIPESTATUS`` and ``$_``.
        """
        to_keep = (*PROMPTS, _GIVEN)
        kept = b"".join(b"${%b:+:%b}" % (name, KEEPS) for name in to_keep)
        words = self._words(b"P", kept + (_CARRIED if carries else b""))
        report = (_NOTHING % (self._reports, words)).removesuffix(b"fi")
        run = b"elif %b 2>/dev/null <%b; then %b. %b; fi" % (_EMPTY_LOOP, self._now, self.builtin, self._now)
        any_of_them = b"".join(b"${%b:+1}" % name for name in to_keep)
        keep = b"for _ in %b; do %b. %b; %b; done 2>/dev/null" % (
            any_of_them,
            self.builtin,
            self._prompt,
            self.report(b"K"),
        )
        return b"PROMPT_COMMAND[9999]=" + quoted(b"%b%b; %b" % (report, run, keep))

    def prompt_file(self) -> bytes:
        """Return what keeps the user's prompts apart until the next text: a prompt is for people."""
        lines = [b"if [[ ${%b-} ]]; then %bPS1=${PS1-} %bPS2=${PS2-} %b=; fi" % (_GIVEN, _KEPT, _KEPT, _GIVEN)]
        lines += [
            b"if [[ ${%b-} ]]; then %b%b=$%b %b=; %b; fi" % (name, _KEPT, name, name, name, self.report(name))
            for name in PROMPTS
        ]
        return b"\n".join(lines) + b"\n"

    def opening(self, *, on_terminal: bool) -> bytes:
        """Return the first line for a shell without start-up files: it takes the command terminal.

        :param on_terminal: whether the error output is a terminal, so that it stands where it belongs.
        """
        error = b"" if on_terminal else b"2>&%d %d>&- " % (ERROR_FD, ERROR_FD)
        quiet = b"unset HISTFILE MAILCHECK PS1 PS2; set +o history +H; history -c; "
        return b"exec <&%d %b%d>&-; %b%b\n" % (OWN_FD, error, OWN_FD, quiet, self._settled(carries=False))

    def startup_file(self) -> bytes:
        """Return the start-up file of any other shell: it reads the user's own, then takes the command terminal."""
        load = b"[[ ${HISTFILE-} ]] && \\builtin history -r || :; "
        quiet = load + b"unset MAILCHECK; set +o history +H +o emacs +o vi; "
        return (
            b"if { true >&%d; } 2>/dev/null; then exec 2>&%d %d>&-; fi\n" % (ERROR_FD, ERROR_FD, ERROR_FD)
            + b"if [[ -t 1 ]]; then exec </dev/tty; else exec </dev/null; fi\n"
            + b"if [[ -r ~/.bashrc ]]; then . ~/.bashrc; fi\n"
            + b"{ exec <&%d %d>&-; %b%b; } 2>/dev/null\n" % (OWN_FD, OWN_FD, quiet, self._settled(carries=True))
        )

    def recovery(self, number: int, *, carries: bool) -> bytes:
        """Return a line that reports, and after which bash reports again at its prompts.

        A text may have taken the hooks away, or may have switched line editing where bash does not act on it.

        :param number: which question the report answers; it stands where other reports have the number of the line.
        :param carries: see :meth:`hooks`.
        """
        editing = b"[[ -o vi ]] && %bset -o vi; [[ -o emacs ]] && %bset -o emacs" % (self.builtin, self.builtin)
        answer = self.report(b"Q").replace(_NUMBER, b"%d" % number)
        return b"%b; { %b; %b; } 2>/dev/null\n" % (answer, editing, self.hooks(carries=carries))

    def aside(self, text_path: bytes, source: bytes) -> bytes:
        """Return the file of commands that runs a text at the prompt, after which bash puts everything back.

        :param text_path: the file that has the text.
        :param source: the path of the text's input.
        """
        # The file empties itself, so that no interrupt makes bash run it once more.
        words = (self._now, self.report(b"B"), self.builtin, quoted(text_path), quoted(source))
        return b">|%b; if ( %b; %b. %b ) <%b; then %b; else %b; fi\n" % (*words, self.report(b"A"), self.report(b"A"))

    def source(self, path: bytes, last_line: int | None, kept: Iterable[bytes]) -> bytes:
        """Return the word that names the input of a text.

        :param path: the input.
        :param last_line: the number of the text's last line; ``None`` if the lines cannot be counted.
        :param kept: the prompts that are kept apart, which the text is to find.
        """
        word = quoted(path) + (b"" if last_line is None else _COUNT % last_line)
        given = b"".join(_GIVE_BACK % (_KEPT + name, name, _KEPT + name) for name in sorted(kept))
        return word + given + b'"${BASH_ALIASES[${%b:=1}]-}"' % _GIVEN if given else word

    def _settled(self, *, carries: bool) -> bytes:
        """Return the end of a start: the hooks, and the first number of a line."""
        return b"%b; %b </dev/null%b" % (self.hooks(carries=carries), _EMPTY_LOOP, _COUNT % 0)

    def pipeline(self, parts: Iterable[bytes]) -> bytes:
        """Return a pipeline that leaves these statuses in ``PIPESTATUS``."""
        return b" | ".join(b"(%bexit %b)" % (self.builtin, part) for part in parts)

    def status_put_back(self, status: int) -> bytes:
        """Return what leaves a status in ``$?``; no ``set -e`` or trap takes it for a failure."""
        return b"{ (%bexit %d) && %b:; } 2>/dev/null; " % (self.builtin, status, self.builtin)

    def last_word_put_back(self, word: bytes) -> bytes:
        """Return what leaves a word in ``$_``; its status is 0."""
        # On one line, also while bash edits its lines.
        plain = (
            quoted(word) if re.search(rb"[^ -~]", word) is None else b"$'%b'" % b"".join(b"\\%03o" % c for c in word)
        )
        return b"{ %b: %b; } 2>/dev/null; " % (self.builtin, plain)
