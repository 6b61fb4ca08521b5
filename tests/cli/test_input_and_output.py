"""The client's own descriptors: within what is allowed, to the end, and not a byte further."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.cli.descriptors import (
    ENDING_STREAMS,
    Opener,
    Reading,
    Writing,
    close,
    nothing_leaks,
    open_pipe,
    turns,
)
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.input import InputReader
from twisted_rsh.cli.output import OutputWriter


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test leaves things as it found them."""
    with nothing_leaks():
        yield


@pytest.mark.parametrize("opener", ENDING_STREAMS)
@pytest.mark.parametrize("is_blocked", [False, True])
@asynchronous
async def test_reader_that_goes_away_closes_the_output(opener: Opener, is_blocked: bool) -> None:
    """C-06: a broken pipe is reported once; what is dropped counts as written, so that credit keeps flowing."""
    ours, theirs = opener()[::-1] if opener is open_pipe else opener()
    writing = Writing(ours)
    data = bytes(1024 * 1024)
    if not is_blocked:
        close(theirs)
    writing.writer.write(data)
    if is_blocked:
        while writing.writer not in reactor.getWriters():
            await turns(1)
        assert writing.errors == []
        close(theirs)
    await writing.writer.flushed()
    assert [error.errno for error in writing.errors] in ([errno.EPIPE], [errno.EIO])
    assert writing.written == len(data)
    writing.writer.write(b"more")
    await writing.writer.flushed()
    assert writing.written == len(data) + 4
    assert len(writing.errors) == 1
    writing.writer.stop()
    close(ours)


def test_closed_descriptor_is_refused() -> None:
    """C-07: a descriptor that is not open is an error at once."""
    ours, theirs = os.pipe()
    close(ours, theirs)
    with pytest.raises(OSError, match="Bad file descriptor"):
        InputReader(reactor, ours, lambda _: None, lambda: None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        OutputWriter(reactor, theirs, lambda _: None, lambda _: None)


@asynchronous
async def test_end_of_terminal_input_is_final() -> None:
    """C-07: after Ctrl-D nothing more is read, though the terminal would give it."""
    behind, terminal = os.openpty()
    reading = Reading(terminal)
    os.write(behind, b"a\n\x04")
    await reading.ended
    os.write(behind, b"b\n")
    reading.reader.allow(1)
    await turns()
    assert (reading.data, reading.ends) == (b"a\n", 1)
    close(behind, terminal)


@asynchronous
async def test_stopped_reader_is_silent() -> None:
    """Stopped before its turn, while waiting, or by its own callback, a reader calls nobody any more."""
    ours, theirs = os.pipe()
    soon = Reading(ours)
    soon.reader.stop()
    waiting = Reading(ours)
    await turns()
    waiting.reader.stop()
    waiting.reader.stop()
    within = InputReader(reactor, ours, lambda _: within.stop(), lambda: pytest.fail("ended"))
    within.allow(1)
    within.allow(1)
    os.write(theirs, b"abc")
    close(theirs)
    await turns()
    assert (soon.data, soon.ends, waiting.data, waiting.ends, within.fileno()) == (b"", 0, b"", 0, -1)
    assert os.read(ours, 9) == b"c"
    close(ours)


@asynchronous
async def test_stopped_writer_drops_and_settles() -> None:
    """Stopped before its turn or while blocked, a writer drops what it holds and lets nobody wait."""
    ours, theirs = os.pipe()
    soon = Writing(theirs)
    soon.writer.write(b"x")
    flushed = soon.writer.flushed()
    soon.writer.stop()
    await flushed
    soon.writer.write(b"y")
    await soon.writer.flushed()
    blocked = Writing(theirs)
    blocked.writer.write(bytes(1024 * 1024))
    flushed = blocked.writer.flushed()
    while blocked.writer not in reactor.getWriters():
        await turns(1)
    blocked.writer.stop()
    await flushed
    assert (soon.written, soon.errors, blocked.errors, blocked.writer.fileno()) == (0, [], [], -1)
    close(ours, theirs)


@asynchronous
async def test_owner_may_stop_or_write_from_its_callbacks() -> None:
    """The owner may stop the output when it hears of its failure, and write on when it hears of progress."""
    ours, theirs = os.pipe()
    written: list[int] = []

    def more(size: int) -> None:
        written.append(size)
        if len(written) == 1:
            writer.write(b"second")

    writer = OutputWriter(reactor, theirs, more, lambda _: writer.stop())
    writer.write(b"first")
    await writer.flushed()
    assert written == [5, 6]
    close(ours)
    writer.write(b"lost")
    await writer.flushed()
    await turns()
    assert written == [5, 6]
    close(theirs)


@asynchronous
async def test_waiting_for_a_flush_can_be_cancelled() -> None:
    """Cancelling the wait leaves the output and the other waiters alone."""
    ours, theirs = os.pipe()
    writing = Writing(theirs)
    writing.writer.write(b"x")
    given_up, kept = writing.writer.flushed(), writing.writer.flushed()
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    await kept
    assert os.read(ours, 2) == b"x"
    writing.writer.stop()
    close(ours, theirs)


@asynchronous
async def test_shutdown_of_the_reactor_is_neither_end_nor_failure() -> None:
    """What the reactor does to all that waits when it stops must not look like the end of the input."""
    ours, theirs = os.pipe()
    reading, writing = Reading(ours), Writing(theirs)
    await turns()
    verifyObject(IReadDescriptor, reading.reader)
    verifyObject(IWriteDescriptor, writing.writer)
    assert (reading.reader.logPrefix(), writing.writer.logPrefix()) == ("stdin", "output")
    reactor.removeReader(reading.reader)
    reading.reader.connectionLost(Failure(ConnectionLost()))
    writing.writer.write(bytes(1024 * 1024))
    while writing.writer not in reactor.getWriters():
        await turns(1)
    reactor.removeWriter(writing.writer)
    writing.writer.connectionLost(Failure(ConnectionLost()))
    assert (reading.ends, writing.errors) == (0, [])
    assert (reading.reader.fileno(), writing.writer.fileno()) == (-1, -1)
    close(ours, theirs)
