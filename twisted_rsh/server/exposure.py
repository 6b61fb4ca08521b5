"""Who can reach a listening port: only this user, other users of this machine, or other machines."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IListeningPort

__all__ = ["listening_address", "show_address", "warnings_about"]

_ABSTRACT = b"\0"
"""The first byte of a Unix socket's name that is no file (unix(7)): no permission protects it."""


def listening_address(port: IListeningPort) -> IAddress:
    """Return the address that a port really has.

    A socket that the program was given, as by systemd, may be of another family than the endpoint's ``domain=`` says.
    Twisted believes the endpoint; this asks the socket.

    :param port: a port that listens.
    """
    number: Any = getattr(port, "fileno", None)
    if number is None:
        return port.getHost()
    with socket.socket(fileno=os.dup(number())) as probe:
        name = probe.getsockname()
        if probe.family == socket.AF_UNIX:
            return UNIXAddress(os.fsencode(name))
        if probe.family == socket.AF_INET6:
            return IPv6Address("TCP", *name)
        return IPv4Address("TCP", *name) if probe.family == socket.AF_INET else port.getHost()


def show_address(address: IAddress) -> str:
    """Write an address for people: ``127.0.0.1:8082``, ``[::1]:8082``, the path of a Unix socket."""
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, UNIXAddress) and address.name:
        return ascii(os.fsdecode(address.name))[1:-1]
    return str(address)


def warnings_about(ports: Iterable[IListeningPort]) -> list[str]:
    """Write a line about each address that others than this user can reach.

    :param ports: ports that listen.
    :returns: a line for each such address, which names it and the way out; an address that two ports have, once.
    """
    warnings = (_warning(_address_of(port)) for port in ports)
    return list(dict.fromkeys(warning for warning in warnings if warning is not None))


def _address_of(port: IListeningPort) -> IAddress:
    try:
        return listening_address(port)
    except OSError:  # no descriptor is left, or the port has none
        return port.getHost()


def _warning(address: IAddress) -> str | None:
    shown = show_address(address)
    if isinstance(address, IPv4Address | IPv6Address):
        if _is_loopback(address.host):
            return None
        way_out = "to keep them out, listen on 127.0.0.1 or ::1: --interface, or interface= in --listen"
        return f"other machines can reach this server at {shown}; {way_out}"
    if isinstance(address, UNIXAddress):
        if not _others_can_connect(address.name or _ABSTRACT):
            return None
        way_out = "to keep them out, put the socket into a folder of mode 0700, or write mode=600 in --listen"
        return f"other users of this machine can reach this server at {shown}; {way_out}"
    return f"others may be able to reach this server at {shown}; to keep them out, listen on 127.0.0.1 or ::1"


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a name, which an endpoint of another package may give
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _others_can_connect(path: bytes) -> bool:
    """Tell whether other users can connect to a Unix socket: they must be able to write it, and to reach it."""
    if path.startswith(_ABSTRACT):
        return True
    physical = os.path.realpath(path)
    try:
        if not stat.S_IMODE(os.stat(physical).st_mode) & 0o022:
            return False
        while physical != os.path.dirname(physical):
            physical = os.path.dirname(physical)
            if not stat.S_IMODE(os.stat(physical).st_mode) & 0o011:
                return False
    except OSError:
        return True  # it cannot be looked at: suppose the worst
    return True
