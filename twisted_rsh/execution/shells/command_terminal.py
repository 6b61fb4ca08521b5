"""A terminal of the shell's own, over which the server types its commands, and which the user never sees."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import termios
import tty

from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import InputPipe

__all__ = ["CommandTerminal"]

_SPECIAL = [number for number in range(32) if number not in (termios.VMIN, termios.VTIME)]


class CommandTerminal:
    """A raw pseudo-terminal without echo, signals and special characters.

    A shell that edits its lines then prints nothing, and one that reads them takes every byte as it is.  It never is
    the controlling terminal of the session: the shell inherits it open.

    :param reactor: watches the server's end.
    :ivar slave: the shell's end, for the shell to inherit; ours stays open, so that unread bytes can be counted.
    :ivar path: the path of the shell's end.
    :raises OSError: there is no terminal; no descriptor stays open.
    """

    def __init__(self, reactor: IJobReactor) -> None:
        master, slave = pty.openpty()
        try:
            self.slave = above_child_fds(slave)
        except BaseException:
            os.close(master)
            raise
        try:
            os.set_inheritable(self.slave, False)
            self.path = os.fsencode(os.ttyname(self.slave))
            tty.setraw(self.slave)
            modes = termios.tcgetattr(self.slave)
            for number in _SPECIAL:
                if number < len(modes[6]):
                    modes[6][number] = bytes([os.fpathconf(self.slave, "PC_VDISABLE")])
            termios.tcsetattr(self.slave, termios.TCSANOW, modes)
            master = above_child_fds(master)
        except BaseException:
            os.close(self.slave)
            os.close(master)
            raise
        self._status = os.fstat(self.slave)
        self._pipe = InputPipe(reactor, master, 0)

    def write(self, data: bytes) -> None:
        """Type bytes."""
        self._pipe.write(data)

    def unread(self) -> int:
        """Count the bytes that the shell has not read."""
        count = array.array("i", [0])
        fcntl.ioctl(self.slave, termios.FIONREAD, count)
        return count[0]

    def is_at(self, path: str) -> bool:
        """Return whether a path, such as that of a descriptor in ``/proc``, leads to this terminal."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return (found.st_rdev, found.st_dev) == (self._status.st_rdev, self._status.st_dev)

    def close(self) -> None:
        """Close both ends.  Harmless when they are closed."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1
            self._pipe.close()
