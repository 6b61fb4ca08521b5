"""The data types of the SSH protocol (RFC 4251, section 5) that keys and signatures are made of."""

from __future__ import annotations

__all__ = ["BadWire", "decode_mpint", "encode_mpint", "encode_string", "split_strings"]

_LENGTH_BYTES = 4


class BadWire(ValueError):
    """Bytes are not in SSH's wire format, or not in the one way that the format allows."""


def encode_string(data: bytes) -> bytes:
    """Write a ``string``.

    :param data: its bytes, fewer than 2**32.
    :returns: the length in 4 bytes, and the bytes.
    """
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def encode_mpint(number: int) -> bytes:
    """Write an ``mpint``, with its length.

    :param number: not negative.
    :returns: the one encoding that the format allows.
    """
    return encode_string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


def split_strings(data: bytes) -> list[bytes]:
    """Read a sequence of ``string`` values; an ``mpint`` counts as one, for :func:`decode_mpint`.

    :param data: any bytes; the caller has bounded their number.
    :returns: the strings, which together with their lengths are all of the data.
    :raises BadWire: a length points beyond the end, or bytes are left over.
    """
    strings = []
    position = 0
    while position < len(data):
        start = position + _LENGTH_BYTES
        # A length cut short reads as a smaller number, but then the end of its string is out of reach as well.
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data):
            raise BadWire("a length points beyond the end")
        strings.append(data[start:position])
    return strings


def decode_mpint(data: bytes) -> int:
    """Read an ``mpint`` from its bytes, without the length.

    :param data: any bytes.
    :returns: the number, not negative.
    :raises BadWire: the number is negative, or could have been written with fewer bytes.
    """
    number = int.from_bytes(data, "big", signed=True)
    if number < 0:
        raise BadWire("a number is negative")
    if encode_mpint(number)[_LENGTH_BYTES:] != data:
        raise BadWire("a number is longer than it need be")
    return number
