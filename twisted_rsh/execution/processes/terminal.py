"""Pseudo-terminals: opening and setting up one, reading and typing at its master, and ending its input."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted_rsh.core.limits import MAX_TERMINAL_SIZE
from twisted_rsh.core.requests import CONTROL_CHARACTERS, Terminal
from twisted_rsh.execution.processes.descriptors import FIRST_OWN
from twisted_rsh.execution.processes.pipes import READ_BYTES, InputPipe, OutputPipe, open_terminals

__all__ = [
    "TerminalEnds",
    "TerminalInput",
    "TerminalOutput",
    "TerminalUnavailable",
    "discard_typed",
    "end_of_input",
    "foreground_group",
    "key_signal",
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
"""The characters after which a new line begins: those that end the line, and those that drop it."""


class TerminalUnavailable(OSError):
    """The system gives no pseudo-terminal: it has no ``/dev/ptmx``, all are in use, no descriptors are left, ..."""


@dataclass(frozen=True, slots=True)
class TerminalEnds:
    """A new pseudo-terminal; the caller of :func:`open_terminal` closes all three descriptors.

    :ivar writing: the master, for writing what the job reads.
    :ivar reading: the master once more, for reading what the job writes: the reactor can watch two descriptors apart.
    :ivar slave: the job's side.  Keep it open until the job has opened `path`, or the terminal counts as hung up.
    :ivar path: the name of the job's side.  It becomes the controlling terminal of a session leader without one that
        opens it.
    """

    writing: int
    reading: int
    slave: int
    path: str


def open_terminal(terminal: Terminal) -> TerminalEnds:
    """Open a pseudo-terminal and give it its settings and its size.

    :param terminal: the settings and the size; a setting that this system does not have is skipped.
    :returns: its ends, which no child inherits, clear of the numbers that a child may have.
    :raises TerminalUnavailable: the system gives none, and why; no descriptor stays open.
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
    """Return the code that switches a control character off on this system: 0 on Linux, 255 on macOS."""
    return os.fpathconf(fd, "PC_VDISABLE")


def set_size(fd: int, columns: int, rows: int) -> None:
    """Give a terminal a size.  Its foreground process group gets ``SIGWINCH`` when the size is a new one.

    :param fd: either end of the terminal.
    :param columns: characters in a line; a number above :data:`MAX_TERMINAL_SIZE` counts as that.
    :param rows: lines; a number above :data:`MAX_TERMINAL_SIZE` counts as that, too.
    :raises OSError: the terminal is gone.
    """
    size = struct.pack("HHHH", min(rows, MAX_TERMINAL_SIZE), min(columns, MAX_TERMINAL_SIZE), 0, 0)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, size)


def discard_typed(fd: int, path: str) -> None:
    """Drop what was typed on a terminal and no program has read (tcflush(3)).  Nothing happens when it is gone.

    :param fd: the master.
    :param path: the name of the job's side, where bytes that have got that far are dropped.
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
    :returns: its number, or ``None`` when there is none: no process has opened the terminal, or its session has ended.
    """
    try:
        return os.tcgetpgrp(fd) or None
    except OSError:
        return None


def key_signal(fd: int, keys: bytes) -> int | None:
    """Return which interrupt typed keys make, as the terminal is set now (termios(3), ``ISIG``).

    :param fd: the master.
    :param keys: the keys.
    :returns: the number of ``INT`` or ``QUIT``; ``None`` when no key makes one, and when the terminal is gone.
    """
    try:
        attributes: list[Any] = termios.tcgetattr(fd)
        disabled = _disabled(fd)
    except (termios.error, OSError):
        return None
    if attributes[_LFLAG] & termios.ISIG:
        for name, number in (("VINTR", signal.SIGINT), ("VQUIT", signal.SIGQUIT)):
            key = attributes[_CC][getattr(termios, name)]
            if key[0] != disabled and key in keys:
                return number
    return None


