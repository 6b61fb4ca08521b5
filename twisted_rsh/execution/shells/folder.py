"""The private folder of a persistent shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

__all__ = ["PrivateFolder"]

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
