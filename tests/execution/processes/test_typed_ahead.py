"""Keys typed ahead on a terminal without a program: nothing of them is shown, and all of them are there."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.readable import is_readable
from twisted_rsh.execution.processes.typed_ahead import SILENT_BYTES, take_back, type_silently


@dataclass
class Pty:
    """A terminal: the master, the job's side, and its name."""

    master: int
    slave: int
    path: str

    def shown(self) -> bytes:
        """Return what a person would see."""
        return os.read(self.master, 4096) if is_readable(self.master, 0.02) else b""


@pytest.fixture
def pty() -> Iterator[Pty]:
    """A new terminal with the settings of the system."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    yield Pty(master, slave, os.ttyname(slave))
    os.close(master)
    os.close(slave)


def test_keys_are_silent(pty: Pty) -> None:
    """The lines are there one by one, and nothing of them is shown; keys after that are shown again."""
    for _ in range(50):
        assert type_silently(pty.master, pty.path, b"secret\rnext\rhalf") == b""
        assert os.read(pty.slave, 100) == b"secret\n"
        assert os.read(pty.slave, 100) == b"next\n"
        assert take_back(pty.path) == b"half"
    assert pty.shown() == b""
    os.write(pty.master, b"x")
    assert pty.shown() == b"x"


def test_half_a_line_is_silent(pty: Pty) -> None:
    """A line without its end is not shown either."""
    for _ in range(50):
        assert type_silently(pty.master, pty.path, b"sec") == b""
    assert pty.shown() == b""
    assert take_back(pty.path) == b"sec" * 50


def test_keys_that_signal_wait(pty: Pty) -> None:
    """The keys from the first one that makes a signal are left, whichever key that is."""
    assert type_silently(pty.master, pty.path, b"one\r\x03two\x1a") == b"\x03two\x1a"
    settings = termios.tcgetattr(pty.slave)
    settings[6][termios.VINTR] = b"\x18"
    termios.tcsetattr(pty.slave, termios.TCSANOW, settings)
    assert type_silently(pty.master, pty.path, b"\x03\x18") == b"\x18"
    assert take_back(pty.path) == b"one\n\x03"
    assert termios.tcgetattr(pty.slave) == settings


def test_end_of_input(pty: Pty) -> None:
    """A Ctrl-D ends the input of the program that reads it, and comes back as a Ctrl-D when none does."""
    assert type_silently(pty.master, pty.path, b"one\r\x04") == b""
    assert os.read(pty.slave, 100) == b"one\n"
    assert os.read(pty.slave, 100) == b""
    assert type_silently(pty.master, pty.path, b"one\r\x04") == b""
    assert take_back(pty.path) == b"one\n\x04"


def test_earlier_keys_stay_in_front(pty: Pty) -> None:
    """What an earlier command has not read is read first, whether its line has ended or not."""
    assert type_silently(pty.master, pty.path, b"one\rtw") == b""
    assert type_silently(pty.master, pty.path, b"o\r") == b""
    assert take_back(pty.path) == b"one\ntwo\n"
    assert take_back(pty.path) == b""
    assert pty.shown() == b""


def test_bound(pty: Pty) -> None:
    """At the bound all is typed; one byte more is left."""
    settings = termios.tcgetattr(pty.slave)
    settings[3] &= ~termios.ICANON
    termios.tcsetattr(pty.slave, termios.TCSANOW, settings)
    assert type_silently(pty.master, pty.path, b"x" * SILENT_BYTES) == b""
    assert take_back(pty.path) == b"x" * SILENT_BYTES
    assert type_silently(pty.master, pty.path, b"x" * SILENT_BYTES + b"y") == b"y"
    assert take_back(pty.path) == b"x" * SILENT_BYTES
    assert pty.shown() == b""


def test_terminal_that_is_gone(pty: Pty) -> None:
    """On a terminal that is gone all keys are left, and there are none to take back."""
    assert type_silently(pty.master, "/dev/pts/none", b"keys") == b"keys"
    assert take_back("/dev/pts/none") == b""
