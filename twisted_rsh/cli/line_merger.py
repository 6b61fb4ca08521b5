"""The lines of many hosts on one output, each after the name of its host, a few of each host in turn."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.client.text import Transcoder
from twisted_rsh.client.waiting import Once

__all__ = ["MAX_LINE_BYTES", "MERGED_BYTES", "HostLines", "LineMerger"]

MAX_LINE_BYTES = 16 * 1024
"""Bytes of a line that are held until its end comes; of a longer one the rest counts as another line.  Two outputs of
200 hosts hold 6.4 MB so."""

MERGED_BYTES = 8 * 1024
"""Bytes of one host's output that are written in its turn.  Where each line is empty, the names make half a megabyte of
them; so they are put before the lines no earlier."""


class HostLines:
    """One stream of one host's job: what came, and has not been written.

    The stream gets no more credit than was written, apart from the beginning of a line.

    :param stream: the stream.
    :param name: the name of the host.
    :param transcoder: makes it text of the terminal; ``None`` for the bytes as they are.
    """

    def __init__(self, stream: RemoteOutput, name: str, transcoder: Transcoder | None = None) -> None:
        self.stream = stream
        self._prefix = f"{name}: ".encode()
        self._transcoder = transcoder
        self._held = bytearray()
        self._uncredited = 0
        self._whole = 0  # bytes of whole lines at the beginning of what is held
        self._is_ended = False

    @property
    def is_ready(self) -> bool:
        """Whether there is something to write."""
        return self._whole > 0 or len(self._held) >= MAX_LINE_BYTES or (self._is_ended and bool(self._held))

    @property
    def is_over(self) -> bool:
        """Whether all of it has been written."""
        return self._is_ended and not self._held

    def receive(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._uncredited += len(data)
        end = data.rfind(b"\n")
        if end >= 0:
            self._whole = len(self._held) + end + 1
        self._held += data

    def end(self) -> None:
        """Learn that nothing more comes."""
        self._is_ended = True

    def take(self) -> tuple[bytes, int]:
        """Take lines out, some :data:`MERGED_BYTES`, each after the name of the host.

        :returns: the lines, which may be none; and for how many bytes of the stream to give credit once they are
            written.
        """
        size = min(self._whole, MERGED_BYTES)
        if size < self._whole:  # whole lines only, and a long one in parts
            size = self._held.rfind(b"\n", 0, size) + 1 or min(self._held.find(b"\n") + 1, MAX_LINE_BYTES)
        elif not size and self.is_ready:
            size = min(len(self._held), MAX_LINE_BYTES)
        taken = bytes(self._held[:size])
        del self._held[:size]
        self._whole -= min(size, self._whole)
        kept = len(self._held) if self._whole else 0
        credit = max(self._uncredited - kept, 0)
        self._uncredited -= credit
        return self._prefixed(taken), credit

    def _prefixed(self, taken: bytes) -> bytes:
        if not taken:
            return b""
        lines = taken.removesuffix(b"\n")
        if self._transcoder is not None:
            lines = self._transcoder.convert(lines)
        return b"".join(self._prefix + line + b"\n" for line in lines.split(b"\n"))


class LineMerger:
    """Writes the lines of many streams to one output.

    :param output: the output.
    """

    def __init__(self, output: LocalOutput) -> None:
        self._output = output
        self._ready: deque[HostLines] = deque()
        self._waiting: set[HostLines] = set()
        self._open: set[HostLines] = set()
        self._idle: Once[None] | None = None

    def show(self, stream: RemoteOutput, job: Job, name: str, encoding: str | None) -> None:
        """Write all lines of a stream of a job, from now to its end.

        :param stream: the stream, which has no other reader.
        :param job: names the code page of the stream's text, unless `encoding` does.
        :param name: stands before each line.
        :param encoding: the code page, or ``None``.
        """
        self._output.follow(stream)
        lines = HostLines(stream, name, self._output.transcoder(encoding or job.encoding))
        self._open.add(lines)

        def receive(data: bytes) -> None:
            lines.receive(data)
            self._look_at(lines)

        def end() -> None:
            lines.end()
            self._look_at(lines)

        stream.forward(receive, end)

    async def flushed(self) -> None:
        """Wait until all lines that came so far are given to the output."""
        if self._idle is not None:
            await self._idle.wait()

    def _look_at(self, lines: HostLines) -> None:
        if lines in self._waiting or lines not in self._open:
            return
        if lines.is_ready:
            self._waiting.add(lines)
            self._ready.append(lines)
            if self._idle is None:
                self._idle = Once()
                Deferred.fromCoroutine(self._write())
        elif lines.is_over:
            self._open.remove(lines)
            self._output.forget(lines.stream)
        else:
            self._output.write(*lines.take(), lines.stream)  # credit for the beginning of a line

    async def _write(self) -> None:
        while self._ready:
            lines = self._ready.popleft()
            self._waiting.discard(lines)
            self._output.write(*lines.take(), lines.stream)
            await self._output.flushed()
            self._look_at(lines)
        idle, self._idle = self._idle, None
        assert idle is not None
        idle.happen(None)
