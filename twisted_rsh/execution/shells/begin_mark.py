"""A mark that a command sets as it begins, which outlives the shell."""

from __future__ import annotations

import os
import select

from twisted_rsh.execution.processes.descriptors import above_child_fds

__all__ = ["BeginMark"]


class BeginMark:
    """A FIFO that tells, also after the end of the shell, whether the shell has opened it.

    :param path: where to make it.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._fd = -1

    def set(self) -> None:
        """Begin to tell."""
        self.close()
        if not os.path.lexists(self.path):
            os.mkfifo(self.path, 0o600)
        self._fd = above_child_fds(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def was_opened(self) -> bool:
        """Return whether a process has opened it for writing since :meth:`set`, and none has it open."""
        if self._fd < 0:  # the shell has ended before its first command
            return False
        poll = select.poll()
        poll.register(self._fd, 0)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
