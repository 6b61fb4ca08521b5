"""The process at the other end of a Unix socket, as the system names it (unix(7), ``SO_PEERCRED``)."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted_rsh.core.values import dataclass

__all__ = ["PeerCredentials", "peer_credentials", "trusted_servers"]

ROOT = 0

_UCRED = struct.Struct("iII")
"""Linux's ``struct ucred``: process, user, group."""

_XUCRED = struct.Struct("II")
"""The beginning of ``struct xucred`` of FreeBSD and macOS (unix(4), ``LOCAL_PEERCRED``): its version, and the user."""

_XUCRED_BYTES = 256
"""Bytes that hold a whole ``struct xucred``, which has 76 or 88."""


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """The other end of a Unix socket when it connected, or listened.

    :ivar uid: its user.
    :ivar pid: its process, for people: another process may have the number later.  ``None`` where the system does not
        tell it.
    """

    uid: int
    pid: int | None

    def __str__(self) -> str:
        """Return its name for the log."""
        return f"unix uid {self.uid}" if self.pid is None else f"unix uid {self.uid} pid {self.pid}"


def peer_credentials(transport: Any) -> PeerCredentials:
    """Ask the system for the process at the other end.

    :param transport: a connection of the reactor's over a Unix socket.
    :raises OSError: the system cannot tell it: let such a peer in by nothing that depends on its user.
    """
    handle: socket.socket = transport.getHandle()
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = _UCRED.unpack(handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return PeerCredentials(uid, pid)
    option = getattr(socket, "LOCAL_PEERCRED", None)
    if option is None:
        raise OSError("this system does not tell the user at the other end of a Unix socket")
    version, uid = _XUCRED.unpack_from(handle.getsockopt(0, option, _XUCRED_BYTES))
    if version:
        raise OSError(f"the system describes the other end of a Unix socket in an unknown way ({version})")
    return PeerCredentials(uid, None)


def trusted_servers(own: int, owner: int | None) -> frozenset[int]:
    """Return the users whose server a client trusts at a Unix socket.

    Root is always among them: it can do everything in the client's name anyway, and it listens for a service manager
    that hands the socket over.

    :param own: the client's user.
    :param owner: the owner of the socket's file, where the client's user has named that file; ``None`` elsewhere.
    """
    return frozenset({own, ROOT} if owner is None else {own, ROOT, owner})
