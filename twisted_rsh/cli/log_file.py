"""The file of ``-E``, for the log and the client's own lines."""

from __future__ import annotations

import io
import os
from typing import Any, TextIO

__all__ = ["open_log_file"]


class _LossyFile(io.FileIO):
    """A file that loses what it cannot take; a write never fails."""

    def write(self, data: Any, /) -> int:
        """Write the data, which are bytes or another buffer, or lose them."""
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data))


def open_log_file(path: str) -> TextIO:
    """Open a file to add lines to its end.

    What the file cannot take, as on a full disk, is lost, as with ``ssh``: the log of its client is no reason for a
    command to fail.  Each text is written at once, so that none is left for closing the file to fail with.

    :param path: the file; it is made for its user alone if it does not exist.
    :raises OSError: it cannot be opened.
    """
    raw = _LossyFile(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
