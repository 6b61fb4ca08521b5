"""Every kind of descriptor, used without waiting for it; its flags are never touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.descriptors import (
    CIRCUMSTANCES,
    PLENTY,
    STREAMS,
    Opener,
    Reading,
    Writing,
    apply_circumstance,
    close,
    flags,
    nothing_leaks,
    open_pipe,
    turns,
)
from tests.readable import is_readable
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.descriptors import PIECE_BYTES


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test leaves things as it found them."""
    with nothing_leaks():
        yield


@pytest.fixture(params=CIRCUMSTANCES)
def circumstance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each circumstance, brought about."""
    circumstance: str = request.param
    apply_circumstance(circumstance, monkeypatch)
    return circumstance


@pytest.mark.parametrize("opener", STREAMS)
@asynchronous
async def test_input_comes_as_far_as_allowed(opener: Opener, circumstance: str) -> None:
    """C-07: a pipe, a socket or a terminal is read live and never beyond what is allowed; C-05: flags stay."""
    ours, theirs = opener()
    os.set_blocking(ours, circumstance != "non-blocking")
    before = flags(ours, theirs)
    reading = Reading(ours, room=0)
    os.write(theirs, b"abcdef")
    await turns()
    assert reading.data == b""
    reading.allow(2)
    assert await reading.until(2) == b"ab"
    await turns()
    assert reading.data == b"ab"
    assert os.read(ours, 1) == b"c"
    reading.allow(PLENTY)
    assert await reading.until(5) == b"abdef"
    os.write(theirs, b"g")
    assert await reading.until(6) == b"abdefg"
    assert flags(ours, theirs) == before
    close(theirs)
    await reading.ended
    await turns()
    assert (reading.errors, reading.reader.fileno()) == ([None], -1)
    assert flags(ours) == before[:1]
    close(ours)


@pytest.mark.parametrize("opener", STREAMS)
@asynchronous
async def test_hang_up_while_waiting_is_the_end(opener: Opener) -> None:
    """C-07: the other end goes away while the reactor watches: that ends the input, once."""
    ours, theirs = opener()
    reading = Reading(ours)
    await turns()
    assert reading.reader in reactor.getReaders()
    close(theirs)
    await reading.ended
    await turns()
    assert reading.errors == [None]
    close(ours)


@pytest.mark.parametrize("opener", STREAMS)
@asynchronous
async def test_output_waits_for_its_reader(opener: Opener, circumstance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-06: a slow reader blocks the output, at no cost, and gets every byte; C-05: flags stay."""
    ours, theirs = opener()[::-1] if opener is open_pipe else opener()
    os.set_blocking(ours, circumstance != "non-blocking")
    before = flags(ours, theirs)
    writing = Writing(ours)
    data = bytes(range(256)) * 4096
    writing.write(data)
    flushed = writing.output.flushed()
    while writing.output not in reactor.getWriters():
        await turns(1)
    reported = writing.written
    assert 0 < reported < len(data)

    monkeypatch.setattr(writing.output, "doWrite", lambda: pytest.fail("the reactor kept trying"))
    await turns()
    assert reactor.getDelayedCalls() == []
    monkeypatch.undo()

    received = b""
    while len(received) < len(data):
        if is_readable(theirs):
            received += os.read(theirs, PIECE_BYTES)
        await turns(1)
    await flushed
    assert received == data
    assert writing.written == len(data)
    assert flags(ours, theirs) == before
    writing.output.stop()
    writing.output.stop()
    assert flags(ours, theirs) == before
    close(ours, theirs)


