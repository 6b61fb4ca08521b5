"""The lines of many hosts on one output: whole lines behind names, in turn, with little held."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.cli.screens import open_pipe, open_terminal, read_bytes
from tests.cli.test_output import Channel
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.line_merger import MAX_LINE_BYTES, MERGED_BYTES, HostLines, LineMerger
from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.core.roles import Stream


def drain(lines: HostLines) -> tuple[bytes, int]:
    """Take everything that is ready; return it, and the credit for it."""
    text, credit = b"", 0
    while True:
        was_ready = lines.is_ready
        more, size = lines.take()
        text, credit = text + more, credit + size
        if not was_ready:
            return text, credit


def host_lines(name: str = "h") -> HostLines:
    """Return the lines of a stream that has no channel."""
    return HostLines(RemoteOutput(Channel(), Stream.STDOUT), name)


def test_whole_lines_alone() -> None:
    """A line is written when it is whole; its beginning has credit while it is held, and the last one needs no end."""
    lines = host_lines()
    lines.receive(b"one\ntw")
    assert drain(lines) == (b"h: one\n", 6)
    lines.receive(b"o\n\n")
    assert drain(lines) == (b"h: two\nh: \n", 3)
    lines.receive(b"end")
    assert not lines.is_ready
    assert drain(lines) == (b"", 3)
    lines.end()
    assert not lines.is_over
    assert drain(lines) == (b"h: end\n", 0)
    assert lines.is_over


@pytest.mark.parametrize("size", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES])
def test_long_lines(size: int) -> None:
    """No more of a line than the bound is held; a longer one is written in parts."""
    lines = host_lines()
    lines.receive(b"x" * size)
    assert lines.is_ready == (size >= MAX_LINE_BYTES)
    drain(lines)
    lines.receive(b"\n")
    lines.end()
    lines = host_lines()
    lines.receive(b"x" * size + b"\n")
    lines.end()
    text, credit = drain(lines)
    assert credit == size + 1
    assert text.replace(b"h: ", b"").replace(b"\n", b"") == b"x" * size
    assert all(len(line) <= MAX_LINE_BYTES + 3 for line in text.split(b"\n"))


@settings(max_examples=40)
@given(st.lists(st.text("ab\n", max_size=6).map(str.encode) | st.just(b"x" * MERGED_BYTES), max_size=30), st.randoms())
def test_nothing_is_lost(pieces: list[bytes], random: object) -> None:
    """However the output is cut and taken, each byte is written once, in order, and has credit once."""
    lines = host_lines("name")
    text, credit = b"", 0
    for piece in pieces:
        lines.receive(piece)
        if random.random() < 0.5:  # type: ignore[attr-defined]
            more, size = lines.take()
            assert len(more) <= 8 * (MERGED_BYTES + MAX_LINE_BYTES)
            text, credit = text + more, credit + size
    lines.end()
    more, size = drain(lines)
    text, credit = text + more, credit + size
    whole = b"".join(pieces)
    assert credit == len(whole)
    assert all(line.startswith(b"name: ") for line in text.split(b"\n")[:-1])
    if max(map(len, whole.split(b"\n"))) < MAX_LINE_BYTES:
        expected = whole if whole.endswith(b"\n") or not whole else whole + b"\n"
        assert text == b"".join(b"name: " + line + b"\n" for line in expected.split(b"\n")[:-1])


PATIENCE = 20.0
"""Seconds after which a test that waits has failed."""


class Hosts:
    """Streams of hosts on one output."""

    def __init__(self, output: LocalOutput, *names: str) -> None:
        self.merger = LineMerger(output)
        self.channels = [Channel() for _ in names]
        self.streams = [RemoteOutput(channel, Stream.STDOUT) for channel in self.channels]
        job = cast("Job", SimpleNamespace(encoding="gbk"))
        for stream, name in zip(self.streams, names, strict=True):
            self.merger.show(stream, job, name, None)

    async def flushed(self) -> None:
        """Wait until all lines are given to the output; fail if that takes too long."""
        await Deferred.fromCoroutine(self.merger.flushed()).addTimeout(PATIENCE, reactor)


@asynchronous
async def test_hosts_take_turns() -> None:
    """A host that writes much does not keep another from its line, and has credit for what is written alone."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    hosts = Hosts(output, "much", "little")
    data = b"y\n" * (128 * 1024)
    hosts.streams[0].data_received(data)
    hosts.streams[1].data_received(b"here\n")
    os.set_blocking(reading, False)
    found = await read_until(reading, lambda text: b"little: here\n" in text)
    assert len(found) < 20 * MERGED_BYTES
    assert hosts.channels[0].consumed < len(data) / 2
    for stream in hosts.streams:
        stream.ended()
    found += await read_until(reading, lambda text: (found + text).count(b"much: y\n") == len(data) // 2)
    await hosts.flushed()
    assert [channel.consumed for channel in hosts.channels] == [len(data), 5]
    assert output._streams == []
    output.stop()
    os.close(reading)
    os.close(writing)


async def read_until(fd: int, is_enough: Callable[[bytes], bool]) -> bytes:
    """Read what is written to a pipe while the reactor turns, until it is enough; fail if that takes too many turns."""
    found = b""
    for _ in range(10_000):
        if is_enough(found):
            return found
        await deferLater(reactor, 0)
        with contextlib.suppress(BlockingIOError):
            found += os.read(fd, 65536)
    raise AssertionError(found[-100:])


@asynchronous
async def test_end_while_a_line_is_written() -> None:
    """A stream that ends while its last line is being written is over, once, and nothing waits for it."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    hosts = Hosts(output, "a")
    hosts.streams[0].data_received(b"line\n")
    hosts.streams[0].ended()
    await hosts.flushed()
    assert (os.read(reading, 100), output._streams) == (b"a: line\n", [])
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_text_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the lines are in its code page; the name stands before each."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "UTF-8")
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing)
    hosts = Hosts(output, "h")
    text = "汉字\n字".encode("gbk")
    hosts.streams[0].data_received(text[:1])
    hosts.streams[0].data_received(text[1:])
    hosts.streams[0].ended()
    await hosts.flushed()
    await output.flushed()
    expected = "h: 汉字\nh: 字\n".encode()
    assert read_bytes(reading, len(expected)) == expected
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_reader_that_leaves() -> None:
    """When the reader has left, the jobs are told, and everything has credit, so that they come to their ends."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    hosts = Hosts(output, "a", "b")
    os.close(reading)
    for stream in hosts.streams:
        stream.data_received(b"line\n" * 10_000)
        stream.ended()
    await hosts.flushed()
    await output.flushed()
    assert [channel.stops for channel in hosts.channels] == [1, 1]
    assert [channel.consumed for channel in hosts.channels] == [50_000, 50_000]
    output.stop()
    os.close(writing)
