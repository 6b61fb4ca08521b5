"""The terminal that the client runs on: a description for the server, and raw while a command has it."""

from __future__ import annotations

import locale
import os
import signal
import termios
from collections.abc import Mapping
from types import FrameType
from typing import Any

from twisted_rsh.cli.terminal_settings import TerminalMode, TerminalSettings
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.text import text_codec
from twisted_rsh.core.limits import MAX_TERM_BYTES
from twisted_rsh.core.requests import CONTROL_CHARACTERS, MODE_NAMES, Terminal

__all__ = ["LocalTerminal", "is_plain_terminal", "local_encoding", "plain_terminal"]

Size = tuple[int, int]
"""Columns and rows."""

_PLAIN = Terminal()
"""The terminal to assume where nothing is known of the real one."""

_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6
"""Indices into the list of ``termios.tcgetattr`` of the settings that a job's terminal can have as well."""

_WORDS = {
    _IFLAG: frozenset("IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXANY IXOFF IMAXBEL IUTF8".split()),
    _OFLAG: frozenset({"OPOST", "ONLCR"}),
}
"""The flags in each word of the settings; all others are in the word of local flags."""

_IUTF8 = 0o40000
"""IUTF8, which Python's ``termios`` does not name: the same number on Linux and on macOS."""


_DUMB_NAMES = frozenset({"", "dumb", "unknown"})
"""Types of terminals that understand nothing, as the systems name them."""

_FAMILIES = ("xterm", "screen", "tmux", "vt1", "vt2", "vt3", "vt4", "vt5", "linux", "rxvt", "ansi", "konsole", "gnome")
"""Beginnings of the types whose escape sequences are those of the VT100, also where no database says so."""


def local_encoding() -> str:
    """Return the code page of this machine's terminals, as Python names it."""
    return text_codec(locale.getpreferredencoding(False))


def plain_terminal(environment: Mapping[str, str]) -> Terminal:
    """Describe a terminal for a job whose client runs on none.

    :param environment: the client's, for ``TERM``.
    :returns: a terminal of 80 columns and 24 rows.
    """
    return Terminal(term=_term(environment))


def is_plain_terminal(environment: Mapping[str, str]) -> bool:
    """Tell whether the user's terminal is to get no escape sequence.

    :param environment: the client's: ``NO_COLOR`` (https://no-color.org) asks for none, and ``TERM`` may name a
        terminal that understands none, or that nothing here knows.
    """
    term = environment.get("TERM", "")
    if term in _DUMB_NAMES or environment.get("NO_COLOR"):
        return True
    return not (term.startswith(_FAMILIES) or _is_known(term))


def _is_known(term: str) -> bool:
    try:
        import curses

        curses.setupterm(term, 2)
        return curses.tigetstr("cub1") is not None and curses.tigetstr("el") is not None
    except Exception:  # noqa: BLE001 - no database, no such entry: curses.error, which an absent module does not have
        return False


class LocalTerminal:
    """The client's terminal, lent to one command at a time and given back.

    While it is lent the terminal is raw, so every key is a byte for the command, and each new size is sent to the
    server.

    :param reactor: runs in the program's main thread.
    :param fd: a descriptor of the terminal.
    :param settings: the owner of its settings; ``None`` for one of its own.
    """

    def __init__(self, reactor: Any, fd: int, settings: TerminalSettings | None = None) -> None:
        self._reactor = reactor
        self._fd = fd
        self._settings = settings or TerminalSettings(reactor, fd)
        self._settings.watch_return(self._resize)
        self._before = TerminalMode.FOUND
        self._remote: Job | Shell | None = None
        self._is_lent = False
        self._size: Size | None = None
        self._handler: Any = None
        self._is_resizing = False

    def describe(self, environment: Mapping[str, str]) -> Terminal:
        """Describe a terminal like this one, to ask the server for.

        :param environment: the client's, for ``TERM``.
        """
        columns, rows = self._size = self._measure()
        return Terminal(term=_term(environment), columns=columns, rows=rows, modes=self._modes())

    def connect_to(self, remote: Job | Shell) -> None:
        """Send each new size of this terminal to the terminal on the server from now on.

        :param remote: the job or shell that the server's terminal belongs to.
        """
        self._remote = remote

    def lend(self) -> None:
        """Make the terminal raw until :meth:`give_back`, and send its size if that has changed."""
        if not self._is_lent:
            self._is_lent = True
            self._before = self._settings.mode
            # A client that was started with a signal ignored goes on ignoring it.
            if signal.getsignal(signal.SIGWINCH) is not signal.SIG_IGN:
                self._handler = signal.signal(signal.SIGWINCH, self._caught)
            self._settings.use(TerminalMode.RAW)

    def give_back(self) -> None:
        """Give the terminal the mode that it had before :meth:`lend`.  Nothing happens if it is not lent."""
        if self._is_lent:
            self._is_lent = False
            if self._handler is not None:
                signal.signal(signal.SIGWINCH, self._handler)
                self._handler = None
            self._settings.use(self._before)

    def send_size(self) -> None:
        """Send the size if it has changed.  Call this before a command that may ask for the size at once."""
        size = self._measure()
        if size != self._size:
            self._size = size
            if self._remote is not None:
                self._remote.resize(*size)

    def _measure(self) -> Size:
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:  # the terminal is gone, and so the client soon will be
            columns = rows = 0
        # The terminal of a serial line reports 0 for a size that it does not know.
        return columns or _PLAIN.columns, rows or _PLAIN.rows

    def _modes(self) -> tuple[tuple[str, int], ...]:
        try:
            settings = self._settings.found()
            disabled = os.fpathconf(self._fd, "PC_VDISABLE")
        except (termios.error, OSError):
            return ()
        modes = {}
        for name in sorted(MODE_NAMES):
            bit = _IUTF8 if name == "IUTF8" else getattr(termios, name, None)
            if bit is None:
                continue
            if name in CONTROL_CHARACTERS:
                code = settings[_CC][bit][0]
                modes[name] = 0 if code == disabled else code
            else:
                modes[name] = int(bool(settings[_word(name)] & bit))
        return tuple(modes.items())

    def _caught(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_resizing:
            self._is_resizing = True
            self._reactor.callFromThread(self._resize)

    def _resize(self) -> None:
        self._is_resizing = False
        if self._is_lent:
            self.send_size()


def _word(name: str) -> int:
    return next((word for word, names in _WORDS.items() if name in names), _LFLAG)


def _term(environment: Mapping[str, str]) -> str:
    name = environment.get("TERM", "")
    # A name that no terminal has cannot be sent, either.
    return name if name and name.isascii() and name.isprintable() and len(name) <= MAX_TERM_BYTES else _PLAIN.term
