"""The parts of a persistent shell by themselves: dialects, reports, input, and the family of a process."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.execution.real_trees import requires_proc
from twisted_rsh.execution.shells import signals
from twisted_rsh.execution.shells.command import TYPED_BYTES, PrivateFolder, TerminalFeed
from twisted_rsh.execution.shells.dialect import (
    BASH,
    DASH,
    MAX_REPORT_BYTES,
    ZSH,
    GarbledReport,
    Report,
    ReportKind,
    ReportReader,
    dialect_of,
    quoted,
)
from twisted_rsh.execution.shells.signals import ShellFamily, would_die
from twisted_rsh.execution.trees.table import ProcessTable


def test_quoting() -> None:
    """Quotes are taken out of the quotes."""
    assert quoted(b"") == b"''"
    assert quoted(b"a'b") == b"'a'\\''b'"


def test_dialect_of(tmp_path: Path) -> None:
    """What a symbolic link leads to counts before its name."""
    (tmp_path / "bash").touch()
    (tmp_path / "sh").symlink_to(tmp_path / "bash")
    (tmp_path / "other").touch()
    (tmp_path / "zsh").symlink_to(tmp_path / "other")
    found = [dialect_of(os.fsencode(tmp_path / name)) for name in ("sh", "bash", "other", "zsh", "dash")]
    assert found == [BASH, BASH, None, ZSH, DASH]


def test_status_is_not_set_with_errexit() -> None:
    """The status of the command before is passed on, but where that would end the shell."""
    assert b"(exit 3)" in BASH.command_line(2, b"echo", source=None, status=3)
    assert b"(exit" not in BASH.command_line(2, b"echo", source=None, status=3, flags=b"e")
    assert b"(exit" not in BASH.command_line(2, b"echo", source=None)


def test_reports_in_pieces() -> None:
    """Reports are cut out of whatever pieces come."""
    reader = ReportReader()
    stream = b"s 5\ne 5 255 himBs\nr 6 0 \n"
    found = [report for at in range(len(stream)) for report in reader.feed(stream[at : at + 1])]
    assert found == [
        Report(ReportKind.BEGUN, 5),
        Report(ReportKind.ENDED, 5, 255, b"himBs"),
        Report(ReportKind.IN_STEP, 6),
    ]


def test_report_bounds() -> None:
    """A report has at most so many bytes, whether its end has come or not."""
    whole = b"e 1 0 " + b"x" * (MAX_REPORT_BYTES - 6)
    assert ReportReader().feed(whole) == []
    assert len(ReportReader().feed(whole + b"\n")) == 1
    for data in (whole + b"x", whole + b"x\n"):
        with pytest.raises(GarbledReport):
            ReportReader().feed(data)


@pytest.mark.parametrize("line", [b"", b"s", b"s x", b"e 1", b"e 1 256 x", b"e 1 0 \x01", b"q 1 0 x", b"\xff", b"s 1 "])
def test_garbled_reports(line: bytes) -> None:
    """What is no report is not guessed at."""
    with pytest.raises(GarbledReport):
        ReportReader().feed(line + b"\n")


def test_private_folder(tmp_path: Path) -> None:
    """The folder is nobody else's, is made again when it was removed, and goes in the end."""
    folder = PrivateFolder(str(tmp_path))
    first = Path(os.fsdecode(folder.place("x")))
    assert first.parent.stat().st_mode & 0o777 == 0o700
    first.touch()
    assert Path(os.fsdecode(folder.place("x"))) == first
    assert not first.exists()
    first.parent.rmdir()
    assert Path(os.fsdecode(folder.place("x"))).parent.is_dir()
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_terminal_feed() -> None:
    """Nothing is typed before a command has begun, and then one piece at a time; what is dropped is not reported."""
    written: list[bytes] = []
    taken: list[int] = []
    feed = TerminalFeed(written.append, lambda: b"")
    feed.put(b"", taken.append)
    feed.put(b"x" * (TYPED_BYTES + 1), taken.append)
    assert written == []
    feed.open()
    assert [len(data) for data in written] == [TYPED_BYTES]
    feed.taken(TYPED_BYTES)
    assert [len(data) for data in written] == [TYPED_BYTES, 1]
    assert taken == [TYPED_BYTES]
    feed.put(b"more", taken.append)
    feed.hold()
    feed.drop()
    feed.taken(1)
    feed.open()
    assert taken == [TYPED_BYTES]
    assert len(written) == 2


@requires_proc
def test_family() -> None:
    """Children and what is below them are found; who catches a signal is told from who would die of it."""
    table = ProcessTable(Clock())
    with subprocess.Popen(["sh", "-c", "trap '' USR1; sleep 30 & echo; wait"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ours, family = ShellFamily(table, os.getpid()), ShellFamily(table, process.pid)
        [sleep] = family.descendants() or []
        assert family.children() == {(sleep.pid, sleep.started)}
        assert {process.pid, sleep.pid} <= {record.pid for record in ours.descendants() or ()}
        shell = table.read(process.pid)
        assert shell is not None
        without = {record.pid for record in ours.descendants({(process.pid, shell.started)}) or ()}
        assert not {process.pid, sleep.pid} & without
        assert process.pid in {record.pid for record in ours.descendants({(process.pid, shell.started + 1)}) or ()}
        assert would_die(process.pid, signal.SIGTERM)
        assert not would_die(process.pid, signal.SIGUSR1)
        family.signal([dataclasses.replace(shell, started=shell.started + 1)], signal.SIGKILL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        family.signal([sleep, shell], signal.SIGKILL)
    assert family.children() == set()
    assert not would_die(process.pid, signal.SIGTERM)
    family.signal([shell], signal.SIGKILL)


@requires_proc
def test_large_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of a family is looked at than can be looked at in a moment."""
    script = "sh -c 'sleep 30 & sleep 30 & echo; wait' & wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = ShellFamily(ProcessTable(Clock()), process.pid)
        for bound, found in ((4, 3), (3, 3), (2, 2), (1, 1)):
            monkeypatch.setattr(signals, "MAX_FAMILY", bound)
            assert len(family.descendants() or ()) == found
        os.killpg(process.pid, signal.SIGKILL)


def test_system_without_family(tmp_path: Path) -> None:
    """Where the system does not list children, that is the answer, and not that there are none."""
    family = ShellFamily(ProcessTable(Clock(), str(tmp_path)), os.getpid())
    assert family.children() is None
    assert family.descendants() is None
    assert family.stopped_children() is None
