"""The three streams of a job as their caller sees them, over a channel that only takes notes."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.link.wire import collecting_log, failures
from tests.serving import asynchronous
from twisted_rsh.client.streams import JobChannel, RemoteInput, RemoteOutput
from twisted_rsh.core.roles import Stream


class Output(JobChannel):
    """An output, what was taken from it, and whether it was stopped."""

    def __init__(self) -> None:
        self.consumed = 0
        self.stops = 0
        self.stream = RemoteOutput(self, Stream.STDOUT)

    def output_consumed(self, stream: Stream, size: int) -> None:
        """Count bytes."""
        self.consumed += size

    def stop_output(self, stream: Stream) -> None:
        """Count calls."""
        self.stops += 1


def result(waiting: Deferred[bytes]) -> bytes | None:
    """Return the result of a Deferred, or ``None`` before it has fired."""
    results: list[bytes] = []
    waiting.addCallback(results.append)
    return results[0] if results else None


def test_read_gives_what_came_first() -> None:
    """Pieces come in order, whether they were there before or come later, and each counts when it is taken."""
    output = Output()
    output.stream.data_received(b"one")
    output.stream.data_received(b"two")
    assert output.consumed == 0
    assert result(output.stream.read()) == b"one"
    assert output.consumed == 3
    assert result(output.stream.read()) == b"two"
    later = output.stream.read()
    output.stream.data_received(b"three")
    assert result(later) == b"three"
    assert output.consumed == 11


def test_end_comes_behind_the_data() -> None:
    """The end is ``b""``, behind everything that came, and again and again."""
    output = Output()
    output.stream.data_received(b"last")
    output.stream.ended()
    output.stream.ended()
    assert result(output.stream.read()) == b"last"
    assert result(output.stream.read()) == b""
    assert result(output.stream.read()) == b""


def test_end_reaches_who_waits() -> None:
    """A read that waits for data when the end comes gets the end."""
    output = Output()
    waiting = output.stream.read()
    output.stream.ended()
    assert result(waiting) == b""


def test_one_reader_at_a_time() -> None:
    """A second reader, or both ways at once, is a mistake of the caller's."""
    output = Output()
    waiting = output.stream.read()
    with pytest.raises(RuntimeError, match="being read already"):
        output.stream.read()
    with pytest.raises(RuntimeError, match="being read already"):
        output.stream.forward(lambda _: None)
    output.stream.ended()
    assert result(waiting) == b""
    output.stream.forward(lambda _: None)
    with pytest.raises(RuntimeError, match="being read already"):
        output.stream.forward(lambda _: None)
    with pytest.raises(RuntimeError, match="being read already"):
        output.stream.read()


def test_cancelled_read_loses_nothing() -> None:
    """Bytes that come after a read was cancelled are there for the next."""
    output = Output()
    errors: list[object] = []
    waiting = output.stream.read()
    waiting.addErrback(lambda failure: errors.append(failure.type))
    waiting.cancel()
    assert errors == [CancelledError]
    output.stream.data_received(b"kept")
    assert output.consumed == 0
    assert result(output.stream.read()) == b"kept"


@asynchronous
async def test_async_for_ends_at_the_end() -> None:
    """``async for`` gives every piece and stops."""
    output = Output()
    for piece in (b"a", b"b"):
        output.stream.data_received(piece)
    output.stream.ended()
    assert [piece async for piece in output.stream] == [b"a", b"b"]
    assert output.consumed == 2


def test_forward_passes_on_and_leaves_the_counting() -> None:
    """Forwarded bytes, earlier ones first, count only when the caller says so; the end comes once."""
    output = Output()
    received: list[bytes] = []
    output.stream.data_received(b"early")
    output.stream.forward(received.append, lambda: received.append(b"END"))
    output.stream.data_received(b"late")
    assert output.consumed == 0
    output.stream.consumed(9)
    assert output.consumed == 9
    output.stream.ended()
    output.stream.ended()
    assert received == [b"early", b"late", b"END"]


def test_forward_to_functions_that_raise() -> None:
    """What a function raises is logged: it gets the next bytes all the same, those that waited included, and the end
    comes to whoever waits for it."""
    output = Output()
    received: list[bytes] = []

    def write(data: bytes) -> None:
        received.append(data)
        raise LookupError("a mistake of the application")

    def end() -> None:
        write(b"END")

    for piece in (b"early", b"next"):
        output.stream.data_received(piece)
    with collecting_log() as events:
        output.stream.forward(write, end)
        output.stream.data_received(b"late")
        output.stream.ended()
    assert received == [b"early", b"next", b"late", b"END"]
    assert [event["log_failure"].type for event in failures(events)] == [LookupError] * 4


