"""What a client's user sees of outages, and how to leave during one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error

__all__ = ["NOTICE_SECONDS", "GaveUp", "Outage"]

NOTICE_SECONDS = 2.0
"""Seconds of an outage before a word is said about it: most are over by then, and nobody has noticed."""

_LINE_ENDS = b"\r\n"


class GaveUp(Error):
    """The user did not want to wait for another connection."""

    def __init__(self) -> None:
        super().__init__("gave up while there was no connection; what still ran has an unknown outcome")


class Outage:
    """Follows one connection.

    :param clock: the reactor.
    :param remark: shows a line, or not, as the user wants it.
    :ivar is_on: whether there is an outage.
    :ivar reads_keys: whether a person's keys reach :meth:`typed`, or a prompt that knows the same way out.
    """

    def __init__(self, clock: IReactorTime, remark: Callable[[str], None]) -> None:
        self.is_on = False
        self.reads_keys = False
        self._clock = clock
        self._remark = remark
        self._timer: IDelayedCall | None = None
        self._told = False
        self._at_line_start = True
        self._tilde = False
        self._signals = 0
        self._begun: Callable[[], None] = lambda: None
        self._unwatch: Callable[[], None] = lambda: None

    def follow(self, connection: Connection) -> None:
        """Begin."""
        self._unwatch = connection.watch_link(self._changed)

    def stop(self) -> None:
        """Say nothing more.  May be called more than once."""
        self._unwatch()
        self.is_on = False
        self._stop_timer()

    def keys_are_read(self, read: Callable[[], None]) -> None:
        """Learn that what is typed from now on is another command's.

        :param read: called when an outage begins, or now if there is one: keys have to be read then, whether the
            command takes them yet or not.
        """
        self.reads_keys = True
        self._at_line_start = True
        self._begun = read
        if self.is_on:
            read()

    def typed(self, data: bytes) -> bool:
        """Look at what a person typed, all of it.

        :returns: whether they want to leave: ``~.`` at the beginning of a line, during an outage.
        """
        for byte in data:
            if self._tilde and byte == ord("."):
                return True
            self._tilde = self.is_on and self._at_line_start and byte == ord("~")
            self._at_line_start = byte in _LINE_ENDS
        return False

    def signalled(self) -> bool:
        """Count a signal that a command is to get when there is a connection again.

        :returns: whether it is the second, and means that the user will not wait for that.
        """
        self._signals += 1
        return self._signals > 1

    def _changed(self, reason: str | None) -> None:
        self._stop_timer()
        self.is_on = reason is not None
        self._tilde = False
        self._signals = 0
        if reason is not None:
            self._told = False
            self._timer = self._clock.callLater(NOTICE_SECONDS, self._tell)
            self._begun()
        elif self._told:
            self._remark("[resumed]")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        self._told = True
        way_out = "Enter ~." if self.reads_keys else "Ctrl-C twice"
        self._remark(f"[connection lost; trying to resume; {way_out} to give up]")
