"""The private folder of a persistent shell, and the files of commands in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

from twisted_rsh.execution.processes.descriptors import above_child_fds

__all__ = ["PrivateFolder", "TextFile"]

_FOLDER_PREFIX = "twisted-rsh-"


class PrivateFolder:
    """A temporary folder that no other user may enter.  It is made at its first use, and again if it was removed.

    :param parent: the folder to make it in, which is made where it is missing; ``None`` for the system's folder for
        temporary files.
    """

    def __init__(self, parent: str | None = None) -> None:
        self._parent = parent
        self._path: str | None = None

    def place(self, name: str) -> bytes:
        """Return a free path in the folder; make the folder if it is missing.

        :param name: a file name; a file of this name is removed.
        :returns: an absolute path at which there is nothing.
        :raises OSError: the folder cannot be made.
        """
        if self._path is None or not os.path.isdir(self._path):
            if self._parent is not None:
                os.makedirs(self._parent, 0o700, exist_ok=True)
            self._path = tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=self._parent)
        path = os.fsencode(os.path.join(self._path, name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return path

    def remove(self) -> None:
        """Remove the folder with its contents.  Files that cannot be removed stay."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None


class TextFile:
    """A file of texts, one after the other, that the shell opens by name.

    It stays open here: to make or to cut a file takes some file systems a hundred times as long as to write over it.

    :param path: where to make it; there is nothing.
    :ivar path: its path.
    :raises OSError: it cannot be made.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._fd = above_child_fds(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._size = 0

    def set(self, text: bytes) -> None:
        """Replace the text.

        :raises OSError: there is no room.
        """
        size, self._size = self._size, len(text)
        begin = 0
        while begin < len(text):
            begin += os.pwrite(self._fd, text[begin:], begin)
        if len(text) < size:
            os.ftruncate(self._fd, len(text))

    def close(self) -> None:
        """Close it here.  Harmless when it is closed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
