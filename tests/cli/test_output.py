"""A command's output on a descriptor of the client's own: text for terminals, bytes for the rest, credit for both."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.cli.descriptors import ENDING_STREAMS, Opener, Writing, close, nothing_leaks, turns
from tests.cli.descriptors import open_pipe as open_reading_first
from tests.cli.screens import Screen, open_pipe, open_terminal, read_bytes
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.output import IOutputHolder, LocalOutput
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.reader_watch import ReaderWatch
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import JobChannel, RemoteOutput
from twisted_rsh.core.roles import OUTPUTS, Stream

RED = (b"<", b">")


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test leaves things as it found them."""
    with nothing_leaks():
        yield


@pytest.fixture(autouse=True)
def _utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the code page of the terminals UTF-8, whatever the machine's is."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "UTF-8")


class Channel(JobChannel):
    """A channel that records what an output does with a stream.

    :ivar consumed: bytes that the stream got credit for.
    :ivar stops: how often the output stopped the stream.
    """

    def __init__(self) -> None:
        self.consumed = 0
        self.stops = 0

    def output_consumed(self, stream: Stream, size: int) -> None:
        """See JobChannel."""
        self.consumed += size

    def stop_output(self, stream: Stream) -> None:
        """See JobChannel."""
        self.stops += 1


class Shown(Channel):
    """The channel of a stream that is shown on an output."""

    def __init__(self, output: LocalOutput, encoding: str | None, named: str | None = "gbk") -> None:
        super().__init__()
        self.stream = RemoteOutput(self, Stream.STDOUT)
        output.show(self.stream, cast("Job", SimpleNamespace(encoding=named)), encoding)


@asynchronous
async def test_terminal_gets_text_of_its_own_code_page() -> None:
    """GBK comes out as UTF-8, however it is cut, and credit is for the bytes that came, not for those written."""
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, None)
    text = "汉字".encode("gbk")
    shown.stream.data_received(text[:1])
    assert shown.consumed == 1  # half a character is held, and nothing is written that could be waited for
    shown.stream.data_received(text[1:] + b"\xc4")
    assert shown.consumed == 1
    await output.flushed()
    assert shown.consumed == 5
    shown.stream.ended()
    await output.flushed()
    expected = "汉字\ufffd".encode()
    assert read_bytes(reading, len(expected)) == expected
    assert shown.consumed == 5
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_pipe_gets_the_bytes() -> None:
    """A descriptor that is no terminal gets the bytes as they are, with or without a code page, and no style."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing, RED)
    for encoding in (None, "gbk"):
        shown = Shown(output, encoding)
        shown.stream.data_received("字".encode("gbk") + b"\xff")
        shown.stream.ended()
        await output.flushed()
        assert os.read(reading, 100) == "字".encode("gbk") + b"\xff"
        assert shown.consumed == 3
    output.stop()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("named", ["klingon", "utf-8", None])
@asynchronous
async def test_code_page_that_is_the_same_or_unknown(named: str | None) -> None:
    """Between equal code pages, and from one that Python does not know, bytes pass as they are, also on a terminal."""
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, None, named)
    shown.stream.data_received(b"a\xff")
    shown.stream.ended()
    await output.flushed()
    assert (read_bytes(reading, 2), shown.consumed) == (b"a\xff", 2)
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_option_wins_over_the_servers_word() -> None:
    """The user knows best which code page it is."""
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, "gbk", named="latin-1")
    shown.stream.data_received("字".encode("gbk"))
    await output.flushed()
    assert read_bytes(reading, 3) == "字".encode()
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_style_stands_around_each_piece() -> None:
    """On a terminal each piece is styled and our own lines are not; a line that is open behind the style is ended."""
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing, RED)
    shown = Shown(output, None, "utf-8")
    for piece in (b"one\n", b"two"):
        shown.stream.data_received(piece)
        output.end_line()
    output.say("own")
    output.end_line()
    await output.flushed()
    assert read_bytes(reading, 16) == b"<one\n><two>\nown\n"
    assert shown.consumed == 7
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_line_ends() -> None:
    """C-04: a line that the terminal has begun itself is ended; on a lent terminal with the return of its cursor."""
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing)
    output.terminal_echoed()
    output.end_line()
    output.begin_command(is_lent=True)
    output.say("raw")
    output.terminal_echoed()
    output.end_command()
    output.end_line()  # the cursor may be anywhere; this terminal has no columns to fill
    output.say("cooked")
    output.begin_command(is_lent=False)
    output.terminal_echoed()
    output.end_line()
    await output.flushed()
    assert read_bytes(reading, 15) == b"\nraw\r\n\rcooked\n\n"
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_credit_comes_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """C-06: a piece counts when the descriptor has taken all of it, and not before."""
    monkeypatch.setattr("twisted_rsh.cli.output.PIECE_BYTES", 2)
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, None)
    shown.stream.data_received(b"abc")
    shown.stream.data_received(b"defg")
    consumed = []
    for size in (2, 2, 2, 1):
        await turns(1)
        assert len(os.read(reading, 9)) == size
        consumed.append(shown.consumed)
    assert consumed == [0, 3, 3, 7]
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_reader_that_left() -> None:
    """C-06: a broken pipe stops the stream, once, and is no error of ours; credit goes on; later streams too."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, None)
    assert not output.reader_left
    os.close(reading)
    shown.stream.data_received(b"abc")
    await output.flushed()
    assert (shown.stops, shown.consumed, output.reader_left) == (1, 3, True)
    shown.stream.data_received(b"def")
    await output.flushed()
    assert (shown.stops, shown.consumed) == (1, 6)
    assert Shown(output, None).stops == 1
    output.stop()
    os.close(writing)


