"""A descriptor kept for when there is no other left, as Twisted keeps one for accepting connections."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

__all__ = ["SpareDescriptor"]

T = TypeVar("T")


class SpareDescriptor:
    """Lets something be opened for a moment in a process that has no descriptor left.

    What ends jobs has to work then too: it is what makes room again.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._is_wanted = False

    def keep(self) -> None:
        """Hold a descriptor from now on; before this there is none to lend."""
        self._is_wanted = True
        self.renew()

    def renew(self) -> None:
        """Take the descriptor again, if it was lent, and if there is one to be had."""
        if self._is_wanted and self._fd is None:
            try:
                self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return

    def lend(self, act: Callable[[], T]) -> T:
        """Do something that needs one descriptor, with this one if there is no other.

        :param act: what to do; called once more when it could not be done for want of a descriptor.  If it opens
            something, call :meth:`renew` as soon as that is closed.
        :returns: what `act` returned.
        :raises OSError: what `act` raised.
        """
        try:
            return act()
        except OSError as error:
            if error.errno != errno.EMFILE or self._fd is None:
                raise
        self._release()
        try:
            return act()
        finally:
            self.renew()

    def _release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    __del__ = _release
