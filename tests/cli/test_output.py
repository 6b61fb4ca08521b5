"""A command's output on a descriptor of the client's: text for terminals, bytes for the rest, and credit for both."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.cli.screens import open_pipe, open_terminal, read_bytes
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.output import LocalOutput, local_encoding
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import JobChannel, RemoteOutput
from twisted_rsh.core.roles import Stream

RED = (b"<", b">")


@pytest.fixture(autouse=True)
def _utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminals of these tests are in UTF-8, whatever the machine's are."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "UTF-8")


class Shown(JobChannel):
    """A stream shown on an output, and what it learns of it."""

    def __init__(self, output: LocalOutput, encoding: str | None, named: str | None = "gbk") -> None:
        self.consumed = 0
        self.stops = 0
        self.stream = RemoteOutput(self, Stream.STDOUT)
        job = cast("Job", SimpleNamespace(encoding=named))
        output.show(self.stream, job, encoding)

    def output_consumed(self, stream: Stream, size: int) -> None:
        """Count bytes."""
        self.consumed += size

    def stop_output(self, stream: Stream) -> None:
        """Count calls."""
        self.stops += 1


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
    """Whatever is no terminal gets the bytes as they are, with or without a code page, and no style."""
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
    """On a terminal each piece is styled, our own lines are not, and the line's end is noticed behind the style."""
    reading, writing = open_terminal()
    output = LocalOutput(reactor, writing, RED)
    shown = Shown(output, None, "utf-8")
    starts = []
    for piece in (b"one\n", b"two"):
        shown.stream.data_received(piece)
        starts.append(output.at_line_start)
    output.say("own")
    assert [*starts, output.at_line_start] == [True, False, True]
    await output.flushed()
    assert read_bytes(reading, 15) == b"<one\n><two>own\n"
    assert shown.consumed == 7
    output.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_credit_comes_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """C-06: a piece counts when the descriptor has taken all of it, and not before."""
    reading, writing = open_pipe()
    output = LocalOutput(reactor, writing)
    shown = Shown(output, None)
    shown.stream.data_received(b"abc")
    shown.stream.data_received(b"defg")
    output._written(2)
    assert shown.consumed == 0
    output._written(2)
    assert shown.consumed == 3
    output._written(3)
    assert shown.consumed == 7
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@asynchronous
async def test_full_disk() -> None:
    """C-06: a full disk stops the stream as well, and is an error of ours; also when it is our own line's."""
    for say_first in (False, True):
        with Path("/dev/full").open("wb") as full:
            output = LocalOutput(reactor, full.fileno())
            if say_first:
                output.say("nobody reads this")
                await output.flushed()
            shown = Shown(output, None)
            shown.stream.data_received(b"abc")
            await output.flushed()
            assert (shown.stops, shown.consumed, output.reader_left) == (1, 3, False)
            assert cast("Any", output.error).errno == errno.ENOSPC
            output.stop()


def test_local_encoding_is_pythons_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The locale's name for its code page becomes Python's."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "UTF8")
    assert local_encoding() == "utf-8"