@asynchronous
async def test_reader_that_leaves_unnoticed() -> None:
    """C-06: on request the output finds out without a write, and costs nothing until then; else a write finds out."""
    reading, writing = open_pipe()
    watched, waiting = LocalOutput(reactor, writing), LocalOutput(reactor, writing)
    shown = Shown(watched, None)
    watched.watch_reader()
    left, cancelled = watched.when_reader_left(), watched.when_reader_left()
    cancelled.addErrback(lambda failure: failure.trap(CancelledError))
    cancelled.cancel()
    shown.stream.data_received(b"abc")
    await watched.flushed()
    await turns()
    assert (watched.reader_left, reactor.getDelayedCalls()) == (False, [])
    os.close(reading)
    await left
    assert (watched.reader_left, waiting.reader_left, shown.stops) == (True, False, 1)
    await watched.when_reader_left()
    watched.stop()
    waiting.stop()
    os.close(writing)


@asynchronous
async def test_reader_that_leaves_what_is_held() -> None:
    """What a prompt keeps back is dropped when its reader is gone, and has its credit."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, None)
    output.watch_reader()
    output.hold(Holder())
    shown.stream.data_received(b"abc")
    os.close(reading)
    await output.when_reader_left()
    await output.flushed()
    assert (shown.stops, shown.consumed, output.is_pending) == (1, 3, False)
    output.stop()
    os.close(writing)


@asynchronous
async def test_watch_that_is_stopped_or_has_no_pipe(tmp_path: Path) -> None:
    """A watch that is over calls no more, also when the reactor shuts down; what is no pipe is left alone."""
    reading, writing = open_pipe()
    calls: list[None] = []
    stopped, dropped, wrong = (
        ReaderWatch(reactor, fd, lambda: calls.append(None)) for fd in (writing, writing, reading)
    )
    verifyObject(IReadDescriptor, stopped)
    assert (stopped.logPrefix(), wrong.fileno()) == ("stdout's reader", -1)
    stopped.stop()
    stopped.stop()
    reactor.removeReader(dropped)
    dropped.connectionLost(Failure(ConnectionLost()))
    with (tmp_path / "file").open("wb") as file:
        assert ReaderWatch(reactor, file.fileno(), calls.clear).fileno() == -1
    os.close(reading)
    await turns()
    assert (calls, dropped.fileno()) == ([], -1)
    os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@asynchronous
async def test_full_disk() -> None:
    """C-06: a full disk stops the stream as well, and is an error of ours; also when it is our own line's."""
    for say_first in (False, True):
        with Path("/dev/full").open("wb") as full:
            output = LocalOutput(reactor, full.fileno())
            if say_first:
                output.say("this line is lost")
                await output.flushed()
            shown = Shown(output, None)
            shown.stream.data_received(b"abc")
            await output.flushed()
            assert (shown.stops, shown.consumed, output.reader_left) == (1, 3, False)
            assert cast("Any", output.error).errno == errno.ENOSPC
            output.stop()


