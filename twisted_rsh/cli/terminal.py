"""The terminal that the client runs on: a description for the server, and raw while a command has it."""

from __future__ import annotations

import contextlib
import locale
import os
import signal
import termios
from collections.abc import Mapping
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from twisted_rsh.cli.job_control import BACKGROUND_SECONDS, in_foreground, suspend_self
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.text import text_codec
from twisted_rsh.core.limits import MAX_TERM_BYTES
from twisted_rsh.core.requests import CONTROL_CHARACTERS, MODE_NAMES, Terminal

__all__ = ["LocalTerminal", "local_encoding", "plain_terminal"]

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

_RAW_OFF = {
    _IFLAG: ("ISTRIP", "INLCR", "IGNCR", "ICRNL", "IXON", "IXANY", "IXOFF", "PARMRK"),
    _OFLAG: ("OPOST",),
    _LFLAG: ("ISIG", "ICANON", "ECHO", "ECHONL", "IEXTEN"),
}
"""The flags that a raw terminal has off: it leaves all of that to the job's terminal (termios(3), ``cfmakeraw``)."""

_WATCHED = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
"""The signals about a lent terminal: its size has changed, suspend the client, the client goes on."""


def local_encoding() -> str:
    """Return the code page of this machine's terminals, as Python names it."""
    return text_codec(locale.getpreferredencoding(False))


def plain_terminal(environment: Mapping[str, str]) -> Terminal:
    """Describe a terminal for a job whose client runs on none.

    :param environment: the client's, for ``TERM``.
    :returns: a terminal of 80 columns and 24 rows.
    """
    return Terminal(term=_term(environment))


class LocalTerminal:
    """The client's terminal, lent to one command at a time and given back as it was.

    While it is lent the terminal is raw, so every key is a byte for the command, and each new size is sent to the
    server.  While the client is suspended the terminal is as it was.  In the background the terminal is left alone; it
    becomes raw when the client comes into the foreground.

    :param reactor: runs in the program's main thread.
    :param fd: a descriptor of the terminal.
    """

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._remote: Job | Shell | None = None
        self._is_lent = False
        self._size: Size | None = None
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._is_resizing = False
        self._look: IDelayedCall | None = None

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
        self._is_lent = True
        for number in _WATCHED:
            # A client that was started with a signal ignored goes on ignoring it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._caught)
        self._enter()
        self._resize()

    def give_back(self) -> None:
        """Make the terminal what it was before :meth:`lend`.  Nothing happens if it is not lent."""
        self._is_lent = False
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._leave()

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
            settings = termios.tcgetattr(self._fd)
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

    def _enter(self) -> None:
        if self._before is not None:
            return
        if not in_foreground(self._fd):
            self._look_again()
            return
        with contextlib.suppress(termios.error):  # the terminal is gone
            before = termios.tcgetattr(self._fd)
            raw = [*before[:_CC], list(before[_CC])]
            for word, names in _RAW_OFF.items():
                for name in names:
                    raw[word] &= ~getattr(termios, name, 0)
            raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
            # TCSANOW: TCSADRAIN would wait for pending output, perhaps for ever, and that was processed when it came.
            termios.tcsetattr(self._fd, termios.TCSANOW, raw)
            self._before = before

    def _leave(self) -> None:
        before, self._before = self._before, None
        if before is not None and in_foreground(self._fd):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def _look_again(self) -> None:
        """Wait for the foreground, which no signal announces."""
        if self._look is None:
            self._look = self._reactor.callLater(BACKGROUND_SECONDS, self._looked)

    def _looked(self) -> None:
        self._look = None
        self._go_on()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            if not self._is_resizing:
                self._is_resizing = True
                self._reactor.callFromThread(self._resize)
        else:
            self._reactor.callFromThread(self._suspend if number == signal.SIGTSTP else self._go_on)

    def _resize(self) -> None:
        self._is_resizing = False
        if self._is_lent:
            self.send_size()

    def _suspend(self) -> None:
        if self._is_lent:
            self._leave()
            suspend_self()
            self._go_on()

    def _go_on(self) -> None:
        if self._is_lent:
            self._enter()
            self._resize()


def _word(name: str) -> int:
    return next((word for word, names in _WORDS.items() if name in names), _LFLAG)


def _term(environment: Mapping[str, str]) -> str:
    name = environment.get("TERM", "")
    # A name that no terminal has cannot be sent, either.
    return name if name and name.isascii() and name.isprintable() and len(name) <= MAX_TERM_BYTES else _PLAIN.term
