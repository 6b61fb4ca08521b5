"""What the reactor reports of a descriptor although it was of another that had the same number.

The reactor asks the system once for many descriptors, and calls whoever watches each number when its turn comes.  What
it calls first may close a descriptor of which something is still to be reported, and open another that gets its number:
then that one is told.  Data that is not there and room that is not there are found out by trying; a hang-up is looked
at again (:func:`peer_is_gone`), and what can only come astray has a place to go (:class:`OneWay`).
"""

from __future__ import annotations

import select

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

__all__ = ["OneWay", "is_hang_up", "peer_is_gone"]

_ABNORMAL = select.POLLHUP | select.POLLERR
"""What poll(2) says of a pipe whose other end is closed: POLLHUP to a reader, POLLERR (or, on macOS, POLLHUP) to a
writer."""


def is_hang_up(reactor: object, reason: Failure) -> bool:
    """Say whether the reactor calls ``connectionLost`` for a hang-up: nothing has failed, and it goes on itself.

    :param reactor: which calls.
    :param reason: what it says.
    """
    return reason.check(ConnectionDone, ConnectionLost) is not None and getattr(reactor, "running", False)


def peer_is_gone(fd: int) -> bool:
    """Say whether nobody holds the other end of a pipe, or the job's side of a terminal.

    :param fd: our end.
    """
    poller = select.poll()
    poller.register(fd, 0)
    return any(event & _ABNORMAL for _, event in poller.poll(0))


class OneWay:
    """A descriptor that is only read or only written: what it is not asked for it need not answer.

    Without an answer the reactor takes it for broken, and has it closed.  Whoever reads or writes overrides one.
    """

    def doRead(self) -> None:
        """Do nothing: what there is to read is another's."""

    def doWrite(self) -> None:
        """Do nothing: the room is another's."""
