"""The journal: one datagram an entry, as its native protocol has it, and a journal that is gone or slow."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watching.events import STARTED, began, finished
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.watching.audit import Audit
from twisted_rsh.watching.entries import TextForm
from twisted_rsh.watching.journal import Journal, _field


def listen(path: Path) -> socket.socket:
    """Listen as the journal does."""
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(path))
    journal.settimeout(30)
    return journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The place of the journal's socket."""
    return tmp_path / "socket"


@pytest.fixture
def journal(path: Path) -> Iterator[socket.socket]:
    """A journal."""
    with listen(path) as journal:
        yield journal


def fields(datagram: bytes) -> dict[bytes, bytes]:
    """Read a datagram of lines."""
    return dict(line.split(b"=", 1) for line in datagram.splitlines())


def test_entries(journal: socket.socket, path: Path) -> None:
    """An entry is the message; its event, session, job and user are fields of their own."""
    sink = Journal(str(path))
    log = Audit(sink, TextForm.FULL)
    log.happened(STARTED)
    log.happened(began(7, command="\n" * 5000))
    first, second = fields(journal.recv(1 << 17)), fields(journal.recv(1 << 17))
    assert first[b"MESSAGE"].startswith(b'{"v":1,')
    assert (first[b"PRIORITY"], first[b"SYSLOG_IDENTIFIER"]) == (b"6", b"twisted-rsh-audit")
    assert (second[b"TWISTED_RSH_EVENT"], second[b"TWISTED_RSH_JOB"]) == (b"job-began", b"7")
    assert (second[b"TWISTED_RSH_SESSION"], second[b"TWISTED_RSH_USER"]) == (b"ab" * 16, b"ada")
    sink.close()


def test_values_of_several_lines() -> None:
    """Such a value has its length before it, so that no text makes a field."""
    assert _field("A", "x=y") == b"A=x=y\n"
    assert _field("A", "x\nB=y") == b"A\n\x05\0\0\0\0\0\0\0x\nB=y\n"


def test_no_journal(path: Path) -> None:
    """A server does not start where no journal is."""
    with pytest.raises(OSError, match="no journal listens there"):
        Journal(str(path))


def test_a_journal_that_begins_again(path: Path) -> None:
    """An entry that nobody takes is counted, and the next journal gets the count."""
    first = listen(path)
    sink = Journal(str(path))
    log = Audit(sink, is_required=True)
    first.close()
    with pytest.raises(JobRefused):
        log.happened(began())
    path.unlink()
    log.happened(finished())
    with listen(path) as second:
        log.happened(began(2))
        assert b'"event":"gap","lost":2' in second.recv(1 << 17)
        assert b'"job":2' in second.recv(1 << 17)
        sink.close()
        sink.reopen()
        sink.reopen()
        log.happened(began(3))
        assert b'"job":3' in second.recv(1 << 17)
    sink.close()


def test_a_slow_journal(journal: socket.socket, path: Path) -> None:
    """The server never waits: entries beyond what the system holds are lost, and counted."""
    sink = Journal(str(path))
    log = Audit(sink)
    for channel in range(5000):
        log.happened(began(channel))
    taken = 0
    journal.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            journal.recv(1 << 17)
            taken += 1
    assert taken < 5000
    log.happened(began(5001))
    assert b'"event":"gap","lost":%d' % (5000 - taken) in journal.recv(1 << 17)
    sink.close()
