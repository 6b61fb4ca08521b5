"""A terminal that runs a program, with the screen and the keys of a person in front of it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import pyte

from tests.readable import is_readable
from tests.server_process import PATIENCE

__all__ = ["PROMPT", "Console", "Terminal", "pid_shown", "restored"]

PROMPT = ">>: "

ROWS, COLUMNS = 30, 200

_RIGHT = re.compile(r" {3,}\S.*$")
"""What stands on the right, behind a gap."""

_LAUNCHER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes stdin the controlling terminal, so that Ctrl-C is a signal, and becomes the program."""


class _Screen(pyte.Screen):
    """A screen that answers: the prompt asks where the cursor is."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, rows)
        self._answer = answer

    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        """Take colours, and leave alone what looks like them: xterm's ``CSI > 4 ; 2 m``, which editors send."""
        if not private:
            super().select_graphic_rendition(*attributes)

    def write_process_input(self, data: str) -> None:
        """Send an answer; pyte calls this."""
        self._answer(data)


class Terminal:
    """Shows a program's screen, and answers its questions as terminals do.

    :param command: the program, with an absolute path, and its arguments.
    :param environment: the whole of its environment.
    :param streams: of ``subprocess.Popen``, where a stream is not to be the terminal.
    :ivar terminal: a descriptor of the terminal; it shares its flags with the program's.
    :ivar process: the program.
    """

    def __init__(self, command: list[str], environment: dict[str, str], **streams: Any) -> None:
        self._behind, self.terminal = os.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._screen = _Screen(COLUMNS, ROWS, self.type)
        self._stream = pyte.ByteStream(self._screen)
        self.attributes = termios.tcgetattr(self.terminal)
        self.process = self._launch(command, environment, streams)

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start another program when the first has ended, on a cleared screen."""
        self._screen.reset()
        self.process = self._launch(command, environment, {})

    def _launch(
        self, command: list[str], environment: dict[str, str], streams: dict[str, Any]
    ) -> subprocess.Popen[bytes]:
        options: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), self.terminal)
        options |= {"env": environment, "start_new_session": True, **streams}
        return subprocess.Popen([sys.executable, "-c", _LAUNCHER, *command], **options)

    def close(self) -> None:
        """Take the terminal away, and the program with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._behind)
        os.close(self.terminal)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._behind, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def enter(self, line: str) -> None:
        """Type a line at the prompt, wait until it is shown, and end it, so that no key becomes a command's input."""
        self.prompt()
        self.type(line)
        self.until(lambda: self.lines[-1] == f"{PROMPT}{line}".rstrip())
        self.type("\r")

    def until(self, is_true: Callable[[], object]) -> None:
        """Show the program's output until a condition is true."""
        end = time.monotonic() + PATIENCE
        while not is_true():
            assert time.monotonic() < end, "\n".join(self.lines)
            self._show(0.05)

    def press_until(self, key: str, is_true: Callable[[], object]) -> None:
        """Press a key, and again every second until a condition is true: a busy server may answer too late."""
        end = time.monotonic() + PATIENCE
        while not is_true():
            assert time.monotonic() < end, "\n".join(self.lines)
            self.type(key)
            again = time.monotonic() + 1
            while not is_true() and time.monotonic() < again:
                self._show(0.05)

    def shows(self, line: str) -> None:
        """Wait until a line of the screen is exactly this."""
        self.until(lambda: line in self.lines)

    def shows_lines(self, count: int) -> None:
        """Wait until there are so many lines on the screen."""
        self.until(lambda: len(self.lines) == count)

    def prompt(self) -> None:
        """Wait until there is a prompt, with nothing typed yet, and the program reads keys."""
        self.until(lambda: self.lines[-1:] == [PROMPT.rstrip()] and self._screen.cursor.x == len(PROMPT))
        self.until(lambda: not termios.tcgetattr(self.terminal)[3] & termios.ICANON)

    def end(self) -> int:
        """Wait for the program's end, and return its exit status."""
        self.until(lambda: self.process.poll() is not None)
        while self._show(0):
            pass
        return self.process.wait()

    @property
    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._behind)

    @property
    def lines(self) -> list[str]:
        """The screen, without the empty lines at its end, and without what stands on the right of a prompt."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        if lines and lines[-1].startswith(PROMPT):
            lines[-1] = _RIGHT.sub("", lines[-1])
        return lines

    @property
    def right(self) -> str:
        """What stands on the right of the prompt, which is in the last line of the screen."""
        line = next((line.rstrip() for line in reversed(self._screen.display) if line.strip()), "")
        found = _RIGHT.search(line)
        return found[0].strip() if line.startswith(PROMPT) and found is not None else ""

    def colours(self, line: str) -> set[str]:
        """The colours of the characters of a line on the screen."""
        row = self.lines.index(line)
        return {self._screen.buffer[row][column].fg for column in range(len(line))}

    def _show(self, seconds: float) -> bool:
        if not is_readable(self._behind, seconds):
            return False
        self._stream.feed(os.read(self._behind, 65536))
        return True


Console = Callable[..., Terminal]
"""Opens a client on a terminal of its own: the server, the client's words, and streams that are not the terminal."""


def restored(terminal: Terminal) -> bool:
    """Tell whether the terminal is as it was before the program."""
    return termios.tcgetattr(terminal.terminal) == terminal.attributes and os.get_blocking(terminal.terminal)


def pid_shown(terminal: Terminal) -> int:
    """Wait for a line with a number, and return it."""
    terminal.until(lambda: any(line.isdigit() for line in terminal.lines))
    return next(int(line) for line in terminal.lines if line.isdigit())
