"""What a stand-alone server tells systemd: that it serves, reads its configuration again, stops, and is not held.

The protocol is that of sd_notify(3): datagrams of lines ``NAME=value`` to the Unix socket that ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_rsh.log_level import leveled_log

__all__ = ["MAX_WAITING", "RETRY_SECONDS", "Systemd"]

RETRY_SECONDS = 0.1
"""Seconds until a datagram, for which systemd's socket had no room, is sent again."""

MAX_WAITING = 8
"""Datagrams that wait for room at most.  A state says all that holds, so it takes the place of the oldest; a sign of
life takes no other's place."""

_MICROSECONDS = 1_000_000


class Systemd:
    """The service manager that has started this process, if it is systemd and wants to know.

    Every method does nothing where the environment names no socket.

    :param environ: the environment, such as ``os.environ``: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
    :param clock: schedules the signs of life; the reactor, so that they stop while that is held.
    """

    log = Logger(observer=leveled_log)

    def __init__(self, environ: Mapping[str, str], clock: IReactorTime) -> None:
        self._clock = clock
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._interval = _watchdog_seconds(environ) / 2
        self._socket: socket.socket | None = None
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._retry: IDelayedCall | None = None
        self._ping: IDelayedCall | None = None

    def ready(self, status: str) -> None:
        """Tell that the server serves, after its start or after it has read its configuration again.

        From then on systemd gets a sign of life twice as often as it wants one (``WatchdogSec=``).

        :param status: one line, which ``systemctl status`` shows.
        """
        self._tell("READY=1", f"STATUS={status}")
        if self._address is not None and self._interval and self._ping is None:
            self._give_sign()

    def reloading(self) -> None:
        """Tell that the server reads its configuration again; call :meth:`ready` when it has."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reading the configuration again")

    def stopping(self, status: str) -> None:
        """Tell that the server stops.

        :param status: one line, which ``systemctl status`` shows.
        """
        self._tell("STOPPING=1", f"STATUS={status}")

    def close(self) -> None:
        """Tell no more.  What waits for room is dropped."""
        for call in (self._retry, self._ping):
            if call is not None and call.active():
                call.cancel()
        self._retry = self._ping = None
        self._waiting.clear()
        self._address = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _give_sign(self) -> None:
        self._ping = self._clock.callLater(self._interval, self._give_sign)
        if len(self._waiting) < MAX_WAITING:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address is not None:
            self._waiting.append("\n".join(lines).encode("utf-8", "replace"))
            self._send()

    def _send(self) -> None:
        if self._retry is not None and self._retry.active():
            return
        self._retry = None
        try:
            while self._waiting:
                self._opened().sendto(self._waiting[0], self._address or "")
                self._waiting.popleft()
        except BlockingIOError:
            self._retry = self._clock.callLater(RETRY_SECONDS, self._send)
        except OSError as error:
            # Jobs can be served without it; systemd will say itself that it has heard nothing.
            self.log.warn("cannot tell systemd about this server: {reason}", reason=error.strerror)
            self.close()

    def _opened(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self._socket


def _address(name: str) -> str | None:
    """Return the address of the socket; ``None`` for no socket, or one of a kind that is not Unix's."""
    if name.startswith("@"):  # an abstract name of Linux
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """Return the time after which systemd takes the process for dead; 0 if it does not watch this one."""
    with contextlib.suppress(ValueError):
        if int(environ.get("WATCHDOG_PID") or os.getpid()) == os.getpid():
            return max(int(environ.get("WATCHDOG_USEC") or 0), 0) / _MICROSECONDS
    return 0.0
