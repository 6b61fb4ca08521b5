"""The output of many hosts, kept until it is shown: in memory while it is little, and otherwise in one temporary file.

One file serves all hosts, so that their number is no matter of descriptors.  It has no name and ends with the program.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from typing import IO

__all__ = ["MAX_MEMORY_BYTES", "PIECE_BYTES", "Capture", "Spool"]

PIECE_BYTES = 32 * 1024
"""Bytes of one output that stay in memory; what is more goes to the file, in pieces of this size."""

MAX_MEMORY_BYTES = 16 * 1024 * 1024
"""Bytes of all outputs together that stay in memory, and one piece more: what is far below the memory that the
connections of a few hundred hosts take."""


class Spool:
    """Keeps the outputs of all hosts.

    :param max_memory: bytes that stay in memory.
    :ivar in_memory: bytes that are in memory now.
    """

    def __init__(self, max_memory: int = MAX_MEMORY_BYTES) -> None:
        self.in_memory = 0
        self.max_memory = max_memory
        self._file: IO[bytes] | None = None
        self._size = 0

    def write(self, data: bytearray) -> int:
        """Write bytes to the file.

        :returns: where they begin.
        :raises OSError: they cannot be written.
        """
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="trsh-")  # noqa: SIM115 - close() closes it
        start = self._size
        with memoryview(data) as rest:
            while self._size < start + len(data):
                self._size += os.pwrite(self._file.fileno(), rest[self._size - start :], self._size)
        return start

    def read(self, start: int, size: int) -> bytes:
        """Read bytes of the file.

        :param start: where they begin.
        :param size: how many, all of which were written.
        :raises OSError: they cannot be read.
        """
        assert self._file is not None
        return os.pread(self._file.fileno(), size, start)

    def close(self) -> None:
        """Drop everything.  May be called more than once."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Capture:
    """Everything that one stream of one host has written.

    :param spool: keeps it.
    :ivar size: bytes.
    """

    def __init__(self, spool: Spool) -> None:
        self.size = 0
        self._spool = spool
        self._kept = bytearray()
        self._extents: list[tuple[int, int]] = []
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def identity(self) -> tuple[int, bytes]:
        """A value that is the same for the same bytes."""
        return self.size, self._hash.digest()

    def append(self, data: bytes) -> None:
        """Keep more bytes.

        :raises OSError: the temporary file cannot be written.
        """
        self.size += len(data)
        self._hash.update(data)
        self._kept += data
        self._spool.in_memory += len(data)
        if len(self._kept) >= PIECE_BYTES or self._spool.in_memory > self._spool.max_memory:
            start, size = self._spool.write(self._kept), len(self._kept)
            if self._extents and sum(self._extents[-1]) == start:
                first, before = self._extents.pop()
                start, size = first, before + size
            self._extents.append((start, size))
            self._spool.in_memory -= len(self._kept)
            self._kept.clear()

    def pieces(self) -> Iterator[bytes]:
        """Read everything, in pieces of :data:`PIECE_BYTES` at most.

        :raises OSError: the temporary file cannot be read.
        """
        for start, size in self._extents:
            for offset in range(0, size, PIECE_BYTES):
                yield self._spool.read(start + offset, min(PIECE_BYTES, size - offset))
        for offset in range(0, len(self._kept), PIECE_BYTES):
            yield bytes(self._kept[offset : offset + PIECE_BYTES])
