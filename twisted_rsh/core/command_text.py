"""The text of a command as bytes that nothing has to escape: how it stands after the object of OPEN, and in RUN."""

from __future__ import annotations

import codecs

__all__ = ["decode_command", "encode_command"]

# The kind of each byte within a character of UTF-8: 1 for a later one, 2 for a first one of several.
_KINDS = bytes((0x80 <= byte < 0xC0) + 2 * (0xC2 <= byte < 0xF5) for byte in range(256))

# A table takes 1.5 ms for 1 MiB of escapes, the decoder of UTF-8 takes 8 ms.
_ESCAPED = bytes(range(256)).decode("ascii", "surrogateescape")


def encode_command(command: str) -> bytes | None:
    """Return the UTF-8 of a command, with the bytes that its escapes stand for.

    :param command: native text (PEP 383).
    :returns: the bytes; ``None`` for a text that would not come back: a surrogate in it escapes no byte, or the bytes
        that it escapes are text together.
    """
    if command.isascii():
        return command.encode("ascii")
    try:
        text = command.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    return text if decode_command(text) == command else None


def decode_command(text: bytes) -> str:
    """Decode UTF-8, with escapes for bytes that are none.

    :param text: any bytes.
    """
    if text.isascii():
        return text.decode("ascii")
    # Where no later byte follows a first one, no character has several bytes.
    if b"\2\1" in text.translate(_KINDS):
        return text.decode("utf-8", "surrogateescape")
    return codecs.charmap_decode(text, "strict", _ESCAPED)[0]
