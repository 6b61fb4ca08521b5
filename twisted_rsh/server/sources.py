"""Where a connection comes from, as far as limits for each source go."""

from __future__ import annotations

import ipaddress

from twisted.internet.interfaces import IAddress

__all__ = ["IPV6_SOURCE_BITS", "source_of"]

IPV6_SOURCE_BITS = 64
"""Bits of an IPv6 address that name its source: one network, the smallest thing that a customer of a provider is given
(RFC 6177); whoever has one address of it has them all."""


def source_of(address: IAddress | None) -> str | None:
    """Say which source a connection's limits are counted for.

    :param address: the peer's, as Twisted gives it to ``buildProtocol``.
    :returns: an IPv4 address, or an IPv6 network of :data:`IPV6_SOURCE_BITS`, as text; ``None`` for a connection that
        no such limit is for: from this machine, whose users share the loopback addresses, or not over IP at all.
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
