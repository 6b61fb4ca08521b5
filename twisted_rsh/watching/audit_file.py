"""The file of an audit log: private, appended to line by line, and renamed when it is large."""

from __future__ import annotations

import errno
import os
from typing import Any, ClassVar

from twisted.logger import Logger

from twisted_rsh import FileProblem
from twisted_rsh.server import open_private_log

__all__ = ["DEFAULT_KEPT_FILES", "DEFAULT_MAX_BYTES", "AuditFile"]

DEFAULT_MAX_BYTES = 16 * 1024 * 1024
"""Bytes of a file: some 25,000 jobs, at 300 bytes for each beginning and each end."""

DEFAULT_KEPT_FILES = 8
"""Files that are kept beside the current one: 144 MiB in all with the default size."""


class AuditFile:
    """A file for :class:`~twisted_rsh.watching.audit.Audit`.

    Each line is one write, without a buffer, so it is in the hands of the system before the server goes on.

    :param path: the file, in a folder that exists; relative to the working folder of this moment.
    :param max_bytes: bytes from which on the file is renamed to ``FILE.1``, that one to ``FILE.2``, and so on; 0 to let
        another program do so.
    :param kept: the number of renamed files; the oldest is overwritten.
    :raises twisted_rsh.FileProblem: the file cannot be used safely.
    :raises OSError: the system does not allow it.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(self, path: str, max_bytes: int = DEFAULT_MAX_BYTES, kept: int = DEFAULT_KEPT_FILES) -> None:
        self._path = os.path.abspath(path)
        self._max_bytes = max_bytes
        self._kept = kept
        self._descriptor = -1
        self._size = self._rename_at = 0
        self._is_torn = False
        self._open()

    def write(self, entry: dict[str, Any], line: bytes) -> None:
        """Append a line.

        :raises OSError: it cannot be appended; nothing of it is left.
        """
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the file is closed")
        if self._rename_at and self._size + len(line) > self._rename_at and self._size:
            self._rename()
        if self._is_torn:
            line = b"\n" + line
        written = os.write(self._descriptor, line)
        if written < len(line):
            self._take_back(written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self._is_torn = False

    def reopen(self) -> None:
        """Open the file of this name; if that is impossible, go on with the one that is open, and log why."""
        try:
            if self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), os.lstat(self._path)):
                return
        except FileNotFoundError:
            pass
        except OSError as error:
            self._complain(error)
            return
        try:
            self._open()
        except (OSError, FileProblem) as error:
            self._complain(error)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        descriptor = open_private_log(self._path)
        self.close()
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._rename_at = self._max_bytes
        # Another server may have been killed within a line.
        self._is_torn = self._size > 0 and not _ends_with_line_feed(self._path, self._size)

    def _rename(self) -> None:
        try:
            for number in range(self._kept - 1, 0, -1):
                if os.path.lexists(f"{self._path}.{number}"):
                    os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
            os.replace(self._path, f"{self._path}.1")
        except FileNotFoundError:
            pass  # another program has renamed it
        except OSError as error:
            self._go_on(error)
            return
        try:
            self._open()
        except (OSError, FileProblem) as error:
            self._go_on(error)

    def _go_on(self, error: Exception) -> None:
        """Write on into the same file, and try again when it has grown as much again."""
        self._complain(error)
        self._rename_at = self._size + self._max_bytes

    def _take_back(self, written: int) -> None:
        """Take the beginning of a line out of the file again."""
        try:
            # The size as it is now: another program may have emptied the file (``copytruncate`` of logrotate).
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
        except OSError:
            self._size += written
            self._is_torn = True

    def _complain(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) else error
        self.log.error("the audit log stays in its old file: {path!a}: {reason}", path=self._path, reason=reason)


def _ends_with_line_feed(path: str, size: int) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, 1, size - 1) == b"\n"
    finally:
        os.close(descriptor)
