"""The client's own terminal: its description, raw while it is lent, and as it was when it is given back."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.serving import asynchronous, reactor
from twisted_rsh.cli.job_control import BACKGROUND_SECONDS
from twisted_rsh.cli.terminal import LocalTerminal, local_encoding, plain_terminal
from twisted_rsh.client.job import Job
from twisted_rsh.core.limits import MAX_TERM_BYTES
from twisted_rsh.core.messages import Open
from twisted_rsh.core.requests import MODE_NAMES, JobRequest, Terminal

WATCHED = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


@pytest.fixture
def fd() -> Iterator[int]:
    """A terminal that controls no session, and has no size."""
    behind, fd = os.openpty()
    yield fd
    os.close(behind)
    os.close(fd)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The test's own process has its signals afterwards."""
    before = [signal.getsignal(number) for number in WATCHED]
    yield
    assert [signal.getsignal(number) for number in WATCHED] == before


def resize(fd: int, columns: int, rows: int) -> None:
    """Give a terminal a size."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Remote:
    """Stands in for a job with a terminal, and records its sizes.

    :ivar sizes: the sizes.
    :ivar change: fires at the next of them.
    """

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.change: Deferred[None] = Deferred()

    def resize(self, columns: int, rows: int) -> None:
        """See :class:`Job`."""
        self.sizes.append((columns, rows))
        self.change.callback(None)


def connected(fd: int, remote: Remote) -> LocalTerminal:
    """Return a terminal that has been described, and sends its sizes."""
    terminal = LocalTerminal(reactor, fd)
    terminal.describe({})
    terminal.connect_to(cast("Job", remote))
    return terminal


def settings(fd: int) -> list[Any]:
    """Return a terminal's settings."""
    return termios.tcgetattr(fd)


def test_description(fd: int) -> None:
    """Type, size and settings, by name; what is switched off is 0, and it all can be sent."""
    resize(fd, 100, 40)
    changed = settings(fd)
    changed[0] = (changed[0] | termios.IXANY | 0o40000) & ~termios.ICRNL
    changed[3] &= ~termios.ECHO
    changed[6][termios.VINTR] = b"\x07"
    changed[6][termios.VQUIT] = bytes([os.fpathconf(fd, "PC_VDISABLE")])
    termios.tcsetattr(fd, termios.TCSANOW, changed)
    told = LocalTerminal(reactor, fd).describe({"TERM": "vt100"})
    assert (told.term, told.columns, told.rows, told.separate_stderr) == ("vt100", 100, 40, False)
    modes = dict(told.modes)
    assert set(modes) == MODE_NAMES
    assert (modes["IXANY"], modes["ICRNL"], modes["ECHO"], modes["IUTF8"], modes["ICANON"]) == (1, 0, 0, 1, 1)
    assert (modes["VINTR"], modes["VQUIT"], modes["VEOF"], modes["OPOST"]) == (7, 0, 4, 1)
    Open(channel=1, request=JobRequest(command="x", terminal=told)).body()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("xterm-256color", "xterm-256color"),
        ("x" * MAX_TERM_BYTES, "x" * MAX_TERM_BYTES),
        ("x" * (MAX_TERM_BYTES + 1), "dumb"),
        ("", "dumb"),
        ("vt\x1b[m", "dumb"),
        ("字", "dumb"),
        ("\udcff", "dumb"),
    ],
)
def test_type(name: str, told: str) -> None:
    """A type that no terminal has is not passed on."""
    assert plain_terminal({"TERM": name}) == Terminal(term=told)
    assert plain_terminal({}) == Terminal()


def test_terminal_without_a_size(fd: int) -> None:
    """A terminal without a size has the usual one; a terminal that is gone is plain, and lending it does nothing."""
    told = LocalTerminal(reactor, fd).describe({})
    assert (told.columns, told.rows) == (80, 24)
    reading, writing = os.pipe()
    gone = LocalTerminal(reactor, reading)
    assert gone.describe({}) == Terminal()
    gone.lend()
    gone.give_back()
    os.close(reading)
    os.close(writing)


