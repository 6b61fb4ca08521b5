"""Where the records of a byte stream end, found without looking at what is in them."""

from __future__ import annotations

from typing import ClassVar, Protocol

__all__ = ["Boundaries", "HeaderBoundaries", "Int32Frames", "TLSRecords"]


class Boundaries(Protocol):
    """Finds the ends of one direction's records.  One object sees one direction of one connection from its start."""

    def ends(self, data: bytes) -> list[int]:
        """Look at the bytes that follow those of the call before.

        :returns: for each record that ends in them, in order, the offset in `data` of the byte behind it.
        """


class HeaderBoundaries:
    """Records that begin with a header of a fixed size which tells their length.  A subclass says how.

    Only headers are looked at: the time it takes is that of the records, not that of their bytes.

    :cvar HEADER_BYTES: the header's size, in bytes.
    """

    HEADER_BYTES: ClassVar[int]

    def __init__(self) -> None:
        self._header = b""
        self._body_left: int | None = None  # None while the header is incomplete

    def body_bytes(self, header: bytes) -> int:
        """Return how many bytes follow a header.

        :param header: :attr:`HEADER_BYTES` bytes.
        """
        raise NotImplementedError

    def ends(self, data: bytes) -> list[int]:
        """See :class:`Boundaries`."""
        found: list[int] = []
        offset = 0
        while True:
            if self._body_left is None:
                missing = self.HEADER_BYTES - len(self._header)
                self._header += data[offset : offset + missing]
                if len(self._header) < self.HEADER_BYTES:
                    return found
                offset += missing
                self._body_left = self.body_bytes(self._header)
                self._header = b""
            if self._body_left > len(data) - offset:
                self._body_left -= len(data) - offset
                return found
            offset += self._body_left
            self._body_left = None
            found.append(offset)


class Int32Frames(HeaderBoundaries):
    """The frames of :class:`twisted.protocols.basic.Int32StringReceiver`: four bytes of length, then as many bytes."""

    HEADER_BYTES = 4

    def body_bytes(self, header: bytes) -> int:
        """See :class:`HeaderBoundaries`."""
        return int.from_bytes(header, "big")


class TLSRecords(HeaderBoundaries):
    """The records of TLS, handshake included: type, version and two bytes of length (RFC 8446, section 5.1)."""

    HEADER_BYTES = 5

    def body_bytes(self, header: bytes) -> int:
        """See :class:`HeaderBoundaries`."""
        return int.from_bytes(header[3:], "big")
