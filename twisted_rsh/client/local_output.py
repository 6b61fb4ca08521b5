"""One of the client's own outputs: where a command's output is shown, and the client's own remarks."""

from __future__ import annotations

import errno
import locale
import os
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred

from twisted_rsh.client.remote_job import RemoteJob
from twisted_rsh.client.remote_streams import RemoteOutput
from twisted_rsh.client.stdio import OutputWriter
from twisted_rsh.client.text import Transcoder, text_codec

__all__ = ["LocalOutput", "local_encoding"]


def local_encoding() -> str:
    """Return the code page of this machine's terminals, as Python names it."""
    return text_codec(locale.getpreferredencoding(False))


class LocalOutput:
    """Writes to a descriptor, and gives credit for what it took.

    A terminal gets text in its own code page; anything else gets the bytes as they are.

    :param reactor: the reactor.
    :param fd: the descriptor.
    :param style: bytes to write before and after each piece of a command's output on a terminal, to tell it apart.
    :ivar is_terminal: whether it is a terminal.
    :ivar error: what made it fail; ``None`` while it works.
    :ivar at_line_start: whether what was written last ended its line.
    """

    def __init__(self, reactor: Any, fd: int, style: tuple[bytes, bytes] = (b"", b"")) -> None:
        self.is_terminal = os.isatty(fd)
        self.error: OSError | None = None
        self.at_line_start = True
        self._style = style if self.is_terminal else (b"", b"")
        self._writer = OutputWriter(reactor, fd, self._written, self._failed)
        self._owed: deque[tuple[int, int, RemoteOutput | None]] = deque()
        self._stream: RemoteOutput | None = None
        self._transcoder: Transcoder | None = None

    def show(self, stream: RemoteOutput, job: RemoteJob, encoding: str | None) -> None:
        """Write what comes on a stream of a job, from now to its end.

        :param encoding: the code page of its text; ``None`` for the one that the server names.
        """
        self._stream = stream
        self._transcoder = None

        def show_piece(data: bytes) -> None:
            if self._transcoder is None and self.is_terminal:
                self._transcoder = _transcoder(encoding or job.encoding)
            text = data if self._transcoder is None else self._transcoder.convert(data)
            self._write(text, len(data), stream)

        def show_end() -> None:
            if self._transcoder is not None:
                self._write(self._transcoder.finish(), 0, stream)
                self._transcoder = None

        stream.forward(show_piece, show_end)
        if self.error is not None:
            stream.stop()

    def say(self, line: str) -> None:
        """Write a line of the client's own, without its line feed."""
        data = (line + "\n").encode(local_encoding(), "replace")
        self._owed.append((len(data), 0, None))
        self._writer.write(data)
        self.at_line_start = True

    def flushed(self) -> Deferred[None]:
        """Wait until everything is written, or never will be."""
        return self._writer.flushed()

    def stop(self) -> None:
        """Close what was opened to write."""
        self._writer.stop()

    @property
    def reader_left(self) -> bool:
        """Whether it failed because whoever read it is gone."""
        return self.error is not None and self.error.errno == errno.EPIPE

    def _write(self, text: bytes, source_size: int, stream: RemoteOutput) -> None:
        before, after = self._style if text else (b"", b"")
        piece = before + text + after
        if text:
            self.at_line_start = text.endswith(b"\n")
        if not piece:
            # Half a character: it counts when the other half has come.
            stream.consumed(source_size)
            return
        self._owed.append((len(piece), source_size, stream))
        self._writer.write(piece)

    def _written(self, size: int) -> None:
        while size:
            piece_size, source_size, stream = self._owed.popleft()
            if size < piece_size:
                self._owed.appendleft((piece_size - size, source_size, stream))
                return
            size -= piece_size
            if stream is not None and source_size:
                stream.consumed(source_size)

    def _failed(self, error: OSError) -> None:
        self.error = error
        if self._stream is not None:
            self._stream.stop()


def _transcoder(source: str | None) -> Transcoder | None:
    try:
        return Transcoder(source or "utf-8", local_encoding())
    except LookupError:
        # A code page that Python does not know here: the bytes are the best there is.
        return None