def end_of_input(fd: int, last: bytes) -> bytes:
    """Return what to write after all input so that the program that reads the terminal sees its end.

    The end-of-file character ends the input only at the beginning of a line.  Elsewhere the first one hands over what
    the line has so far, and a second one ends the input (termios(3), ``VEOF``).

    :param fd: the master.
    :param last: the last byte written to it, or nothing when none was.
    :returns: the character, once or twice; nothing when the terminal is gone, or has no such character now, as in a
        program that takes every key by itself (no ``ICANON``).
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


class TerminalOutput(OutputPipe):
    """Reads what a job writes to its terminal.

    The system cannot tell how much waits there: it counts only what it has already put in line, which may not include
    what was written right before an exit.  Only a read tells.  So :meth:`buffered` and :meth:`is_exhausted` read ahead,
    at most :data:`twisted_rsh.execution.processes.pipes.READ_BYTES`.

    The parameters are those of :class:`twisted_rsh.execution.processes.pipes.OutputPipe`.
    """

    _ahead = b""
    _is_due = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if not self.is_closed:
            open_terminals.add(self)

    def resume(self) -> None:
        """Read from now on.  Harmless when reading already, or closed."""
        super().resume()
        self._deliver_soon()

    def buffered(self) -> int:
        """Count the bytes that wait in the terminal, as far as they were read ahead; 0 when it is closed."""
        self._look_ahead()
        return len(self._ahead)

    def is_exhausted(self) -> bool:
        """Tell whether every byte was read and no process holds the terminal open; a paused one does not notice."""
        return self._look_ahead() and not self._ahead

    def close(self) -> None:
        """Close this descriptor of the master now, and drop what was read ahead."""
        self._ahead = b""
        self.is_reading = False
        open_terminals.discard(self)
        super().close()

    def _deliver_soon(self) -> None:
        """Hand over in the next turn what was read ahead: the reactor no longer sees it."""
        if self._ahead and self.is_reading and not self._is_due:
            self._is_due = True
            self._reactor.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._is_due = False
        if self._ahead and self.is_reading:
            self.doRead()

    def _look_ahead(self) -> bool:
        """Read what there is, as far as allowed, and return whether that was the end."""
        if self.is_closed:
            return True
        while len(self._ahead) < READ_BYTES:
            data = self._read_terminal(READ_BYTES - len(self._ahead))
            if not data:
                self._deliver_soon()
                return data is not None
            self._ahead += data
        self._deliver_soon()
        return False

    def _read(self, size: int) -> bytes | None:
        if not self._ahead:
            return self._read_terminal(size)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self._deliver_soon()
        return data

    def _read_terminal(self, size: int) -> bytes | None:
        """Read without waiting: no bytes when the job's side is closed and everything was read."""
        data = self._read_once(size)
        # The system looks for data first and for the hang-up afterwards.  What a job writes between the two looks is
        # still there, so only a second end is the end.
        return self._read_once(size) if data == b"" else data

    def _read_once(self, size: int) -> bytes | None:
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None
        except OSError as e:
            if e.errno != errno.EIO:  # Linux reports the end this way; other systems read no bytes
                raise
            return b""


class TerminalInput(InputPipe):
    """Types what a job reads from its terminal.

    The end of the input is the terminal's end-of-file character, after everything else.  The master stays open, since
    closing it would hang the terminal up.  :class:`TerminalOutput` notices that the job's side is closed.

    The parameters are those of :class:`twisted_rsh.execution.processes.pipes.InputPipe`.
    """

    _last = b""
    _is_finishing = False
    _end: bytes | None = None

    def watch(self) -> None:
        """Watch nothing: what is readable here is the job's output."""

    def write(self, data: bytes) -> None:
        """Queue bytes.  They are dropped after the end of the input, or when the descriptor is closed.

        :param data: bytes; they go out as soon as the terminal can take them, mostly from within this call.
        """
        if not self._ending:
            self._last = data[-1:] or self._last
        super().write(data)

    def end_marker(self) -> bytes:
        """Return what to type so that the program that reads sees the end of the input (:func:`end_of_input`).

        :returns: the end-of-file character, once or twice; nothing once this is closed.
        """
        return b"" if self.is_closed else end_of_input(self._fd, self._last)

    def doWrite(self) -> None:
        """Write until the terminal is full or all is written; the reactor calls this when it can take bytes."""
        if not self._is_finishing:
            self._write_queued()
            return
        if self._end is None:
            self._end = self.end_marker()
        try:
            while self._end:
                self._end = self._end[os.write(self._fd, self._end) :]
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.close()
            return
        self.watch_writing(False)

    def _finish(self) -> None:
        self._is_finishing = True
        self.watch_writing(True)
