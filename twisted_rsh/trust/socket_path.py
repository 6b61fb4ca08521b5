"""The paths of Unix sockets: how people write them, and how long they may be."""

from __future__ import annotations

import os
import sys

__all__ = ["MAX_SOCKET_PATH_BYTES", "SCHEME", "check_length", "socket_path"]

SCHEME = "unix:"
"""What stands before a path where a host could stand: ``unix:/run/user/1000/twisted-rsh/8082.sock``."""

MAX_SOCKET_PATH_BYTES = 107 if sys.platform.startswith("linux") else 103
"""Bytes of a Unix socket's path at most: ``sun_path`` has 108 on Linux and 104 elsewhere, and ends with a zero byte."""


def socket_path(host: str) -> str | None:
    """Return the path of a host that is a Unix socket; ``None`` for any other host.

    :param host: a host, or ``unix:`` and a path.
    """
    return host[len(SCHEME) :] if host.startswith(SCHEME) else None


def check_length(path: str) -> None:
    """Check that a path is not too long for a socket.

    :raises ValueError: it is; the text is the rest of a sentence that begins with the path.
    """
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"it has {size} bytes, and the path of a socket has {MAX_SOCKET_PATH_BYTES} at most")