def test_closed_descriptor_is_refused() -> None:
    """C-07: a descriptor that is not open is an error at once."""
    reading, writing = open_pipe()
    close(reading, writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        LocalOutput(reactor, writing)


@pytest.mark.parametrize("opener", ENDING_STREAMS)
@pytest.mark.parametrize("is_blocked", [False, True])
@asynchronous
async def test_reader_that_goes_away_closes_the_output(opener: Opener, is_blocked: bool) -> None:
    """C-06: a broken pipe is reported once; what is dropped counts as written, so that credit keeps flowing."""
    ours, theirs = opener()[::-1] if opener is open_reading_first else opener()
    writing = Writing(ours)
    data = bytes(1024 * 1024)
    if not is_blocked:
        close(theirs)
    writing.write(data)
    if is_blocked:
        while writing.output not in reactor.getWriters():
            await turns(1)
        assert writing.errors == []
        close(theirs)
    await writing.output.flushed()
    assert [error and error.errno for error in writing.errors] in ([errno.EPIPE], [errno.EIO])
    assert writing.written == len(data)
    writing.write(b"more")
    await writing.output.flushed()
    assert writing.written == len(data) + 4
    assert len(writing.errors) == 1
    writing.output.stop()
    close(ours)


@asynchronous
async def test_stopped_output_drops_and_settles() -> None:
    """Stopped before its turn or while blocked, an output drops what it holds, and all waits for it end."""
    ours, theirs = os.pipe()
    soon = Writing(theirs)
    soon.write(b"x")
    flushed = soon.output.flushed()
    soon.output.stop()
    await flushed
    soon.write(b"y")
    await soon.output.flushed()
    blocked = Writing(theirs)
    blocked.write(bytes(1024 * 1024))
    flushed = blocked.output.flushed()
    while blocked.output not in reactor.getWriters():
        await turns(1)
    blocked.output.stop()
    await flushed
    assert (soon.written, soon.errors, blocked.errors, blocked.output.fileno()) == (0, [], [], -1)
    close(ours, theirs)


class Reacting(Shown):
    """A stream that brings more as soon as it gets credit, once, and stops the output when it is stopped."""

    def __init__(self, output: LocalOutput, more: bytes) -> None:
        super().__init__(output, None)
        self._output = output
        self._more = more

    def output_consumed(self, stream: Stream, size: int) -> None:
        """See JobChannel."""
        super().output_consumed(stream, size)
        more, self._more = self._more, b""
        if more:
            self.stream.data_received(more)

    def stop_output(self, stream: Stream) -> None:
        """See JobChannel."""
        self._output.stop()


@asynchronous
async def test_output_may_be_written_or_stopped_by_what_it_calls() -> None:
    """A stream may bring more when it gets credit, and the output may be stopped when it fails."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    shown = Reacting(output, b"second")
    shown.stream.data_received(b"first")
    await output.flushed()
    assert os.read(reading, 99) == b"firstsecond"
    assert shown.consumed == 11
    os.close(reading)
    shown.stream.data_received(b"lost")
    await output.flushed()
    await turns()
    assert shown.consumed == 11
    os.close(writing)


@asynchronous
async def test_waiting_for_a_flush_can_be_cancelled() -> None:
    """A wait that is cancelled leaves the output and the other waits alone."""
    ours, theirs = os.pipe()
    writing = Writing(theirs)
    writing.write(b"x")
    given_up, kept = writing.output.flushed(), writing.output.flushed()
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    await kept
    assert os.read(ours, 2) == b"x"
    writing.output.stop()
    close(ours, theirs)


@asynchronous
async def test_shutdown_of_the_reactor_is_no_failure() -> None:
    """The reactor drops all writers when it stops; that must not look like a reader that left."""
    ours, theirs = os.pipe()
    writing = Writing(theirs)
    verifyObject(IWriteDescriptor, writing.output)
    assert writing.output.logPrefix() == "output"
    writing.write(bytes(1024 * 1024))
    while writing.output not in reactor.getWriters():
        await turns(1)
    reactor.removeWriter(writing.output)
    writing.output.connectionLost(Failure(ConnectionLost()))
    assert (writing.errors, writing.output.fileno()) == ([], -1)
    close(ours, theirs)


@implementer(IOutputHolder)
class Holder:
    """Counts the calls of outputs that it holds."""

    def __init__(self) -> None:
        self.calls = 0

    def output_waits(self) -> None:
        """See IOutputHolder."""
        self.calls += 1


@asynchronous
async def test_held_outputs_write_nothing() -> None:
    """C-06: outputs that a prompt holds write nothing and give no credit until they are released."""
    screen = Screen(open_pipe(), open_pipe())
    outputs, holder = screen.foreground.outputs, Holder()
    verifyObject(IOutputHolder, holder)
    shown = Shown(outputs.stdout, None)
    outputs.hold(holder)
    assert holder.calls == 0
    shown.stream.data_received(b"out")
    outputs.remark("[remark]")
    assert holder.calls >= 2
    await turns()
    assert shown.consumed == 0
    outputs.release()
    assert await screen.written() == (b"out", b"[remark]\n")
    assert shown.consumed == 3
    screen.close()


@asynchronous
async def test_output_that_is_held_before_its_turn() -> None:
    """C-06: output that has its turn or waits for room is held too, and the holder is told at once."""
    reading, writing = open_pipe()
    output, holder = LocalOutput(reactor, writing), Holder()
    shown = Shown(output, None)
    shown.stream.data_received(bytes(1024 * 1024))
    output.hold(holder)
    assert holder.calls == 1
    await turns()
    output.release()
    while output not in reactor.getWriters():
        await turns(1)
    output.hold(holder)
    assert (holder.calls, output in reactor.getWriters()) == (2, False)
    output.stop()
    close(reading, writing)


@asynchronous
async def test_line_that_is_left_open_while_the_outputs_settle() -> None:
    """A prompt that waits for the outputs begins its own line, also after output that came meanwhile."""
    pairs = open_terminal(), open_pipe()
    outputs = LocalOutputs(reactor, fds=(pairs[0][1], pairs[1][1]))
    shown = Reacting(outputs.stdout, b"half")
    shown.stream.data_received(b"whole\n")
    await outputs.settle()
    assert read_bytes(pairs[0][0], 11) == b"whole\nhalf\n"
    outputs.stop()
    close(*pairs[0], *pairs[1])


@pytest.mark.parametrize(
    ("stdout", "stderr"), [(open_pipe, open_pipe), (open_pipe, open_terminal), (open_terminal, open_pipe)]
)
@asynchronous
async def test_both_outputs_show_a_job(stdout: Callable[[], Any], stderr: Callable[[], Any]) -> None:
    """Each stream of a job comes out where it belongs."""
    pairs = stdout(), stderr()
    outputs = LocalOutputs(reactor, fds=(pairs[0][1], pairs[1][1]))
    streams = [RemoteOutput(Channel(), stream) for stream in OUTPUTS]
    job = cast("Job", SimpleNamespace(encoding="utf-8", stdout=streams[0], stderr=streams[1]))
    outputs.show(job)
    for stream, text in zip(streams, (b"out", b"err"), strict=True):
        stream.data_received(text)
        stream.ended()
    await outputs.flushed()
    assert [read_bytes(reading, 3) for reading, _ in pairs] == [b"out", b"err"]
    outputs.check()
    outputs.stop()
    close(*pairs[0], *pairs[1])
