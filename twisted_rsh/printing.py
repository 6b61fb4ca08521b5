"""What the programs print on stdout, and what becomes of it where stdout takes nothing."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO

__all__ = ["drop_stdout", "print_text"]


def print_text(text: str) -> str | None:
    """Write a text to stdout, at once.

    As with any command, it is lost where stdout is closed, or is a pipe that no process reads any more.

    :param text: what to write.
    :returns: ``None``, or the line that says why stdout cannot be written.
    """
    output: TextIO | None = sys.stdout  # None if it was closed when the program started
    if output is None:
        return None
    try:
        output.write(text)
        output.flush()
    except OSError as error:
        drop_stdout()
        return None if error.errno in (errno.EPIPE, errno.EBADF) else f"cannot write stdout: {error.strerror}"
    return None


def drop_stdout() -> None:
    """Let stdout lead nowhere: Python writes what is left when it ends, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
