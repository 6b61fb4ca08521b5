"""Outages as the client's user sees them: the notice, its end, and the ways to leave during one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.streams import IInputSource
from twisted_rsh.core.errors import Error

__all__ = ["NOTICE_SECONDS", "GaveUp", "Outage"]

NOTICE_SECONDS = 2.0
"""Seconds of an outage before the user is told: most outages are over by then, and the user has not noticed."""

_LINE_ENDS = b"\r\n"


class GaveUp(Error):
    """The user did not want to wait for another connection."""

    def __init__(self) -> None:
        super().__init__("gave up while there was no connection; what still ran has an unknown outcome")


class Outage:
    """Follows one connection and tells the user of its outages.

    :param clock: the reactor.
    :param outputs: shows the notices, where standard error is a terminal.
    :param has_prompt: whether the user has a prompt, which knows ``~.`` too, whenever no command runs.
    :param escape: the character in place of ``~``; ``None`` for none, and then no keys leave.
    :ivar is_on: whether there is an outage now.
    """

    def __init__(
        self, clock: IReactorTime, outputs: LocalOutputs, *, has_prompt: bool = False, escape: str | None = "~"
    ) -> None:
        self.is_on = False
        self._clock = clock
        self._outputs = outputs
        self._has_prompt = has_prompt
        self._escape = escape
        self._keys: IInputSource | None = None
        self._timer: IDelayedCall | None = None
        self._is_told = False
        self._is_line_start = True
        self._has_tilde = False
        self._signals = 0
        self._stop_watching: Callable[[], None] | None = None

    def follow(self, connection: Connection) -> None:
        """Tell the user of the outages of a connection from now on."""
        self._stop_watching = connection.watch_link(self._link_changed)

    def stop(self) -> None:
        """Tell the user nothing more.  May be called more than once."""
        if self._stop_watching is not None:
            self._stop_watching()
            self._stop_watching = None
        self.is_on = False
        self._stop_timer()

    def watch_keys(self, keys: IInputSource) -> None:
        """Look for ``~.`` in the keys of another command from now on.

        :param keys: reads the keys, and shows all of them to :meth:`typed`.  It is resumed when an outage begins, or
            now if there is one: the keys may be the way out, even if the command does not take them.
        """
        self._keys = keys
        self._is_line_start = True
        if self.is_on:
            keys.resume()

    def typed(self, data: bytes) -> bool:
        """Look at the keys that a person typed.

        :param data: all of them, in their order.
        :returns: whether the person wants to leave: ``~.`` at the beginning of a line, during an outage.
        """
        for byte in data:
            if self._has_tilde and byte == ord("."):
                return True
            self._has_tilde = self.is_on and self._is_line_start and chr(byte) == self._escape
            self._is_line_start = byte in _LINE_ENDS
        return False

    def signalled(self) -> bool:
        """Count a signal that a command gets when there is a connection again.

        :returns: whether it is the second of this outage, by which the user means not to wait for that.
        """
        self._signals += 1
        return self._signals > 1

    def _link_changed(self, reason: str | None) -> None:
        self._stop_timer()
        self.is_on = reason is not None
        self._has_tilde = False
        self._signals = 0
        if reason is not None:
            self._is_told = False
            self._timer = self._clock.callLater(NOTICE_SECONDS, self._tell)
            if self._keys is not None:
                self._keys.resume()
        elif self._is_told:
            self._show("[resumed]")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        self._is_told = True
        has_keys = self._escape is not None and (self._has_prompt or self._keys is not None)
        way_out = f"Enter {self._escape}." if has_keys else "Ctrl-C twice"
        self._show(f"[connection lost; trying to resume; {way_out} to give up]")

    def _show(self, text: str) -> None:
        # A file or a pipe has what the command wrote to stderr, and no word of an outage.
        if self._outputs.stderr.is_terminal:
            self._outputs.remark(text)
