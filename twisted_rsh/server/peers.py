"""The user at the other end of a connection from this machine, as the system tells it.

Linux knows the user of each socket.  For a Unix socket ``SO_PEERCRED`` tells it (unix(7)), and for a TCP socket the
``sock_diag`` family of netlink (sock_diag(7)): a question about one socket takes 25 us, however many sockets there
are, where ``/proc/net/tcp`` is a list of all of them and takes 50 ms with 10,000.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import struct
from typing import Any

from twisted_rsh.link.credentials import PeerCredentials, peer_credentials

__all__ = ["is_from_this_machine", "peer_uid", "unix_peer", "unix_peer_uid"]

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Numbers and structures of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBxI2s2s16s16sI8s")
_ANSWER = struct.Struct("=BB2x48x12xII")
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_LISTEN = 10
_MAX_ANSWER_BYTES = 4096


def is_from_this_machine(transport: Any) -> bool:
    """Tell whether a connection comes from a process on this machine: over a Unix socket, or TCP that never leaves it.

    :param transport: the connection; one that is no socket comes from nowhere.
    """
    family = _family(transport)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return family == socket.AF_UNIX
    peer, host = _address(transport.getPeer()), _address(transport.getHost())
    return peer is not None and (peer.is_loopback or peer == host)


def peer_uid(transport: Any) -> int | None:
    """Return the user of the process at the other end.

    :param transport: a connection from this machine (:func:`is_from_this_machine`).
    :returns: the user, or ``None`` if the system does not tell it of this connection: its other end is closed already.
    :raises OSError: the system does not tell the users of connections.
    """
    if _family(transport) == socket.AF_UNIX:
        return unix_peer_uid(transport)
    here, there = transport.getHost(), transport.getPeer()
    host, peer = _address(here), _address(there)
    if host is None or peer is None or host.version != peer.version:
        return None
    return _ask_system(peer, there.port, host, here.port)


def unix_peer_uid(transport: Any) -> int:
    """Return the user of the process at the other end of a Unix socket.

    :param transport: the connection.
    :raises OSError: the system cannot tell it.
    """
    return peer_credentials(transport).uid


def unix_peer(transport: Any) -> PeerCredentials | None:
    """Return the process at the other end, if the connection is one over a Unix socket and the system tells it.

    :param transport: any connection.
    """
    if _family(transport) != socket.AF_UNIX:
        return None
    try:
        return peer_credentials(transport)
    except OSError:
        return None


def _family(transport: Any) -> int | None:
    handle = getattr(transport, "getHandle", lambda: None)()
    return getattr(handle, "family", None)


def _address(end: Any) -> _IPAddress | None:
    """Return the address of one end, an IPv4 address also where it is written as one of IPv6."""
    return _parse(getattr(end, "host", ""))


@functools.lru_cache(maxsize=64)  # a login asks about the same two addresses four times
def _parse(text: str) -> _IPAddress | None:
    try:
        host = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(host, "ipv4_mapped", None) or host


def _ask_system(local: _IPAddress, local_port: int, remote: _IPAddress, remote_port: int) -> int | None:
    """Return the user of the TCP socket with these two ends.

    :raises OSError: the system has no ``sock_diag``, or no descriptor for the question.
    """
    family = socket.AF_INET if local.version == 4 else socket.AF_INET6
    question = _QUESTION.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        _ANY_STATE,
        local_port.to_bytes(2, "big"),
        remote_port.to_bytes(2, "big"),
        local.packed,
        remote.packed,
        0,
        _NO_COOKIE,
    )
    header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError("this system has no sock_diag")
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as netlink:
        netlink.sendto(header + question, (0, 0))
        # The answer is there when the question is sent: the kernel makes it within the call.
        answer = netlink.recv(_MAX_ANSWER_BYTES)
    if len(answer) < _HEADER.size + _ANSWER.size or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    _, state, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    # A socket that its process has closed has no inode, and the kernel gives 0 as its user, which is root.  And a
    # question about a socket that is gone finds a socket that listens on the same port, of any user.
    return int(uid) if inode and state != _LISTEN else None