def test_raw_while_it_is_lent(fd: int) -> None:
    """C-04: keys are bytes while it is lent; afterwards everything is as it was, however often it is given back."""
    before = settings(fd)
    terminal = LocalTerminal(reactor, fd)
    terminal.give_back()
    for _ in range(2):
        terminal.lend()
        iflag, oflag, cflag, lflag, *_speeds, characters = settings(fd)
        assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        assert not iflag & (termios.ICRNL | termios.IXON)
        assert not oflag & termios.OPOST
        assert cflag == before[2]
        assert (characters[termios.VMIN], characters[termios.VTIME]) == (1, 0)
        terminal.give_back()
        terminal.give_back()
        assert settings(fd) == before


@asynchronous
async def test_size_is_told_when_it_changes(fd: int) -> None:
    """C-10: a size is sent if it is not the one described or sent last; a storm of one size is sent once."""
    resize(fd, 100, 40)
    remote = Remote()
    terminal = connected(fd, remote)
    terminal.lend()
    assert remote.sizes == []
    resize(fd, 90, 30)
    for _ in range(1000):
        signal.raise_signal(signal.SIGWINCH)
    await remote.change
    assert remote.sizes == [(90, 30)]
    terminal.give_back()
    resize(fd, 80, 25)
    remote.change = Deferred()
    terminal.lend()
    assert remote.sizes == [(90, 30), (80, 25)]
    terminal.give_back()


@asynchronous
async def test_signal_that_comes_too_late(fd: int) -> None:
    """A signal that arrived while the terminal was lent, and is handled afterwards, changes nothing."""
    resize(fd, 100, 40)
    before = settings(fd)
    remote = Remote()
    terminal = connected(fd, remote)
    terminal.lend()
    for number in WATCHED:
        signal.raise_signal(number)
    resize(fd, 90, 30)
    terminal.give_back()
    turned: Deferred[None] = Deferred()
    reactor.callFromThread(turned.callback, None)
    await turned
    assert settings(fd) == before
    assert remote.sizes == []


def test_ignored_signal_stays_ignored(fd: int) -> None:
    """A client that was started so that it cannot be suspended stays so."""
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    terminal = LocalTerminal(reactor, fd)
    terminal.lend()
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
    terminal.give_back()
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
    signal.signal(signal.SIGTSTP, before)


@asynchronous
async def test_suspended_and_continued(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-04: the terminal is as it was while the client is suspended, and raw again afterwards; the new size is sent."""
    resize(fd, 100, 40)
    before = settings(fd)
    remote = Remote()
    terminal = connected(fd, remote)
    seen: list[list[Any]] = []

    def still() -> None:
        seen.append(settings(fd))
        resize(fd, 90, 30)

    monkeypatch.setattr("twisted_rsh.cli.terminal_settings.suspend_self", still)
    terminal.lend()
    raw = settings(fd)
    signal.raise_signal(signal.SIGTSTP)
    await remote.change
    assert remote.sizes == [(90, 30)]
    assert seen == [before]
    assert settings(fd) == raw
    terminal.give_back()
    assert settings(fd) == before


def test_background(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-04: in the background the terminal belongs to another program, and is not changed."""
    before = settings(fd)
    terminal = LocalTerminal(reactor, fd)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp() + 1)
    terminal.lend()
    assert settings(fd) == before
    terminal.give_back()
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp())
    terminal.lend()
    raw = settings(fd)
    assert raw != before
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp() + 1)
    terminal.give_back()
    assert settings(fd) == raw


@asynchronous
async def test_foreground_without_a_signal(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-04: a terminal that is lent in the background is raw soon after it has come to the foreground."""
    before = settings(fd)
    terminal = LocalTerminal(reactor, fd)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp() + 1)
    terminal.lend()
    signal.raise_signal(signal.SIGCONT)
    await deferLater(reactor, 2 * BACKGROUND_SECONDS)
    assert settings(fd) == before
    assert len(reactor.getDelayedCalls()) == 1
    monkeypatch.undo()
    while settings(fd) == before:
        await deferLater(reactor, 0)
    terminal.give_back()
    assert settings(fd) == before
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp() + 1)
    terminal.lend()
    terminal.give_back()
    assert reactor.getDelayedCalls() == []


def test_local_encoding_is_pythons_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The locale's name for its code page becomes Python's."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "UTF8")
    assert local_encoding() == "utf-8"
