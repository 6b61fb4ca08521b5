"""A strict reader of the values of SSH's wire format (RFC 4251, section 5): each length in range, nothing left over."""

from __future__ import annotations

from twisted_rsh.trust.ssh_keys import BadWire, decode_mpint

__all__ = ["WireReader"]


class WireReader:
    """Reads values one after the other.

    Each method raises :class:`~twisted_rsh.trust.ssh_keys.BadWire` if the value is not whole, or not in its one
    encoding.

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
