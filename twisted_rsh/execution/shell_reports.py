"""What a persistent shell says of itself on its status pipe, and how that is read without trusting a byte of it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

__all__ = ["MAX_REPORT_BYTES", "GarbledReport", "Report", "ReportKind", "ReportReader"]

MAX_REPORT_BYTES = 256
"""Bytes of one report: a letter, two numbers, and the options, of which zsh has some 60 letters."""

_REPORT = re.compile(rb"(?:(s) (\d{1,18})|([er]) (\d{1,18}) (\d{1,3}) ([!-~]*))")
"""``s 5``: command 5 begins.  ``e 5 0 himBs``: it has ended with status 0.  ``r 5 0 himBs``: the shell is in step."""


class ReportKind(enum.Enum):
    """What a report is about."""

    BEGUN = b"s"
    """The shell has read a command as a whole and begins with it."""

    ENDED = b"e"
    """The shell has finished a command, or has abandoned it."""

    IN_STEP = b"r"
    """The shell has come to a line that only asked for this report."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report.

    :ivar kind: what it is about.
    :ivar number: the number of the command, or of the question.
    :ivar status: the status of the last command, 0 to 255; 0 when one begins.
    :ivar flags: the letters of the shell's options (``$-``); empty when a command begins.
    """

    kind: ReportKind
    number: int
    status: int = 0
    flags: bytes = b""


class GarbledReport(Exception):
    """Something wrote to the status pipe that is no report: what the shell does can no longer be told."""


class ReportReader:
    """Cuts what comes through a status pipe into reports, and holds at most :data:`MAX_REPORT_BYTES`."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Report]:
        """Take bytes.

        :param data: what was read.
        :returns: the reports that are complete now, in order.
        :raises GarbledReport: this is not a shell's doing.
        """
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > MAX_REPORT_BYTES:
            raise GarbledReport
        return [_parse(line) for line in lines]


def _parse(line: bytes) -> Report:
    found = _REPORT.fullmatch(line)
    if found is None or len(line) > MAX_REPORT_BYTES:
        raise GarbledReport
    begun, begun_number, kind, number, status, flags = found.groups()
    if begun:
        return Report(ReportKind.BEGUN, int(begun_number))
    if int(status) > 255:
        raise GarbledReport
    return Report(ReportKind(kind), int(number), int(status), flags)
