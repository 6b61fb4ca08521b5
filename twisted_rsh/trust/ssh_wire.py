"""The values of SSH's wire format (RFC 4251, section 5), read strictly: of each only the one shortest encoding."""

from __future__ import annotations

from twisted_rsh.core.errors import Error

__all__ = ["BadWire", "WireReader", "decode_mpint", "encode_mpint", "encode_string", "split_strings"]

_LENGTH_BYTES = 4
"""Bytes of the length before each ``string`` (RFC 4251, section 5)."""


class BadWire(Error, ValueError):
    """Bytes are not in SSH's wire format, or not in its shortest encoding."""


def encode_string(data: bytes) -> bytes:
    """Encode a ``string``.

    :param data: its bytes, fewer than 2**32.
    :returns: the length in 4 bytes, and the bytes.
    """
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def encode_mpint(number: int) -> bytes:
    """Encode an ``mpint``, with its length.

    :param number: the number, not negative.
    :returns: its shortest encoding.
    """
    return encode_string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


def split_strings(data: bytes) -> list[bytes]:
    """Decode a sequence of ``string`` values; an ``mpint`` is a string too, for :func:`decode_mpint`.

    :param data: any bytes; the caller bounds their number.
    :returns: the strings; together with their lengths they are all of the data.
    :raises BadWire: a length points beyond the end.
    """
    strings = []
    position = 0
    while position < len(data):
        start = position + _LENGTH_BYTES
        # A truncated length reads as a smaller number, but then the string ends beyond the data as well.
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data):
            raise BadWire("a length points beyond the end")
        strings.append(data[start:position])
    return strings


def decode_mpint(data: bytes) -> int:
    """Decode an ``mpint`` from its bytes, without the length.

    :param data: any bytes.
    :returns: the number, not negative.
    :raises BadWire: the number is negative, or not in its shortest encoding.
    """
    number = int.from_bytes(data, "big", signed=True)
    if number < 0:
        raise BadWire("a number is negative")
    if encode_mpint(number)[_LENGTH_BYTES:] != data:
        raise BadWire("a number is longer than it need be")
    return number


class WireReader:
    """Reads values one after the other.

    Each method raises :class:`BadWire` if the value is not whole, or not in its one encoding.

    :param data: any bytes at all; the caller bounds their number.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def rest(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._position

    @property
    def position(self) -> int:
        """Bytes that have been read."""
        return self._position

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        if size > self.rest:
            raise BadWire("a value is cut short")
        self._position += size
        return self._data[self._position - size : self._position]

    def byte(self) -> int:
        """Return a byte as a number."""
        return self.take(1)[0]

    def uint32(self) -> int:
        """Return a number of 4 bytes."""
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        """Return a number of 8 bytes."""
        return int.from_bytes(self.take(8), "big")

    def boolean(self) -> bool:
        """Return a truth value, which is 0 or 1."""
        value = self.byte()
        if value > 1:
            raise BadWire("a truth value that is neither 0 nor 1")
        return bool(value)

    def string(self) -> bytes:
        """Return the bytes of a ``string``."""
        return self.take(self.uint32())

    def mpint(self) -> int:
        """Return a number that is not negative, of any size."""
        return decode_mpint(self.string())

    def end(self) -> None:
        """Check that nothing is left."""
        if self.rest:
            raise BadWire("bytes after the end")