def test_forward_after_the_end() -> None:
    """A late caller gets everything, the end included."""
    output = Output()
    received: list[bytes] = []
    output.stream.data_received(b"all")
    output.stream.ended()
    output.stream.forward(received.append, lambda: received.append(b"END"))
    assert received == [b"all", b"END"]


def test_stop_is_passed_on() -> None:
    """A stream that is of no interest is stopped at its job."""
    output = Output()
    output.stream.stop()
    assert output.stops == 1


class Input(JobChannel):
    """An input with as much room as the test says, and what was sent."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.ends = 0
        self.stream = RemoteInput(self)

    def input_room(self) -> int:
        """Return what is left of the room."""
        return self.room

    def send_input(self, data: bytes) -> None:
        """Keep what is sent."""
        assert 0 < len(data) <= self.room
        self.room -= len(data)
        self.sent.append(data)

    def end_input(self) -> None:
        """Count calls."""
        self.ends += 1

    def grant(self, size: int) -> None:
        self.room += size
        self.stream.room_gained()


def test_writes_go_out_in_order_within_the_room() -> None:
    """Bytes leave as far as there is room, in order; each write is done when its last byte has left."""
    remote = Input(4)
    first, second, third = (remote.stream.write(data) for data in (b"abcdef", b"gh", b"i"))
    assert (remote.sent, first.called) == ([b"abcd"], False)
    remote.grant(3)
    assert (remote.sent, first.called, second.called) == ([b"abcd", b"ef", b"g"], True, False)
    remote.grant(1)
    assert (second.called, third.called) == (True, False)
    remote.grant(100)
    assert (b"".join(remote.sent), third.called) == (b"abcdefghi", True)


def test_end_waits_for_what_was_written() -> None:
    """The end is sent behind the last byte, once."""
    remote = Input(0)
    remote.stream.write(b"x")
    remote.stream.end()
    remote.stream.end()
    assert remote.ends == 0
    remote.grant(1)
    remote.grant(1)
    assert (remote.sent, remote.ends) == ([b"x"], 1)
    with pytest.raises(ValueError, match="after its end"):
        remote.stream.write(b"y")


def test_empty_write_is_done_at_once() -> None:
    """No bytes need no room."""
    remote = Input(0)
    assert remote.stream.write(b"").called
    assert remote.sent == []


def test_closed_input_fails_its_writers() -> None:
    """C-06: when the job takes no more, each write that waits fails, and so does each later one; no end is sent."""
    remote = Input(1)
    errors: list[object] = []
    waiting = [remote.stream.write(b"ab"), remote.stream.write(b"c")]
    remote.stream.closed()
    remote.stream.closed()
    for done in [*waiting, remote.stream.write(b"d"), remote.stream.write(b"")]:
        done.addErrback(lambda failure: errors.append(failure.type))
    assert errors == [BrokenPipeError] * 4
    remote.grant(10)
    remote.stream.end()
    assert (remote.sent, remote.ends) == ([b"a"], 0)


def test_cancelled_write_is_sent_all_the_same() -> None:
    """Cancelling only stops the waiting; the order of bytes could not be kept otherwise."""
    remote = Input(0)
    errors: list[object] = []
    for data in (b"one", b"two"):
        waiting = remote.stream.write(data)
        waiting.addErrback(lambda failure: errors.append(failure.type))
        waiting.cancel()
    assert errors == [CancelledError, CancelledError]
    remote.grant(3)
    assert remote.sent == [b"one"]
    remote.stream.closed()
    assert errors == [CancelledError, CancelledError]


def test_writing_on_from_within() -> None:
    """A write from the callback of a write keeps the order."""
    remote = Input(1)
    remote.stream.write(b"ab").addCallback(lambda _: remote.stream.write(b"d"))
    remote.stream.write(b"c")
    remote.grant(10)
    assert b"".join(remote.sent) == b"abcd"


def test_room_that_is_gained_by_sending() -> None:
    """A link that has written what it was given makes room from within: each byte still leaves once, in order."""

    class Generous(Input):
        """A channel that has room again as soon as it has sent something."""

        def send_input(self, data: bytes) -> None:
            super().send_input(data)
            self.grant(2)

    remote = Generous(2)
    writes = [remote.stream.write(data) for data in (b"abcde", b"f", b"ghi")]
    remote.stream.end()
    assert (b"".join(remote.sent), remote.ends) == (b"abcdefghi", 1)
    assert all(write.called for write in writes)


def test_input_that_is_closed_by_sending() -> None:
    """A link that breaks when it is written to closes the input from within: what is left of a write has failed."""

    class Broken(Input):
        """A channel that breaks when something is sent."""

        def send_input(self, data: bytes) -> None:
            self.stream.closed()

    errors: list[object] = []
    Broken(2).stream.write(b"abc").addErrback(lambda failure: errors.append(failure.type))
    assert errors == [BrokenPipeError]
