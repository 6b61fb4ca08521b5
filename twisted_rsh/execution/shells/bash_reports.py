"""The reports that bash writes at its prompts: messages of redirections that cannot succeed.

A report stands after a path below ``/dev/null/``, where nothing can be.  It ends with a word of this shell's own, so
that no text has it by chance::

    /dev/null/KIND:STATUS:FLAGS:OPTIONS:LINE:END

What bash writes around it, its name and the reason, is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from twisted_rsh.execution.shells.reports import GarbledReport

__all__ = ["MAX_REPORT_BYTES", "BashReport", "BashReports"]

MAX_REPORT_BYTES = 64 * 1024
"""Bytes of the reports that are not whole; one report has some 200."""

_REPORT = rb"/dev/null/([PQATBDK]|PS[12]):(\d+):([^:\n]*):(.{0,4096}?):(\d*)([A-Za-z]*):%b"
_REPORT_BEGIN = b"/dev/null/"


class BashReport(NamedTuple):
    """One report.

    :ivar kind: what reports: ``P`` the prompt, ``T`` the end of a file, ``A`` and ``B`` an aside's end and beginning,
        ``Q`` a question, ``D`` the end of the server's own commands, ``K`` and ``PS1``, ``PS2`` a prompt kept apart.
    :ivar status: ``$?``, 0 to 255.
    :ivar flags: ``$-``.
    :ivar options: ``$SHELLOPTS`` and what is carried after it; in a ``T``, ``PIPESTATUS`` and ``$_``.
    :ivar line: ``$LINENO``, empty where it is unset or readonly; in a ``Q`` the number of the question.
    :ivar counts: whether the number of the line can be set.
    """

    kind: bytes
    status: int
    flags: bytes
    options: bytes
    line: bytes
    counts: bool


class BashReports:
    """Finds the reports in what bash writes.

    :param end: the word that ends each report.
    """

    def __init__(self, end: bytes) -> None:
        self._report = re.compile(_REPORT % re.escape(end), re.DOTALL)
        self._held = b""

    def take(self, data: bytes) -> Iterator[BashReport]:
        """Take bytes, in pieces of any size, and yield the reports that they complete.

        :raises GarbledReport: there is something that is no report.
        """
        self._held += data
        while found := self._report.search(self._held):
            self._held = self._held[found.end() :]
            kind, status, flags, options, line, attributes = found.groups()
            if int(status) > 255:
                raise GarbledReport
            counts = b"r" not in attributes
            yield BashReport(kind, int(status), flags, options, line if counts else b"", counts)
        begin = self._held.find(_REPORT_BEGIN)
        if begin >= 0:
            self._held = self._held[begin:]
        elif b"\n" in self._held:  # the end of a message that was read before
            self._held = self._held[self._held.rindex(b"\n") + 1 :]
        if len(self._held) > MAX_REPORT_BYTES:
            raise GarbledReport