@asynchronous
async def test_named_pipe_without_writers_has_an_end(tmp_path: Path) -> None:
    """C-07: a named pipe has an end after its last writer, which the system reports to no later reader."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    both = os.open(fifo, os.O_RDWR)
    ours = os.open(fifo, os.O_RDONLY)
    os.write(both, b"left")
    close(both)
    reading = Reading(ours)
    await reading.ended
    assert reading.data == b"left"
    close(ours)


@asynchronous
async def test_file_is_read_from_its_offset_and_left_behind_what_was_read(tmp_path: Path) -> None:
    """C-07: a regular file is read in pieces from where it stands, and no further than allowed."""
    path = tmp_path / "input"
    data = bytes(range(256)) * 1024
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 3, os.SEEK_SET)
    reading = Reading(fd, room=PIECE_BYTES + 1)
    await reading.until(PIECE_BYTES + 1)
    await turns()
    assert reading.data == data[3 : PIECE_BYTES + 4]
    assert os.lseek(fd, 0, os.SEEK_CUR) == PIECE_BYTES + 4
    assert reading.reader not in reactor.getReaders()
    reading.allow(PLENTY)
    await reading.ended
    assert reading.data == data[3:]
    close(fd)


@asynchronous
async def test_files_keep_their_offset_and_append_mode(tmp_path: Path) -> None:
    """C-06: output goes to the offset of the inherited description, after what other processes appended."""
    path = tmp_path / "output"
    path.write_bytes(b"old\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    writing = Writing(fd)
    data = bytes(3 * PIECE_BYTES)
    writing.write(b"first\n")
    await writing.output.flushed()
    os.write(fd, b"other\n")
    writing.write(data)
    await writing.output.flushed()
    writing.output.stop()
    assert path.read_bytes() == b"old\nfirst\nother\n" + data
    assert os.lseek(fd, 0, os.SEEK_CUR) == path.stat().st_size
    close(fd)


@asynchronous
async def test_null_device() -> None:
    """C-07: /dev/null ends at once as input, once something is allowed, and takes everything as output."""
    fd = os.open(os.devnull, os.O_RDWR)
    reading = Reading(fd, room=0)
    await turns()
    assert reading.errors == []
    reading.allow(1)
    await reading.ended
    writing = Writing(fd)
    writing.write(bytes(PLENTY // 1024))
    await writing.output.flushed()
    assert writing.written == PLENTY // 1024
    writing.output.stop()
    close(fd)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@asynchronous
async def test_full_disk() -> None:
    """C-06: a full disk is reported once with ENOSPC, and the rest is dropped and counted."""
    fd = os.open("/dev/full", os.O_WRONLY)
    writing = Writing(fd)
    writing.write(b"abc")
    await writing.output.flushed()
    writing.write(b"def")
    await writing.output.flushed()
    assert [error and error.errno for error in writing.errors] == [errno.ENOSPC]
    assert writing.written == 6
    writing.output.stop()
    close(fd)


@asynchronous
async def test_wrong_direction_fails_instead_of_opening_another_end() -> None:
    """C-07: the writing end of a pipe as stdin is an input that fails, not a thief of the reader's data."""
    ours, theirs = os.pipe()
    reading = Reading(theirs)
    await reading.ended
    (error,) = reading.errors
    assert error is not None
    assert error.errno == errno.EBADF
    writing = Writing(ours)
    writing.write(b"x")
    await writing.output.flushed()
    assert [error and error.errno for error in writing.errors] == [errno.EBADF]
    writing.output.stop()
    close(ours, theirs)


@asynchronous
async def test_input_that_breaks_is_told_from_its_end(tmp_path: Path) -> None:
    """C-07: a folder as stdin ends the input, with the error to look at."""
    fd = os.open(tmp_path, os.O_RDONLY)
    reading = Reading(fd)
    await reading.ended
    assert [type(error) for error in reading.errors] == [IsADirectoryError]
    close(fd)


@asynchronous
async def test_system_that_duplicates_instead_of_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system duplicates a descriptor instead of opening it, without O_NONBLOCK, the duplicate is not trusted."""
    ours, theirs = os.pipe()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda path, flags: os.dup(ours))
        reading = Reading(ours)
    await turns()
    os.write(theirs, b"x")
    assert await reading.until(1) == b"x"
    reading.reader.stop()
    close(ours, theirs)
