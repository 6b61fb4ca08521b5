"""Input and output of a process of their own, on both reactors."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import twisted_rsh
from tests.cli.descriptors import (
    ENDING_STREAMS,
    Opener,
    close,
    flags,
)

pytestmark = pytest.mark.real

COPIER = """
import sys
if sys.argv[1] == "asyncio":
    from twisted.internet import asyncioreactor
    asyncioreactor.install()
from twisted.internet import reactor
from types import SimpleNamespace
from zope.interface import implementer
from twisted_rsh.cli.descriptors import ensure_standard_descriptors
from twisted_rsh.cli.input import IInputOwner, InputReader
from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.core.roles import Stream

@implementer(IInputOwner)
class Copier:
    def __init__(self):
        self.room = 65536
        self.status = 0
        self.stream = RemoteOutput(self, Stream.STDOUT)
        self.reader = InputReader(reactor, 0, self)
    def input_room(self):
        return self.room
    def input_received(self, data):
        self.room -= len(data)
        self.stream.data_received(data)
    def output_consumed(self, stream, size):
        self.room += size
        self.reader.resume()
    def stop_output(self, stream):
        self.status = output.error.errno
        messages.say(type(output.error).__name__)
    def input_ended(self, error):
        done = output.flushed()
        done.addCallback(lambda _: messages.flushed())
        done.addCallback(lambda _: reactor.stop())

ensure_standard_descriptors()
messages, output = LocalOutput(reactor, 2), LocalOutput(reactor, 1)
copier = Copier()
output.show(copier.stream, SimpleNamespace(encoding=None), None)
reactor.callWhenRunning(copier.reader.resume)
reactor.callWhenRunning(messages.say, "ready")
reactor.run()
sys.exit(copier.status)
"""
"""A program that copies stdin to stdout with a window of 64 KiB."""

ROOT = Path(twisted_rsh.__file__).parents[1]

both_reactors = pytest.mark.parametrize("kind", ["default", "asyncio"])


def copier(kind: str) -> list[str]:
    """The command that runs the copier on this kind of reactor."""
    return [sys.executable, "-c", COPIER, kind]


@both_reactors
@pytest.mark.parametrize("opener", ENDING_STREAMS)
def test_flags_outlive_a_killed_client(kind: str, opener: Opener) -> None:
    """C-05: the parent's descriptors are as they were while the client runs and after SIGKILL took it."""
    stdin, feeding = opener()
    drain, stdout = opener()
    messages, stderr = opener()
    shared = stdin, stdout, stderr
    before = flags(*shared)
    with subprocess.Popen(copier(kind), stdin=stdin, stdout=stdout, stderr=stderr, cwd=ROOT) as process:
        assert os.read(messages, 100) == b"ready\n"
        os.write(feeding, b"live")
        assert os.read(drain, 100) == b"live"
        assert flags(*shared) == before
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert flags(*shared) == before
    close(stdin, feeding, drain, stdout, messages, stderr)


@both_reactors
def test_copy_through_pipes_is_complete(kind: str) -> None:
    """C-07: a megabyte through pipes comes out as it went in, and the end arrives."""
    data = bytes(range(256)) * 4096
    result = subprocess.run(copier(kind), input=data, capture_output=True, cwd=ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, data, b"ready\n")


@both_reactors
def test_copy_from_file_to_file(kind: str, tmp_path: Path) -> None:
    """C-07: regular files, which epoll refuses, on both ends."""
    data = bytes(range(256)) * 4096
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        result = subprocess.run(copier(kind), stdin=source, stdout=target, stderr=subprocess.PIPE, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, b"ready\n")
    assert (tmp_path / "out").read_bytes() == data


@both_reactors
@pytest.mark.parametrize("redirection", ["<&-", "</dev/null", ">&- </dev/null", "<&- >&- 2>&-"])
def test_closed_descriptors_do_not_hang(kind: str, redirection: str) -> None:
    """C-07: closed or null descriptors end the copy at once, without an error."""
    result = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *copier(kind)], cwd=ROOT, timeout=60)
    assert result.returncode == 0


@both_reactors
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_does_not_stop_the_input(kind: str) -> None:
    """C-06: with stdout on a full disk the input is still read to its end."""
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            copier(kind), input=bytes(1024 * 1024), stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
        )
    assert (result.returncode, result.stderr) == (errno.ENOSPC, b"ready\nOSError\n")


@both_reactors
def test_broken_pipe_does_not_stop_the_input(kind: str) -> None:
    """C-06: the input is still read to its end when the reader of stdout is gone."""
    ours, theirs = os.pipe()
    close(ours)
    result = subprocess.run(
        copier(kind), input=bytes(1024 * 1024), stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
    )
    close(theirs)
    assert (result.returncode, result.stderr) == (errno.EPIPE, b"ready\nBrokenPipeError\n")


def test_standard_descriptors_are_filled_up() -> None:
    """C-07: each closed one of 0, 1 and 2 becomes /dev/null, for children too; open ones are left alone."""
    program = """
import os, sys
from twisted_rsh.cli.descriptors import ensure_standard_descriptors
kept = os.fstat(1)
os.close(0)
os.close(2)
ensure_standard_descriptors()
null = os.stat(os.devnull)
filled = all(os.path.samestat(os.fstat(fd), null) and os.get_inheritable(fd) for fd in (0, 2))
print(filled, os.path.samestat(os.fstat(1), kept))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "True True\n"
