"""One job of one session: between the channel that a client sees and the job that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from twisted_rsh.core.endings import (
    Ending,
    JobEnd,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    TimedOut,
)
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_OFFSET
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, ISuspensionListener, JobRefused
from twisted_rsh.server.capacity import Capacity

__all__ = ["ENDS_HELD_SECONDS", "OPENED_HELD_SECONDS", "ChannelJob"]

OPENED_HELD_SECONDS = 0.01
"""Seconds for which the answer that a job runs waits for something else to tell of it, which mostly comes sooner: its
output or its end.  A client that is woken once for a short command instead of twice leaves the processor to it."""

ENDS_HELD_SECONDS = 0.02
"""Seconds for which the end of a stream waits for the end of the job, which says the same: they mostly come together,
and then cost one message instead of three.  Nobody notices such a delay."""


@implementer(IJobOwner, ISuspensionListener)
class ChannelJob:
    """Starts what a client asked for, and reports on its channel.

    :param channel: the number of its channel.
    :param request: what the client asked for.
    :param session: the session's core.
    :param flush: writes what the session wants written.
    :param clock: keeps the job's time-out, and measures how long it takes.
    :param finished: called once, with this object, when the job has ended.
    :param capacity: whether the server has room for one more job.
    :param account: how the log calls who asked, such as ``"ada from 127.0.0.1:50000"``.
    :param log_commands: whether the log names the command.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        channel: int,
        request: JobRequest,
        session: ServerSession,
        flush: Callable[[], None],
        clock: IReactorTime,
        finished: Callable[[ChannelJob], None],
        *,
        capacity: Capacity,
        account: str,
        log_commands: bool,
    ) -> None:
        self.channel = channel
        self._request = request
        self._session: ServerSession | None = session
        self._flush = flush
        self._clock = clock
        self._finished = finished
        self._capacity = capacity
        self._counted = False
        self._account = account
        self._log_commands = log_commands
        self._job: IJob | None = None
        self._input_ended = False
        self._released = False
        self._accepted = False
        self._over = False
        self._timer: IDelayedCall | None = None
        self._cut_short: Ending | None = None
        self._accept_timer: IDelayedCall | None = None
        self._ends: list[Stream] = []
        self._ends_timer: IDelayedCall | None = None
        self._started_at = clock.seconds()
        self._bytes = dict.fromkeys(Stream, 0)
        self._encoding = ""

    # For the session to tell.

    @property
    def host(self) -> int | None:
        """The channel of the persistent shell that the job is a command in, or ``None``."""
        return self._request.in_shell

    @property
    def shell(self) -> IShellJob | None:
        """The job, if it is a persistent shell and runs."""
        return self._job if IShellJob.providedBy(self._job) else None

    def start(self, start_job: Callable[[JobRequest, IJobOwner], IJob], encoding: str) -> None:
        """Start the job, and answer the request.

        :param start_job: starts it: that of the user object, or of a persistent shell.
        :param encoding: the code page of its text.
        """
        self._encoding = encoding
        self._counted = self._capacity.enter_job()
        if not self._counted:
            self.refuse(RefusalReason.RESOURCES, "the server has as many jobs as it can hold; try again later")
            return
        try:
            job = start_job(self._request, self)
        except JobRefused as refusal:
            self.refuse(refusal.reason, refusal.text)
            return
        except Exception:  # noqa: BLE001 - an application's user object; its error is one job's, not the link's
            self.log.failure("starting a job for {account} broke the program", account=self._account)
            self.refuse(RefusalReason.RESOURCES, "an error inside the server; its log says more")
            return
        if self._over:
            return
        self._job = job
        if IShellJob.providedBy(job):
            job.when_ready(self._ready)
        elif not self._accepted:
            self._accept_timer = self._clock.callLater(OPENED_HELD_SECONDS, self._ready)
        if self._request.timeout is not None:
            self._timer = self._clock.callLater(self._request.timeout, self._time_is_up)
        if self._cut_short is not None:
            self.terminate()

    def refuse(self, reason: RefusalReason, text: str) -> None:
        """Answer the request with a refusal.

        :param text: one line for the client.
        """
        self.job_ended(JobEnd(Refused(reason, text)))

    def write_input(self, data: bytes) -> None:
        """Pass on input from the client."""
        self._bytes[Stream.STDIN] += len(data)
        if self._job is not None:
            self._job.write_input(data)

    def end_input(self) -> None:
        """Pass on the end of the input."""
        self._input_ended = True
        if self._job is not None:
            self._job.end_input()

    def send_signal(self, name: str) -> None:
        """Pass on a signal."""
        if self._job is not None:
            self._job.send_signal(name)

    def resize(self, columns: int, rows: int) -> None:
        """Pass on the size of the client's terminal."""
        if self._job is not None:
            self._job.resize(columns, rows)

    def resume_output(self, stream: Stream) -> None:
        """There is room again on a stream."""
        if self._job is not None:
            self._job.resume_output(stream)

    def close_output(self, stream: Stream) -> None:
        """The client wants no more of a stream."""
        if self._job is not None:
            self._job.close_output(stream)

    def abandon(self) -> None:
        """The client is not interested any more: end the job, and still report its end on the channel."""
        for stream in OUTPUTS:
            self.close_output(stream)
        self.terminate()

    def terminate(self) -> None:
        """End the job, and report its last output and its end on the channel, as ever."""
        if self._job is not None:
            self._job.terminate()

    def disown(self) -> None:
        """The session is gone: end the job, and report to the log alone."""
        self._session = None
        self._released = False
        self.abandon()

    def release(self) -> None:
        """The session is gone, and the job goes on: its input ends, its output is dropped, and the log has its end."""
        self._session = None
        self._released = True
        if not self._input_ended:
            self.end_input()
        for stream in OUTPUTS:
            self.resume_output(stream)

    def describe(self) -> dict[str, object]:
        """Return what its owner's account may know of it, for :mod:`twisted_rsh.server.control`."""
        return {
            "channel": self.channel,
            "kind": self._request.kind,
            "pid": getattr(self._job, "pid", None),
            "seconds": round(self._clock.seconds() - self._started_at, 3),
            **{stream.name.lower(): size for stream, size in self._bytes.items()},
        }

    # For the job to tell.

    def output_room(self, stream: Stream) -> int:
        if self._session is None:
            return min(DEFAULT_WINDOW, self._output_left + 1) if self._released else 0
        self._accept()  # there is no room on a channel that is not open
        # One byte more than the limit shows that the job wants to exceed it.
        return min(self._session.room(self.channel, stream), self._output_left + 1)

    def output_received(self, stream: Stream, data: bytes) -> None:
        left = self._output_left
        exceeds = len(data) > left
        if exceeds:
            data = data[:left]
        self._bytes[stream] += len(data)
        if self._session is not None and data:
            self._accept()
            self._session.send_data(self.channel, stream, data)
            self._flush()
        if exceeds and self._request.max_output is not None:
            self._cut(LimitReached(Limit.OUTPUT, self._request.max_output))
            for output in OUTPUTS:
                self.close_output(output)

    def output_ended(self, stream: Stream) -> None:
        if self._session is not None:
            self._ends.append(stream)
            if self._ends_timer is None:
                self._ends_timer = self._clock.callLater(ENDS_HELD_SECONDS, self._send_ends)

    def input_consumed(self, size: int) -> None:
        if self._session is not None:
            self._session.consumed(self.channel, Stream.STDIN, size)
            self._flush()

    def input_closed(self) -> None:
        if self._session is not None:
            self._accept()
            self._session.stop_stream(self.channel, Stream.STDIN)
            self._flush()

    def job_stopped(self, signal: str) -> None:
        text = "a job of {account} is stopped by SIG{signal}; it goes on when it gets SIGCONT"
        self.log.warn(text, account=self._account, signal=signal)
        self._tell_state(signal)

    def job_continued(self) -> None:
        self.log.info("a job of {account} that was stopped goes on", account=self._account)
        self._tell_state(None)

    def job_ended(self, end: JobEnd) -> None:
        if self._over:
            # Refused because starting it failed half-way, and the half that had started reports as well.
            return
        self._over = True
        if self._counted:
            self._capacity.leave_job()
        for timer in (self._timer, self._ends_timer, self._accept_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._ends_timer = self._accept_timer = None
        if self._cut_short is not None:
            end = replace(end, ending=self._cut_short)
        self._job = None
        session = self._session
        if session is not None:
            if not isinstance(end.ending, Refused):
                self._accept()
            self._session = None
            self._report(session, end)
            self._flush()
        self._finished(self)
        # Last: the client need not wait for it.
        self._write_log(end.ending)

    def _tell_state(self, signal: str | None) -> None:
        if self._session is not None:
            self._accept()
            self._session.report_suspension(self.channel, signal)
            self._flush()

    def _report(self, session: ServerSession, end: JobEnd) -> None:
        try:
            session.report_exit(self.channel, end)
        except LocalProtocolError:
            # An application may end a job in a way that cannot travel; its client must still hear of an end.
            self.log.failure("the ending of a job of {account} cannot be sent", account=self._account)
            session.report_exit(self.channel, JobEnd(OutcomeUnknown("the server cannot say how the job ended")))

    @property
    def _output_left(self) -> int:
        """Bytes of output that the job may still write; more than any stream has when there is no limit."""
        if self._request.max_output is None:
            return MAX_OFFSET
        return self._request.max_output - self._bytes[Stream.STDOUT] - self._bytes[Stream.STDERR]

    def _send_ends(self) -> None:
        self._ends_timer = None
        ends, self._ends = self._ends, []
        if self._session is not None:
            self._accept()
            for stream in ends:
                self._session.end_stream(self.channel, stream)
            self._flush()

    def _ready(self) -> None:
        self._accept_timer = None
        self._accept()
        self._flush()

    def _accept(self) -> None:
        # A job may tell about itself before start_job has returned; the client must hear of it first.
        if self._session is not None and not self._accepted:
            self._accepted = True
            self._session.accept(self.channel, self._encoding)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._request.timeout is not None:
            self._cut(TimedOut(self._request.timeout))

    def _cut(self, ending: Ending) -> None:
        """End the job early, for a reason that is then its ending."""
        if self._cut_short is None:
            self._cut_short = ending
        self.terminate()

    def _write_log(self, ending: Ending) -> None:
        request = self._request
        command = request.shell if request.command is None else request.command
        text = ascii(command if request.argv is None else list(request.argv))
        self.log.info(
            "job of {account}: {kind}{command}, stdin {stdin}, stdout {stdout}, stderr {stderr} bytes, "
            "{ending}, {seconds:.3f} s",
            account=self._account,
            kind=request.kind,
            command=f" {text}" if self._log_commands else "",
            stdin=self._bytes[Stream.STDIN],
            stdout=self._bytes[Stream.STDOUT],
            stderr=self._bytes[Stream.STDERR],
            ending=ending,
            seconds=self._clock.seconds() - self._started_at,
        )
