"""Lines of one host's output with the host's name before each, so that the lines of many hosts may alternate."""

from __future__ import annotations

__all__ = ["MAX_LINE_BYTES", "LinePrefix"]

MAX_LINE_BYTES = 16 * 1024
"""Bytes of a line that are held until its end comes; of a longer one the rest counts as another line.  Two outputs of
200 hosts hold 6.4 MB so."""


class LinePrefix:
    """Puts a name before each line, and gives out whole lines alone.

    :param name: the name.
    """

    def __init__(self, name: str) -> None:
        self._prefix = f"{name}: ".encode()
        self._held = bytearray()

    def convert(self, data: bytes) -> bytes:
        """Take the next bytes of the output.

        :returns: the lines that they complete, each behind the name.
        """
        self._held += data
        # Only the bytes behind the last line feed can be the beginning of a line that is to come.
        end = self._held.rfind(b"\n") + 1
        lines = bytes(self._held[:end]).split(b"\n")[:-1]
        del self._held[:end]
        while len(self._held) >= MAX_LINE_BYTES:
            lines.append(bytes(self._held[:MAX_LINE_BYTES]))
            del self._held[:MAX_LINE_BYTES]
        return b"".join(self._prefix + line + b"\n" for line in lines)

    def finish(self) -> bytes:
        """Return the last line, if it has no end: nothing more comes."""
        line = bytes(self._held)
        self._held.clear()
        return self._prefix + line + b"\n" if line else b""
