"""The files and folders that a client has open, by their handles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from itertools import chain, islice

from twisted_rsh.files.wire import Refusal, Status

__all__ = ["MAX_HANDLES", "Handles", "OpenFile", "OpenFolder"]

MAX_HANDLES = 500
"""Files and folders that one client may have open.  A folder takes two descriptors, and systems allow a process 1,024
unless told otherwise."""


class OpenFile:
    """An open file.

    :ivar fd: its descriptor.
    :ivar appends: whether each write goes to the end, whatever offset the client names.
    """

    def __init__(self, fd: int, appends: bool) -> None:
        self.fd = fd
        self.appends = appends

    def close(self) -> None:
        """Close it.

        :raises OSError: data did not reach the disk, as on a network's file system.
        """
        os.close(self.fd)

    def write(self, data: memoryview, offset: int) -> None:
        """Write all bytes.

        :raises OSError: the system could not; the first part of the bytes may be in the file.
        """
        while data:
            written = os.write(self.fd, data) if self.appends else os.pwrite(self.fd, data, offset)
            data = data[written:]
            offset += written


class OpenFolder:
    """An open folder, which is read once from its beginning to its end.

    :param path: its path.
    :raises OSError: it cannot be opened.
    :ivar fd: its descriptor.
    """

    def __init__(self, path: bytes) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._entries = os.scandir(self.fd)
        except OSError:
            os.close(self.fd)
            raise
        self._left = self._read()

    def close(self) -> None:
        """Close it."""
        self._left.close()
        self._entries.close()
        os.close(self.fd)

    def read(self, count: int) -> list[tuple[bytes, os.stat_result]]:
        """Read on.

        :param count: entries at most.
        :returns: names and what they are, links not followed; empty at the end.
        """
        return list(islice(self._left, count))

    def _read(self) -> Generator[tuple[bytes, os.stat_result], None, None]:
        for name in chain((".", ".."), (entry.name for entry in self._entries)):
            # It may be gone since the folder was read, or the folder may be one to read and not to enter.
            with contextlib.suppress(OSError):
                yield os.fsencode(name), os.stat(name, dir_fd=self.fd, follow_symlinks=False)


class Handles:
    """All that a client has open.  A handle is not used again, so an old one never means another file."""

    def __init__(self) -> None:
        self._open: dict[bytes, OpenFile | OpenFolder] = {}
        self._count = 0

    def check_room(self) -> None:
        """Check that one more may be opened.

        :raises Refusal: :data:`MAX_HANDLES` are open.
        """
        if len(self._open) >= MAX_HANDLES:
            raise Refusal(Status.FAILURE, f"{MAX_HANDLES} files and folders are open; close one first")

    def add(self, opened: OpenFile | OpenFolder) -> bytes:
        """Return the handle of something that was opened."""
        self._count += 1
        handle = b"%d" % self._count
        self._open[handle] = opened
        return handle

    def find(self, handle: bytes) -> OpenFile | OpenFolder:
        """Return what a handle means.

        :raises Refusal: nothing.
        """
        try:
            return self._open[handle]
        except KeyError:
            raise Refusal(Status.FAILURE, "no such handle") from None

    def file(self, handle: bytes) -> OpenFile:
        """Return the file that a handle means.

        :raises Refusal: nothing, or a folder.
        """
        found = self.find(handle)
        if isinstance(found, OpenFile):
            return found
        raise Refusal(Status.FAILURE, "the handle is a folder's")

    def folder(self, handle: bytes) -> OpenFolder:
        """Return the folder that a handle means.

        :raises Refusal: nothing, or a file.
        """
        found = self.find(handle)
        if isinstance(found, OpenFolder):
            return found
        raise Refusal(Status.FAILURE, "the handle is a file's")

    def close(self, handle: bytes) -> None:
        """Close what a handle means; it means nothing after this, also when closing failed.

        :raises Refusal: it means nothing already.
        :raises OSError: the system could not store all data.
        """
        opened = self.find(handle)
        del self._open[handle]
        opened.close()

    def close_all(self) -> None:
        """Close all that is open."""
        for handle in list(self._open):
            with contextlib.suppress(OSError):  # the client is gone, and has not waited for it
                self.close(handle)
