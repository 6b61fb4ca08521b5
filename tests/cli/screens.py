"""Foregrounds on descriptors of the test's own."""

from __future__ import annotations

import os
import tty

from tests.serving import reactor
from twisted_rsh.cli.foreground import Foreground
from twisted_rsh.cli.output import NO_STYLE
from twisted_rsh.cli.outputs import LocalOutputs

__all__ = ["Pair", "Screen", "open_pipe", "open_terminal", "read_bytes"]

Pair = tuple[int, int]
"""A descriptor to read what is written, and the one to write."""


def open_pipe() -> Pair:
    """Open a pipe."""
    return os.pipe()


def open_terminal() -> Pair:
    """Open a terminal that changes nothing of what is written."""
    behind, terminal = os.openpty()
    tty.setraw(terminal)
    return behind, terminal


def read_bytes(fd: int, size: int) -> bytes:
    """Read so many bytes, which a terminal may give in pieces."""
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


class Screen:
    """A foreground that writes to two descriptors of the test's.

    :ivar foreground: the foreground.
    """

    def __init__(
        self,
        stdout: Pair,
        stderr: Pair,
        encoding: str | None = None,
        quiet: bool = False,
        silent: bool = False,
        style: tuple[bytes, bytes] = NO_STYLE,
    ) -> None:
        self._pairs = stdout, stderr
        outputs = LocalOutputs(reactor, encoding, quiet, style, (stdout[1], stderr[1]), silent=silent)
        self.foreground = Foreground(reactor, outputs)

    async def written(self) -> tuple[bytes, bytes]:
        """Wait until all is written, and return what is on stdout and stderr now."""
        await self.foreground.outputs.flushed()
        texts = []
        for reading, _ in self._pairs:
            os.set_blocking(reading, False)
            try:
                texts.append(os.read(reading, 1 << 20))
            except BlockingIOError:
                texts.append(b"")
        return texts[0], texts[1]

    def close(self) -> None:
        """Close every descriptor."""
        self.foreground.stop()
        for fd in {fd for pair in self._pairs for fd in pair}:
            os.close(fd)
