"""Input of the client's own: within the room there is, to the end, and not a byte further."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.cli.descriptors import Reading, close, nothing_leaks, turns
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.input import IInputOwner, InputReader


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test leaves things as it found them."""
    with nothing_leaks():
        yield


def test_closed_descriptor_is_refused() -> None:
    """C-07: a descriptor that is not open is an error at once."""
    ours, theirs = os.pipe()
    reading = Reading(ours)
    reading.reader.stop()
    close(ours, theirs)
    with pytest.raises(OSError, match="Bad file descriptor"):
        InputReader(reactor, ours, reading)


@asynchronous
async def test_end_of_terminal_input_is_final() -> None:
    """C-07: after Ctrl-D nothing more is read, though the terminal would give it."""
    behind, terminal = os.openpty()
    reading = Reading(terminal)
    os.write(behind, b"a\n\x04")
    await reading.ended
    os.write(behind, b"b\n")
    reading.allow(1)
    await turns()
    assert (reading.data, reading.errors) == (b"a\n", [None])
    close(behind, terminal)


@asynchronous
async def test_room_that_shrinks_while_the_reader_waits() -> None:
    """C-07: a reader that the reactor watches asks for room again when bytes come, and costs nothing without any."""
    ours, theirs = os.pipe()
    reading = Reading(ours, room=3)
    await turns()
    assert reading.reader in reactor.getReaders()
    reading.allow(-3)
    os.write(theirs, b"abc")
    while reading.reader in reactor.getReaders():
        await turns(1)
    assert (reading.data, reactor.getDelayedCalls()) == (b"", [])
    reading.allow(2)
    assert await reading.until(2) == b"ab"
    await turns()
    assert reading.data == b"ab"
    assert os.read(ours, 9) == b"c"
    reading.reader.stop()
    close(ours, theirs)


class Stopping(Reading):
    """An owner that stops its reader as soon as it gets something."""

    def input_received(self, data: bytes) -> None:
        """See IInputOwner."""
        super().input_received(data)
        self.reader.stop()


@asynchronous
async def test_stopped_reader_is_silent() -> None:
    """Stopped before its turn, while waiting, or by its owner, a reader calls its owner no more."""
    ours, theirs = os.pipe()
    soon = Reading(ours)
    soon.reader.stop()
    waiting = Reading(ours)
    await turns()
    waiting.reader.stop()
    waiting.reader.stop()
    within = Stopping(ours, room=2)
    os.write(theirs, b"abc")
    close(theirs)
    await turns()
    assert (soon.data, soon.errors, waiting.data, waiting.errors) == (b"", [], b"", [])
    assert (within.data, within.errors, within.reader.fileno()) == (b"ab", [], -1)
    assert os.read(ours, 9) == b"c"
    close(ours)


@asynchronous
async def test_shutdown_of_the_reactor_is_no_end() -> None:
    """The reactor drops all readers when it stops; that must not look like the end of the input."""
    ours, theirs = os.pipe()
    reading = Reading(ours)
    await turns()
    verifyObject(IReadDescriptor, reading.reader)
    verifyObject(IInputOwner, reading)
    assert reading.reader.logPrefix() == "stdin"
    reactor.removeReader(reading.reader)
    reading.reader.connectionLost(Failure(ConnectionLost()))
    assert (reading.errors, reading.reader.fileno()) == ([], -1)
    close(ours, theirs)
