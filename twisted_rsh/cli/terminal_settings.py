"""The settings of the client's terminal, which one owner changes and gives back as they were."""

from __future__ import annotations

import contextlib
import enum
import signal
import termios
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from twisted_rsh.cli.job_control import BACKGROUND_SECONDS, in_foreground, suspend_self

__all__ = ["TerminalMode", "TerminalSettings"]

_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6
"""Indices into the list of ``termios.tcgetattr``."""


class TerminalMode(enum.Enum):
    """What becomes of the keys."""

    FOUND = "found"
    """As the client found the terminal, mostly lines that the system shows and edits."""

    HIDDEN = "hidden"
    """A line that the system edits and does not show, for a passphrase."""

    QUIET = "quiet"
    """Kept until a reader asks, and not shown; Ctrl-C and Ctrl-Z are signals."""

    KEYS = "keys"
    """Bytes for the prompt, which shows them itself; output is the system's to process."""

    RAW = "raw"
    """Bytes for the job that has been lent the terminal, whose own terminal deals with all else."""


_HIDDEN: dict[int, tuple[str, ...]] = {_LFLAG: ("ECHO", "ECHONL")}
_QUIET: dict[int, tuple[str, ...]] = {
    _IFLAG: ("INLCR", "IGNCR", "ICRNL", "IXON", "IXOFF"),
    _LFLAG: ("ICANON", "ECHO", "ECHONL", "IEXTEN"),
}
_KEYS = {_IFLAG: _QUIET[_IFLAG], _LFLAG: (*_QUIET[_LFLAG], "ISIG")}
_RAW = {
    _IFLAG: (*_KEYS[_IFLAG], "ISTRIP", "IXANY", "PARMRK"),
    _OFLAG: ("OPOST",),
    _LFLAG: _KEYS[_LFLAG],
}

_OFF = {
    TerminalMode.FOUND: {},
    TerminalMode.HIDDEN: _HIDDEN,
    TerminalMode.QUIET: _QUIET,
    TerminalMode.KEYS: _KEYS,
    TerminalMode.RAW: _RAW,
}
"""The flags that each mode has off (termios(3), ``cfmakeraw``)."""


class TerminalSettings:
    """Changes the settings of one terminal, and nothing else in the client does.

    While the client is suspended the terminal is as it was found.  In the background the terminal is left alone; it
    gets its mode when the client comes into the foreground.

    :param reactor: runs in the program's main thread.
    :param fd: the descriptor of the terminal; nothing happens if it is not a terminal.
    """

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._mode = TerminalMode.FOUND
        self._found: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._look: IDelayedCall | None = None
        self._suspend: Callable[[], object] | None = None
        self._watchers: list[Callable[[], object]] = []

    @property
    def mode(self) -> TerminalMode:
        """The mode that was asked for last."""
        return self._mode

    def found(self) -> list[Any]:
        """Return the settings as the client found them.

        :raises termios.error: it is no terminal, or is gone.
        """
        return termios.tcgetattr(self._fd) if self._found is None else self._found

    def use(self, mode: TerminalMode) -> None:
        """Give the terminal a mode, now or when the client is in the foreground."""
        self._mode = mode
        if mode is TerminalMode.FOUND:
            self._release_signals()
            if self._look is not None:
                self._look.cancel()
                self._look = None
            self._give_back()
        else:
            self._catch_signals()
            self._apply()

    def suspend_by(self, suspend: Callable[[], object] | None) -> None:
        """Let another suspend the client when SIGTSTP asks for it, as a prompt that has to clear its line first.

        :param suspend: calls :meth:`suspend` sooner or later; ``None`` for :meth:`suspend` itself.
        """
        self._suspend = suspend

    def watch_return(self, returned: Callable[[], object]) -> None:
        """Call a function whenever the terminal has its mode again: its size may be another one."""
        self._watchers.append(returned)

    def suspend(self) -> None:
        """Give the terminal back, do what SIGTSTP does, and take the terminal again when the client is continued."""
        self._give_back()
        suspend_self()
        self._apply()

    def _apply(self) -> None:
        if self._mode is TerminalMode.FOUND:
            return
        if not in_foreground(self._fd):
            self._look_again()
            return
        with contextlib.suppress(termios.error):  # it is no terminal, or is gone
            found = self.found()
            settings = [*found[:_CC], list(found[_CC])]
            for word, names in _OFF[self._mode].items():
                for name in names:
                    settings[word] &= ~getattr(termios, name, 0)
            settings[_CC][termios.VMIN], settings[_CC][termios.VTIME] = 1, 0
            # TCSANOW: TCSADRAIN would wait for pending output, perhaps for ever, and that was processed when it came.
            termios.tcsetattr(self._fd, termios.TCSANOW, settings)
            self._found = found
        for returned in self._watchers:
            returned()

    def _give_back(self) -> None:
        found, self._found = self._found, None
        if found is not None and in_foreground(self._fd):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, found)

    def _look_again(self) -> None:
        """Wait for the foreground, which no signal announces."""
        if self._look is None:
            self._look = self._reactor.callLater(BACKGROUND_SECONDS, self._looked)

    def _looked(self) -> None:
        self._look = None
        self._apply()

    def _catch_signals(self) -> None:
        for number in (signal.SIGTSTP, signal.SIGCONT):
            # A client that was started with a signal ignored goes on ignoring it.
            if number not in self._handlers and signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._caught)

    def _release_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._suspended if number == signal.SIGTSTP else self._apply)

    def _suspended(self) -> None:
        if self._mode is not TerminalMode.FOUND:
            (self._suspend or self.suspend)()
