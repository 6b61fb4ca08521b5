"""Lists of addresses from which a key may log in, as sshd's ``from=`` has them."""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase

from twisted_rsh.core.values import dataclass

__all__ = ["MAX_ADDRESS_PATTERNS", "AddressList", "parse_addresses"]

MAX_ADDRESS_PATTERNS = 128
"""Patterns of one list at most.  A login parses the lists of its own key's lines, and compares each pattern."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_WILDCARD = re.compile(r"[0-9a-f.:*?]+")
"""What a pattern with wildcards has: it is compared with the text of an address, in small letters."""


@dataclass(frozen=True, slots=True)
class AddressList:
    """Patterns of addresses.

    :ivar wanted: one of them must match: networks, and texts with wildcards.
    :ivar unwanted: none of them may match.
    """

    wanted: tuple[Network | str, ...]
    unwanted: tuple[Network | str, ...]

    def contains(self, address: str) -> bool:
        """Tell whether an address is in the list.

        :param address: an IP address as text; any other text is in no list.
        """
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        # A socket for both families shows an IPv4 address in this form.
        actual = getattr(parsed, "ipv4_mapped", None) or parsed
        return _is_among(actual, self.wanted) and not _is_among(actual, self.unwanted)


def parse_addresses(text: str) -> AddressList:
    """Read a list: addresses, networks such as ``10.0.0.0/8``, and texts with ``*`` and ``?``, separated by commas.

    Names of hosts are no addresses: no name is ever looked up for a login.

    :param text: the list; ``!`` before a pattern makes it one that must not match.
    :raises ValueError: it is no such list; the message is the rest of a sentence that begins with the list.
    """
    items = text.split(",")
    if len(items) > MAX_ADDRESS_PATTERNS:
        raise ValueError(f"has more than {MAX_ADDRESS_PATTERNS} patterns")
    wanted: list[Network | str] = []
    unwanted: list[Network | str] = []
    for item in items:
        pattern = item.removeprefix("!")
        (wanted if pattern == item else unwanted).append(_parse(pattern))
    return AddressList(tuple(wanted), tuple(unwanted))


def _parse(pattern: str) -> Network | str:
    try:
        network = ipaddress.ip_network(pattern)
    except ValueError:
        lowered = pattern.lower()
        if _WILDCARD.fullmatch(lowered) and not {"*", "?"}.isdisjoint(lowered):
            return lowered
        raise ValueError(f"has {pattern[:60]!a}, which is no address, network or pattern of addresses") from None
    if getattr(network.network_address, "ipv4_mapped", None) is not None:
        raise ValueError(f"has {pattern[:60]!a}; write the IPv4 address")
    return network


def _is_among(address: Address, patterns: tuple[Network | str, ...]) -> bool:
    text = str(address)
    return any(fnmatchcase(text, pattern) if isinstance(pattern, str) else address in pattern for pattern in patterns)
