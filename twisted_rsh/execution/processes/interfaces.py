"""The seams inside this layer: what a process needs of a reactor, and what a job needs of a process."""

# ruff: noqa: N805 - a zope interface's methods have no self, and childFD is Twisted's name

from __future__ import annotations

import resource

from twisted.internet.interfaces import IProcessTransport, IReactorFDSet, IReactorTime
from zope.interface import Attribute

__all__ = ["IFlowControlledProcess", "IJobReactor"]


class IJobReactor(IReactorFDSet, IReactorTime):
    """What a process needs of the reactor: descriptors and time.  Every POSIX reactor of Twisted's provides it."""


class IFlowControlledProcess(IProcessTransport):
    """A process transport whose streams are paused, resumed and closed one by one."""

    resource_usage: resource.struct_rusage | None = Attribute(
        "What the process used, from `processExited` on; ``None`` before, and where it is not known."
    )

    def pause_output(childFD: int) -> None:
        """Read no more of one output until :meth:`resume_output`; a full pipe then stops the process.

        :param childFD: 1 or 2.
        """

    def resume_output(childFD: int) -> None:
        """Read one output again, as far as its `read_size` allows.

        :param childFD: 1 or 2.
        """

    def close_output(childFD: int) -> None:
        """Close our end of one output now: what is unread is lost, and the process finds a broken pipe.

        A terminal that is output 1 is hung up, which ends its input too: the process gets ``SIGHUP``.

        :param childFD: 1 or 2.  `childConnectionLost` follows, not from within this call.
        """

    def buffered_output(childFD: int) -> int:
        """Count the bytes that wait in one output: in its pipe, or read ahead from its terminal.

        :param childFD: 1 or 2.
        :returns: bytes, 0 when it is closed, or when there is no such output.
        """

    def is_output_exhausted(childFD: int) -> bool:
        """Say whether one output was read to its end, or would be if it were not paused.

        :param childFD: 1 or 2.
        """

    def discard_input() -> None:
        """Close standard input now, and drop what is queued for it.  On a terminal nobody types any more."""

    def signal_group(number: int) -> bool:
        """Send a signal to whatever is left of the process group, also after its leader has exited.

        On a terminal, also to the group in the foreground, and to those that were when this was called before.
        To be asked again at short intervals or not at all: once a group has gone, its number is anybody's.

        :param number: a signal's number, or 0 to ask only.
        :returns: whether any of them was still there.
        """

    def resize(columns: int, rows: int) -> None:
        """Give the terminal another size; its foreground group gets ``SIGWINCH``.  Nothing happens without a terminal.

        :param columns: characters in a line, at least 1.
        :param rows: lines, at least 1.
        """

    def end_marker() -> bytes:
        """Return what to write so that who reads the terminal now sees the end of its input, which yet stays open.

        :returns: nothing where a program takes every key by itself, and without a terminal.
        """

    def discard_typed() -> None:
        """Drop what was typed on the terminal and nobody has read.  Nothing happens without a terminal."""

    def foreground_group() -> int | None:
        """Look up which process group is in the foreground of the terminal: the one that its keys signal.

        :returns: its number, or ``None`` without a terminal, or when the terminal's session has ended.
        """
