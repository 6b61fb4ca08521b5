"""The history of the console: the lines of earlier consoles, in a private file for as long as it can be kept there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from prompt_toolkit.history import FileHistory

from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.trust.files import FileProblem, ensure_private_folder, replace_private_file
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["MAX_HISTORY_BYTES", "ConsoleHistory"]

MAX_HISTORY_BYTES = 1024 * 1024
"""Bytes of the file; a console that finds more keeps the newer half.  They are about 20,000 commands, which are read
within a tenth of a second."""

_PRIVATE = 0o600
_BETWEEN = b"\n\n+"  # the end of a command, the empty line, and the mark of the next command's first line


class ConsoleHistory(FileHistory):
    """The history, which goes on in memory when the file cannot be read or written, or would not be private.

    The user is told so once.

    :param config: names the file.
    :param outputs: tells the user.
    """

    def __init__(self, config: ConfigFolders, outputs: LocalOutputs) -> None:
        super().__init__(config.history_path)
        self._path = config.history_path
        self._outputs = outputs
        self._is_kept = True

    def load_history_strings(self) -> Iterable[str]:
        """Read the lines, and drop the older half of a file that is too large; prompt_toolkit calls this.

        :returns: the lines, the last one first; none if they cannot be read.
        """
        try:
            with open(self._open(os.O_RDWR), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_HISTORY_BYTES:
                    file.seek(size - MAX_HISTORY_BYTES // 2)
                    _, _, newer = file.read().partition(_BETWEEN)  # what comes before is a part of a command
                    replace_private_file(self._path, _BETWEEN[1:] + newer if newer else b"")
            return super().load_history_strings()
        except (FileProblem, OSError) as error:
            self._give_up(error)
            return ()

    def store_string(self, string: str) -> None:
        """Add a line to the file; prompt_toolkit calls this.

        :param string: the line.
        """
        if not self._is_kept:
            return
        entry = "".join(f"+{line}\n" for line in string.split("\n"))
        try:
            with open(self._open(os.O_WRONLY | os.O_APPEND), "wb") as file:
                file.write(f"\n{entry}".encode(errors="replace"))
        except (FileProblem, OSError) as error:
            self._give_up(error)

    def _open(self, flags: int) -> int:
        """Open the file, which is made with its folder if it is missing.

        :raises FileProblem: others can change the folder.
        :raises OSError: it cannot be opened, or is no regular file: another kind may block, or have no end.
        """
        ensure_private_folder(os.path.dirname(self._path))
        fd = os.open(self._path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, _PRIVATE)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(f"{self._path} is not a regular file")
        return fd

    def _give_up(self, error: Exception) -> None:
        self._is_kept = False
        reason = f"{self._path}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        self._outputs.remark(f"[the history is not kept: {reason}]")
