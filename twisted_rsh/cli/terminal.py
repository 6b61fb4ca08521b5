"""The terminal that the client itself is on: what a job's terminal should be like, and raw while that job has it."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from twisted_rsh.cli.signals import suspend_self
from twisted_rsh.core.limits import MAX_TERM_BYTES
from twisted_rsh.core.requests import CONTROL_CHARACTERS, MODE_NAMES, Terminal

__all__ = ["LocalTerminal", "plain_terminal"]

Size = tuple[int, int]
"""Columns and rows."""

_PLAIN = Terminal()
"""What a terminal is like that nobody says anything of."""

_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6
"""Where ``termios.tcgetattr`` has the settings that a job's terminal can have as well."""

_WORDS = {
    _IFLAG: frozenset("IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXANY IXOFF IMAXBEL IUTF8".split()),
    _OFLAG: frozenset({"OPOST", "ONLCR"}),
}
"""Which word of the settings a flag is in; those that are not named are local flags."""

_IUTF8 = 0o40000
"""IUTF8, which Python's ``termios`` does not name: the same number on Linux and on macOS."""

_RAW_OFF = {
    _IFLAG: ("ISTRIP", "INLCR", "IGNCR", "ICRNL", "IXON", "IXANY", "IXOFF", "PARMRK"),
    _OFLAG: ("OPOST",),
    _LFLAG: ("ISIG", "ICANON", "ECHO", "ECHONL", "IEXTEN"),
}
"""What a raw terminal does not do: it is all left to the other one (termios(3), ``cfmakeraw``)."""

_WATCHED = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
"""The signals that mean the terminal while it is lent: another size, leave it, take it again."""


def plain_terminal(environment: Mapping[str, str]) -> Terminal:
    """Describe a terminal for a job whose client is on none.

    :param environment: the client's, for ``TERM``.
    :returns: a terminal of 80 columns and 24 rows.
    """
    return Terminal(term=_term(environment))


class LocalTerminal:
    """A terminal that jobs are lent: one at a time, and given back as it was.

    While it is lent it is raw, so every key is a byte for the job; its size is told when it changes; and while the
    client is suspended it is as it was.

    :param reactor: whose thread the program runs in.
    :param fd: a descriptor of the terminal.
    :ivar resized: called with columns and rows while it is lent: when they are not those that were told last.
    """

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self.resized: Callable[[int, int], object] = lambda _columns, _rows: None
        self._is_lent = False
        self._size: Size | None = None
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._is_resizing = False

    def describe(self, environment: Mapping[str, str]) -> Terminal:
        """Describe a terminal like this one.

        :param environment: the client's, for ``TERM``.
        """
        columns, rows = self._size = self._measure()
        return Terminal(term=_term(environment), columns=columns, rows=rows, modes=self._modes())

    def lend(self) -> None:
        """Make the terminal raw, and tell its size if that is news, until :meth:`give_back`."""
        self._is_lent = True
        for number in _WATCHED:
            # A client that was started so that it ignores one goes on doing so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._caught)
        self._enter()
        self._resize()

    def give_back(self) -> None:
        """Make the terminal what it was.  Nothing happens if it is not lent."""
        self._is_lent = False
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._leave()

    def _measure(self) -> Size:
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:  # it is gone, and so the client soon will be
            columns = rows = 0
        # Nobody has told a terminal of a serial line how large it is.
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
        if self._before is not None or not self._is_ours:
            return
        with contextlib.suppress(termios.error):  # it is gone
            before = termios.tcgetattr(self._fd)
            raw = [*before[:_CC], list(before[_CC])]
            for word, names in _RAW_OFF.items():
                for name in names:
                    raw[word] &= ~getattr(termios, name, 0)
            raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
            # At once: what is still to be written was processed when it came, and waiting for it might be for ever.
            termios.tcsetattr(self._fd, termios.TCSANOW, raw)
            self._before = before

    def _leave(self) -> None:
        before, self._before = self._before, None
        if before is not None and self._is_ours:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    @property
    def _is_ours(self) -> bool:
        """Whether we may change it: in the background it is somebody else's, and changing it would stop us."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it controls no job of any shell's
            return True

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            if not self._is_resizing:
                self._is_resizing = True
                self._reactor.callFromThread(self._resize)
        else:
            self._reactor.callFromThread(self._suspend if number == signal.SIGTSTP else self._go_on)

    def tell_size(self) -> None:
        """Tell the terminal's size if that is news: before a command that may ask for it at once."""
        size = self._measure()
        if size != self._size:
            self._size = size
            self.resized(*size)

    def _resize(self) -> None:
        self._is_resizing = False
        if self._is_lent:
            self.tell_size()

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
    # What no terminal is called cannot be sent, either.
    return name if name and name.isascii() and name.isprintable() and len(name) <= MAX_TERM_BYTES else _PLAIN.term
