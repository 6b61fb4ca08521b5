"""Keys that were typed ahead on a terminal: put there before a program reads them, and taken back when none has.

A terminal shows a key when the system processes it, which may be later than the write to the master.  While the input
that a program could read is empty, Linux's ``poll`` on the job's side waits until everything written has been
processed (``n_tty_poll``), and the settings change only between two pieces (``termios_rwsem``).  So keys that are
written while the terminal shows none never appear, however busy the machine is.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
from collections.abc import Iterator
from typing import Any

__all__ = ["SILENT_BYTES", "take_back", "type_silently"]

SILENT_BYTES = 2048
"""Bytes that are typed silently at a time: Linux passes a write of up to this many on in one piece
(``tty_write``), and half of what a terminal holds stays free."""

_LFLAG, _CC = 3, 6
"""Places in the list of `termios.tcgetattr`."""

_READ_BYTES = 4096
"""Bytes of one read: as many as Linux's terminals hold (``N_TTY_BUF_SIZE``)."""

_MAX_READS = 4
"""Reads of one terminal: a program that types on it without end must not hold the reactor."""


def type_silently(master: int, path: str, data: bytes) -> bytes:
    """Type keys on a terminal that shows none of them, for the next program that reads it.

    Keys that are there already stay in front of them.

    :param master: a descriptor of the master, which does not block.
    :param path: the name of the job's side.
    :param data: the keys.
    :returns: the keys that are still to be typed: those from the first one on that makes a signal, such as Ctrl-C,
        which must reach the program when it runs; those beyond :data:`SILENT_BYTES`; all of them when the terminal is
        gone.
    """
    try:
        with _job_side(path) as slave:
            return _type(master, slave, data)
    except (OSError, termios.error):
        return data


def _type(master: int, slave: int, data: bytes) -> bytes:
    before = termios.tcgetattr(slave)
    data = _read(slave, before) + data
    quiet = [*before[:_CC], list(before[_CC])]
    quiet[_LFLAG] &= ~(termios.ECHO | termios.ECHONL)
    termios.tcsetattr(slave, termios.TCSANOW, quiet)
    try:
        size = os.write(master, data[: min(_before_signal(before, data), SILENT_BYTES)])
        processed = select.poll()
        processed.register(slave, select.POLLIN)
        processed.poll(0)
    finally:
        termios.tcsetattr(slave, termios.TCSANOW, before)
    return data[size:]


def take_back(path: str) -> bytes:
    """Take from a terminal the keys that no program has read.

    :param path: the name of the job's side.
    :returns: the keys as the terminal has processed them: a return is a newline, and what was erased is gone.  Nothing
        when the terminal is gone.
    """
    try:
        with _job_side(path) as slave:
            return _read(slave, termios.tcgetattr(slave))
    except (OSError, termios.error):
        return b""


@contextlib.contextmanager
def _job_side(path: str) -> Iterator[int]:
    """Open the job's side for a block."""
    slave = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield slave
    finally:
        os.close(slave)


def _read(slave: int, before: list[Any]) -> bytes:
    """Read all keys, those of a line without its end too."""
    raw = [*before[:_CC], list(before[_CC])]
    raw[_LFLAG] &= ~termios.ICANON
    raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
    termios.tcsetattr(slave, termios.TCSANOW, raw)
    data = b""
    try:
        for _ in range(_MAX_READS):
            data += os.read(slave, _READ_BYTES)
    except BlockingIOError:
        pass
    finally:
        termios.tcsetattr(slave, termios.TCSANOW, before)
    if before[_LFLAG] & termios.ICANON:
        data = data.replace(b"\0", before[_CC][termios.VEOF])  # what the system makes of that key within a line
    return data


def _before_signal(settings: list[Any], data: bytes) -> int:
    """Count the keys before the first one that makes a signal."""
    if not settings[_LFLAG] & termios.ISIG:
        return len(data)
    keys = {settings[_CC][key] for key in (termios.VINTR, termios.VQUIT, termios.VSUSP)} - {b"\0"}
    return min((at for key in keys if (at := data.find(key)) >= 0), default=len(data))
