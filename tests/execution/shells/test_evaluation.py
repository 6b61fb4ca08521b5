"""The lines of a talk by evaluation, and the reader of its reports, without a running shell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twisted_rsh.execution.shells.bash import OLD_BASH
from twisted_rsh.execution.shells.dash import DASH, PLAIN
from twisted_rsh.execution.shells.dialects import dialect_of
from twisted_rsh.execution.shells.evaluation import MAX_REPORT_BYTES, Evaluation, ReportReader
from twisted_rsh.execution.shells.reports import GarbledReport, Report, ReportKind
from twisted_rsh.execution.shells.talk import quoted


def test_quoting() -> None:
    """A quote in the text ends the quotes, is escaped, and begins new ones."""
    assert quoted(b"") == b"''"
    assert quoted(b"a'b") == b"'a'\\''b'"


def test_dialect_of(tmp_path: Path) -> None:
    """The target of a symbolic link counts before the name of the link; a bash without a version is an old one."""
    (tmp_path / "bash").touch()
    (tmp_path / "sh").symlink_to(tmp_path / "bash")
    (tmp_path / "other").touch()
    (tmp_path / "zsh").symlink_to(tmp_path / "other")
    names = ("sh", "bash", "other", "dash", "ash")
    found = [dialect_of(os.fsencode(tmp_path / name)) for name in names]
    assert found == [OLD_BASH, OLD_BASH, None, DASH if os.path.exists("/proc/self/fd") else PLAIN, PLAIN]


def test_status_is_not_set_with_errexit() -> None:
    """A command gets the status of the previous one, unless that would end the shell."""
    assert isinstance(PLAIN, Evaluation)
    assert b"(exit 3)" in PLAIN.syntax.command_line(2, b"echo", source=None, status=3)
    assert b"(exit" not in PLAIN.syntax.command_line(2, b"echo", source=None, status=3, flags=b"e")
    assert b"(exit" not in PLAIN.syntax.command_line(2, b"echo", source=None)


def test_reports_in_pieces() -> None:
    """The reader finds the same reports in pieces of any size."""
    reader = ReportReader()
    stream = b"s 5\ne 5 255 himBs\nr 6 0 \n"
    found = [report for at in range(len(stream)) for report in reader.feed(stream[at : at + 1])]
    assert found == [
        Report(ReportKind.BEGUN, 5),
        Report(ReportKind.ENDED, 5, 255, b"himBs"),
        Report(ReportKind.IN_STEP, 6),
    ]


def test_report_bounds() -> None:
    """A report of the greatest length is accepted; one byte more is refused, with or without its newline."""
    whole = b"e 1 0 " + b"x" * (MAX_REPORT_BYTES - 6)
    assert ReportReader().feed(whole) == []
    assert len(ReportReader().feed(whole + b"\n")) == 1
    for data in (whole + b"x", whole + b"x\n"):
        with pytest.raises(GarbledReport):
            ReportReader().feed(data)


@pytest.mark.parametrize("line", [b"", b"s", b"s x", b"e 1", b"e 1 256 x", b"e 1 0 \x01", b"q 1 0 x", b"\xff", b"s 1 "])
def test_garbled_reports(line: bytes) -> None:
    """A line that is no report is refused."""
    with pytest.raises(GarbledReport):
        ReportReader().feed(line + b"\n")
