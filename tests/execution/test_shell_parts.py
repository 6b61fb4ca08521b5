"""The parts of a persistent shell by themselves: dialects, reports, input, and the family of a process."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from twisted_rsh.execution import shell_family
from twisted_rsh.execution.shell_dialect import BASH, DASH, ZSH, dialect_of, quoted
from twisted_rsh.execution.shell_input import TYPED_BYTES, PrivateFolder, TerminalFeed
from twisted_rsh.execution.shell_reports import MAX_REPORT_BYTES, GarbledReport, Report, ReportKind, ReportReader


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


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system has no /proc")
def test_family() -> None:
    """Children and what is below them are found; who catches a signal is told from who would die of it."""
    with subprocess.Popen(["sh", "-c", "trap '' USR1; sleep 30 & echo; wait"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [sleep] = shell_family.children(process.pid) or set()
        family = shell_family.descendants(os.getpid()) or []
        assert {process.pid, sleep} <= set(family)
        assert process.pid not in (shell_family.descendants(os.getpid(), {process.pid}) or [])
        assert shell_family.would_die(process.pid, signal.SIGTERM)
        assert not shell_family.would_die(process.pid, signal.SIGUSR1)
        shell_family.signal_all([sleep, process.pid], signal.SIGKILL)
    assert shell_family.children(process.pid) == set()
    assert not shell_family.would_die(process.pid, signal.SIGTERM)
    shell_family.signal_all([process.pid], signal.SIGKILL)
