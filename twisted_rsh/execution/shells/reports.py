"""Reports of a persistent shell: a command begins, a command has ended, the shell waits for its next line."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["INTERRUPTED", "GarbledReport", "Report", "ReportKind"]

INTERRUPTED = 130
"""The status of a command that an interrupt has ended: 128 plus the number of ``INT``."""


class ReportKind(enum.Enum):
    """The subject of a report."""

    BEGUN = b"s"
    """The shell has read the whole text of a command and begins the command."""

    ENDED = b"e"
    """The shell has finished a command or abandoned it."""

    IN_STEP = b"r"
    """The shell reads its next line: the answer to a question."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report of the shell.

    :ivar kind: its subject.
    :ivar number: the number of the command or of the question.
    :ivar status: the status of the last command, 0 to 255; 0 in a report that a command begins.
    :ivar flags: the letters of the shell's options (``$-``); empty in a report that a command begins.
    :ivar has_begun: whether the report of an end proves that the command had begun, without a report of that.
    """

    kind: ReportKind
    number: int
    status: int = 0
    flags: bytes = b""
    has_begun: bool = False


class GarbledReport(Exception):
    """The reports contain something that is not a report, so the shell's state is unknown from now on."""
