"""The audit log: an observer that writes an entry of each event, and counts those that it could not write."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from twisted.logger import Logger
from zope.interface import implementer

from twisted_rsh.interfaces import IServerObserver, JobRefused
from twisted_rsh.server import (
    JobBegan,
    LogsRotated,
    Refusal,
    RefusalKind,
    RefusalReason,
    ServerEvent,
    ServerStarted,
    ServerStopped,
)
from twisted_rsh.watching.entries import SCHEMA_VERSION, TextForm, entry_line, event_entry, utc

__all__ = ["REFUSALS_A_MINUTE", "Audit", "AuditSink"]

REFUSALS_A_MINUTE = 60
"""Entries about refusals of one reason in a minute, as many as lines of the log: strangers cause them."""

_MINUTE = 60.0
_SHOWN_INSTANCE = 8


class AuditSink(Protocol):
    """The place where the lines go.  The server waits for each call."""

    def write(self, entry: dict[str, Any], line: bytes) -> None:
        """Write one entry, all of it or nothing.

        :param entry: its members.
        :param line: the same as a line, with its line feed.
        :raises OSError: it cannot be written now.
        """

    def reopen(self) -> None:
        """Open the place again, because it has been renamed."""

    def close(self) -> None:
        """Write nothing more, until :meth:`reopen` is called."""


@implementer(IServerObserver)
class Audit:
    """Writes the audit log of a server.

    An entry that cannot be written is lost and counted; the log of the server says so once.  Before the next entry that
    can be written there is one about the gap.

    :param sink: where the lines go.
    :param form: what to write of the text of jobs.
    :param is_required: whether a job is refused whose beginning cannot be written.
    :param now: tells the time of the wall clock, in seconds since 1970.
    :param seconds: tells a time that is never set, in seconds.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        sink: AuditSink,
        form: TextForm = TextForm.NONE,
        *,
        is_required: bool = False,
        now: Callable[[], float] = time.time,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._form = form
        self._is_required = is_required
        self._now = now
        self._refusals = {kind: _Share(seconds) for kind in RefusalKind}
        self._server: str | None = None
        self._sequence = 0
        self._lost = 0
        self._lost_since = ""
        self._reason = ""
        self._is_failing = False
        self._is_open = True

    def happened(self, event: ServerEvent) -> None:
        """Write an entry about an event.

        :raises JobRefused: a job begins whose entry cannot be written, and it is required.
        """
        match event:
            case LogsRotated():
                self._sink.reopen()
                return
            case ServerStarted(instance=instance):
                if not self._is_open:
                    self._sink.reopen()
                self._server, self._sequence, self._is_open = instance[:_SHOWN_INSTANCE], 0, True
            case Refusal(kind=kind) if not self._may_tell(kind):
                return
            case ServerStopped():
                for kind in RefusalKind:
                    self._tell_left_out(kind)
        entry = event_entry(event, self._form)
        is_written = entry is None or self._write(entry)
        if isinstance(event, ServerStopped):
            self._sink.close()
            self._is_open = False
        if not is_written and self._is_required and isinstance(event, JobBegan):
            raise JobRefused(RefusalReason.RESOURCES, "the server cannot write its audit log; its own log says why")

    def _may_tell(self, kind: RefusalKind) -> bool:
        share = self._refusals[kind]
        if share.is_over:
            self._tell_left_out(kind)
            share.begin()
        return share.take()

    def _tell_left_out(self, kind: RefusalKind) -> None:
        share = self._refusals[kind]
        count, share.left_out = share.left_out, 0
        if count:
            self._write({"event": "refusals-left-out", "reason": kind.value, "count": count})

    def _write(self, members: dict[str, Any]) -> bool:
        """Write an entry, after one about the gap if there is one; tell whether it is written."""
        time_ = utc(self._now())
        try:
            if self._lost:
                gap = {"event": "gap", "lost": self._lost, "since": self._lost_since, "reason": self._reason}
                self._put(gap, time_)
                self._lost = 0
            self._put(members, time_)
        except OSError as error:
            if not self._lost:
                self._lost_since, self._reason = time_, error.strerror or str(error)
            self._lost += 1
            if not self._is_failing:
                self._is_failing = True
                self.log.critical("entries of the audit log are lost: {reason}", reason=self._reason)
            return False
        if self._is_failing:
            self._is_failing = False
            self.log.info("the audit log is written again")
        return True

    def _put(self, members: dict[str, Any], time_: str) -> None:
        self._sequence += 1  # also of an entry that is lost
        entry = {"v": SCHEMA_VERSION, "time": time_, "server": self._server, "seq": self._sequence, **members}
        self._sink.write(entry, entry_line(entry))


class _Share:
    """The entries of one kind in one minute, and those that were left out since."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.left_out = 0
        self.begin()

    @property
    def is_over(self) -> bool:
        return self._seconds() - self._began >= _MINUTE

    def begin(self) -> None:
        self._began, self._taken = self._seconds(), 0

    def take(self) -> bool:
        if self._taken < REFUSALS_A_MINUTE:
            self._taken += 1
            return True
        self.left_out += 1
        return False
