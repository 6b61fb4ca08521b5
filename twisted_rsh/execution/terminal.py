"""Pseudo-terminals: opening one, its settings and size, whom its keys signal, and how its input is ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted_rsh.core.limits import MAX_TERMINAL_SIZE
from twisted_rsh.core.requests import Terminal
from twisted_rsh.core.terminal_modes import CONTROL_CHARACTERS
from twisted_rsh.execution.descriptors import FIRST_OWN

__all__ = [
    "TerminalEnds",
    "TerminalUnavailable",
    "discard_typed",
    "end_of_input",
    "foreground_group",
    "open_terminal",
    "set_size",
]

_IUTF8 = getattr(termios, "IUTF8", 0o40000)
"""Not in Python's module; the same number on Linux, macOS and FreeBSD."""

_INPUT_FLAGS = {
    name: _IUTF8 if name == "IUTF8" else getattr(termios, name, 0)
    for name in "IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXANY IXOFF IMAXBEL IUTF8".split()
}
_OUTPUT_FLAGS = {name: getattr(termios, name, 0) for name in "OPOST ONLCR".split()}
_LOCAL_FLAGS = {
    name: getattr(termios, name, 0)
    for name in "ISIG ICANON ECHO ECHOE ECHOK ECHONL ECHOCTL ECHOKE NOFLSH TOSTOP IEXTEN".split()
}

_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6
"""Places in the list of `termios.tcgetattr`."""

_FLAGS = ((_IFLAG, _INPUT_FLAGS), (_OFLAG, _OUTPUT_FLAGS), (_LFLAG, _LOCAL_FLAGS))

_LINE_ENDS = ("VEOF", "VEOL", "VEOL2", "VKILL", "VINTR", "VQUIT", "VSUSP")
"""The characters after which the line is a new one: those that end it, and those that throw it away."""


class TerminalUnavailable(OSError):
    """No pseudo-terminal can be had: there is no ``/dev/ptmx``, all are in use, no descriptors are left, ..."""


@dataclass(frozen=True, slots=True)
class TerminalEnds:
    """A pseudo-terminal that nobody uses yet; whoever opened it closes all three descriptors.

    :ivar writing: the master, for writing what the job reads.
    :ivar reading: the master once more, for reading what the job writes: two descriptors can be watched apart.
    :ivar slave: the job's side.  To be kept open until the job has opened `path`, or the terminal counts as hung up.
    :ivar path: the name of the job's side.  A session leader without a terminal that opens it has it as its
        controlling terminal.
    """

    writing: int
    reading: int
    slave: int
    path: str


def open_terminal(terminal: Terminal) -> TerminalEnds:
    """Open a pseudo-terminal and give it its settings and its size.

    :param terminal: what is asked for; a setting that this system does not have is skipped.
    :returns: its ends, which no child inherits, clear of the numbers that a child may have.
    :raises TerminalUnavailable: there is none to be had, and why; no descriptor stays open.
    """
    try:
        with contextlib.ExitStack() as on_failure:
            master, slave = os.openpty()
            on_failure.callback(os.close, slave)
            try:
                writing = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
                on_failure.callback(os.close, writing)
                reading = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
                on_failure.callback(os.close, reading)
            finally:
                os.close(master)
            _apply_modes(slave, terminal.modes)
            set_size(slave, terminal.columns, terminal.rows)
            path = os.ttyname(slave)
            on_failure.pop_all()
    except (OSError, termios.error) as e:
        raise TerminalUnavailable(*e.args) from e
    return TerminalEnds(writing, reading, slave, path)


def _apply_modes(fd: int, modes: Iterable[tuple[str, int]]) -> None:
    """Change the named settings of a terminal and leave the others."""
    attributes: list[Any] = termios.tcgetattr(fd)
    for name, value in modes:
        if name in CONTROL_CHARACTERS:
            if hasattr(termios, name):
                attributes[_CC][getattr(termios, name)] = bytes((value or _disabled(fd),))
            continue
        for place, flags in _FLAGS:
            flag = flags.get(name, 0)
            attributes[place] = attributes[place] | flag if value else attributes[place] & ~flag
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _disabled(fd: int) -> int:
    """The code that switches a control character off here: 0 on Linux, 255 on macOS."""
    return os.fpathconf(fd, "PC_VDISABLE")


def set_size(fd: int, columns: int, rows: int) -> None:
    """Give a terminal a size.  Its foreground process group gets ``SIGWINCH`` when that is a new one.

    :param fd: either end of the terminal.
    :param columns: characters in a line; above :data:`MAX_TERMINAL_SIZE` counts as that.
    :param rows: lines, likewise.
    :raises OSError: the terminal is gone.
    """
    size = struct.pack("HHHH", min(rows, MAX_TERMINAL_SIZE), min(columns, MAX_TERMINAL_SIZE), 0, 0)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, size)


def discard_typed(fd: int, path: str) -> None:
    """Drop what was typed on a terminal and nobody has read (tcflush(3)).  Nothing happens when the terminal is gone.

    :param fd: the master.
    :param path: the name of the job's side: what has got that far is dropped there.
    """
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(fd, termios.TCOFLUSH)
        slave = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            termios.tcflush(slave, termios.TCIFLUSH)
        finally:
            os.close(slave)


def foreground_group(fd: int) -> int | None:
    """Look up the process group that a terminal's keys signal (tcgetpgrp(3)).

    :param fd: the master.
    :returns: its number, or ``None`` when there is none: nobody has opened the terminal, or its session has ended.
    """
    try:
        return os.tcgetpgrp(fd) or None
    except OSError:
        return None


def end_of_input(fd: int, last: bytes) -> bytes:
    """Say what to write behind all input so that whoever reads the terminal sees its end.

    The end-of-file character ends the input only at the beginning of a line; elsewhere the first one hands over what
    the line has so far, and a second one ends the input (termios(3), ``VEOF``).

    :param fd: the master.
    :param last: the last byte written to it, or nothing when none was.
    :returns: the character, once or twice; nothing when the terminal has none now, as in a program that takes every
        key by itself (no ``ICANON``), or is gone.
    """
    try:
        attributes: list[Any] = termios.tcgetattr(fd)
        disabled = _disabled(fd)
    except (termios.error, OSError):
        return b""
    if not attributes[_LFLAG] & termios.ICANON:
        return b""
    enabled = {
        name: attributes[_CC][getattr(termios, name)]
        for name in _LINE_ENDS
        if attributes[_CC][getattr(termios, name)][0] != disabled
    }
    end: bytes = enabled.get("VEOF", b"")
    is_new_line = last in (b"", b"\n") or last in enabled.values()
    if last == b"\r":
        is_new_line = attributes[_IFLAG] & (termios.ICRNL | termios.IGNCR) == termios.ICRNL
    return end if is_new_line else end * 2
