"""The sources of connections, by which a server counts what a client takes of it before a login."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress

from twisted_rsh.server.peers import is_from_this_machine, peer_uid

__all__ = ["IPV6_SOURCE_BITS", "OWN_USER", "UNKNOWN_USER", "address_source", "source_of"]

IPV6_SOURCE_BITS = 64
"""Bits of an IPv6 address that name its source.  A network of this size is the smallest that a provider gives to a
customer (RFC 6177), and a host with one of its addresses can take all of them."""

OWN_USER = "the server's own user"
"""The source of connections from this machine by the server's own user."""

UNKNOWN_USER = "an unknown user of this machine"
"""The source of connections from this machine whose user the system does not tell, as when their other end is closed.
It has no penalty: any user may be among them."""


def address_source(address: IAddress | None) -> str | None:
    """Return the source that an address counts for.

    :param address: a peer's.
    :returns: an IPv4 address, or an IPv6 network of :data:`IPV6_SOURCE_BITS`, as text.  ``None`` for an address that
        names no source: a loopback address, which all users of a machine share, or one that is not of IP.
    """
    try:
        host = ipaddress.ip_address(getattr(address, "host", ""))
    except ValueError:
        return None
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is None:
            return None if host.is_loopback else str(ipaddress.IPv6Network((int(host), IPV6_SOURCE_BITS), strict=False))
        host = host.ipv4_mapped
    return None if host.is_loopback else str(host)


def source_of(transport: Any, address: IAddress | None, uid_of: Callable[[Any], int | None] = peer_uid) -> str | None:
    """Return the source that a connection counts for.

    :param transport: the connection.
    :param address: its peer's, as Twisted gives it to ``buildProtocol``.
    :param uid_of: tells the user at the other end of a connection from this machine.
    :returns: :func:`address_source` of the address, if that is another machine's.  Of this machine each user is a
        source, such as ``uid 1000``, and so are :data:`OWN_USER` and :data:`UNKNOWN_USER`.  ``None`` for a connection
        that is bounded with no source: the system does not tell users, or the connection is no socket's.
    """
    try:
        if not is_from_this_machine(transport):
            return address_source(address)
        uid = uid_of(transport)
    except OSError:
        return address_source(address)
    if uid is None:
        return UNKNOWN_USER
    return OWN_USER if uid == os.geteuid() else f"uid {uid}"
