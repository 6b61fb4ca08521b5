"""The seams of this package: the reactor that processes need, and what pipes report to."""

# ruff: noqa: N805 - a zope interface's methods have no self, and childFD is Twisted's name

from __future__ import annotations

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from zope.interface import Interface

__all__ = ["IInputSource", "IJobReactor", "IPipeOwner"]


class IJobReactor(IReactorFDSet, IReactorTime):
    """A reactor that watches descriptors and tells time.  Every POSIX reactor of Twisted's provides it."""


class IInputSource(Interface):
    """Writes to an :class:`~twisted_rsh.execution.processes.pipes.InputPipe` and bounds what waits there."""

    def input_taken(size: int) -> None:
        """Learn that the pipe or the terminal took bytes.

        :param size: bytes, at least 1.
        """


class IPipeOwner(Interface):
    """Owns a pipe and learns that the pipe is closed."""

    def pipe_closed(childFD: int) -> None:
        """Learn that a pipe is closed, whichever side closed it.  Called once for each pipe.

        :param childFD: the number that the pipe was made with.
        """
