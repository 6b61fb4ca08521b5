"""The journal of systemd as a place for an audit log, by its native protocol.

An entry is one datagram of lines ``NAME=value`` (systemd's *Native Journal Protocol*).
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

__all__ = ["JOURNAL_SOCKET", "Journal"]

JOURNAL_SOCKET = "/run/systemd/journal/socket"
"""Where the journal listens."""

_IDENTIFIER = "twisted-rsh-audit"
_INFORMATION = 6


class Journal:
    """Sends the entries of :class:`~twisted_rsh.watching.audit.Audit` to the journal.

    ``MESSAGE`` is the whole entry.  ``TWISTED_RSH_EVENT``, ``TWISTED_RSH_SESSION``, ``TWISTED_RSH_JOB`` and
    ``TWISTED_RSH_USER`` are members of it, to search for.  A journal that does not keep up loses entries, which are
    counted: the server never waits for it.

    :param path: the journal's socket.
    :raises OSError: there is none.
    """

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket = _new_socket()
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, f"no journal listens there: {os.strerror(error.errno or 0)}", path) from None

    def write(self, entry: dict[str, Any], line: bytes) -> None:
        """Send an entry.

        :raises OSError: the journal is gone, or does not keep up.
        """
        fields = {
            "MESSAGE": line[:-1].decode("ascii"),
            "PRIORITY": str(_INFORMATION),
            "SYSLOG_IDENTIFIER": _IDENTIFIER,
        }
        for name in ("event", "session", "job", "user"):
            if entry.get(name) is not None:
                fields[f"TWISTED_RSH_{name.upper()}"] = str(entry[name])
        data = b"".join(_field(name, value) for name, value in fields.items())
        try:
            sent = self._socket.send(data)
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET):
                raise
            # It has been restarted, and has another socket.
            self._socket.connect(self._path)
            sent = self._socket.send(data)
        if sent < len(data):
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))

    def reopen(self) -> None:
        """Take a new socket if the old one was closed; the next entry connects it."""
        if self._socket.fileno() < 0:
            self._socket = _new_socket()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _new_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made.setblocking(False)
    return made


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%s=%s\n" % (name.encode(), data)
