"""One job of one session: between the channel that a client sees and the job that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from twisted_rsh.core.endings import Ending, OutcomeUnknown, RefusalReason, Refused, TimedOut
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser, JobRefused
from twisted_rsh.server.capacity import Capacity

__all__ = ["ChannelJob"]


@implementer(IJobOwner)
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
        self._accepted = False
        self._over = False
        self._timer: IDelayedCall | None = None
        self._timed_out = False
        self._started_at = clock.seconds()
        self._bytes = dict.fromkeys(Stream, 0)
        self._encoding = ""

    # For the session to tell.

    def start(self, user: IShellUser) -> None:
        """Start the job as `user`, and answer the request."""
        self._encoding = user.encoding
        self._counted = self._capacity.enter_job()
        if not self._counted:
            text = "the server has as many jobs as it can hold; try again later"
            self.job_ended(Refused(RefusalReason.RESOURCES, text), held_open=False)
            return
        try:
            job = user.start_job(self._request, self)
        except JobRefused as refusal:
            self.job_ended(Refused(refusal.reason, refusal.text), held_open=False)
            return
        except Exception:  # noqa: BLE001 - an application's user object; its error is one job's, not the link's
            self.log.failure("starting a job for {account} broke the program", account=self._account)
            self.job_ended(Refused(RefusalReason.RESOURCES, "an error inside the server; its log says more"), False)
            return
        if self._over:
            return
        self._job = job
        self._accept()
        if self._request.timeout is not None:
            self._timer = self._clock.callLater(self._request.timeout, self._time_is_up)

    def write_input(self, data: bytes) -> None:
        """Pass on input from the client."""
        self._bytes[Stream.STDIN] += len(data)
        if self._job is not None:
            self._job.write_input(data)

    def end_input(self) -> None:
        """Pass on the end of the input."""
        if self._job is not None:
            self._job.end_input()

    def send_signal(self, name: str) -> None:
        """Pass on a signal."""
        if self._job is not None:
            self._job.send_signal(name)

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
        self._terminate()

    def disown(self) -> None:
        """The session is gone: end the job, and report to the log alone."""
        self._session = None
        self.abandon()

    # For the job to tell.

    def output_room(self, stream: Stream) -> int:
        return 0 if self._session is None else self._session.room(self.channel, stream)

    def output_received(self, stream: Stream, data: bytes) -> None:
        self._bytes[stream] += len(data)
        if self._session is not None:
            self._accept()
            self._session.send_data(self.channel, stream, data)
            self._flush()

    def output_ended(self, stream: Stream) -> None:
        if self._session is not None:
            self._accept()
            self._session.end_stream(self.channel, stream)
            self._flush()

    def input_consumed(self, size: int) -> None:
        if self._session is not None:
            self._session.consumed(self.channel, Stream.STDIN, size)
            self._flush()

    def input_closed(self) -> None:
        if self._session is not None:
            self._accept()
            self._session.stop_stream(self.channel, Stream.STDIN)
            self._flush()

    def job_ended(self, ending: Ending, held_open: bool) -> None:
        if self._over:
            # Refused because starting it failed half-way, and the half that had started reports as well.
            return
        self._over = True
        if self._counted:
            self._capacity.leave_job()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._timed_out and self._request.timeout is not None:
            ending = TimedOut(self._request.timeout)
        self._job = None
        self._write_log(ending)
        session = self._session
        if session is not None:
            if not isinstance(ending, Refused):
                self._accept()
            self._session = None
            self._report(session, ending, held_open)
            self._flush()
        self._finished(self)

    def _report(self, session: ServerSession, ending: Ending, held_open: bool) -> None:
        try:
            session.report_exit(self.channel, ending, held_open)
        except LocalProtocolError:
            # An application may end a job in a way that cannot travel; its client must still hear of an end.
            self.log.failure("the ending of a job of {account} cannot be sent", account=self._account)
            session.report_exit(self.channel, OutcomeUnknown("the server cannot say how the job ended"), held_open)

    def _accept(self) -> None:
        # A job may tell about itself before start_job has returned; the client must hear of it first.
        if self._session is not None and not self._accepted:
            self._accepted = True
            self._session.accept(self.channel, self._encoding)

    def _time_is_up(self) -> None:
        self._timer = None
        self._timed_out = True
        self._terminate()

    def _terminate(self) -> None:
        if self._job is not None:
            self._job.terminate()

    def _write_log(self, ending: Ending) -> None:
        command = self._request.command if self._request.argv is None else list(self._request.argv)
        self.log.info(
            "job of {account}: {kind}{command}, stdin {stdin}, stdout {stdout}, stderr {stderr} bytes, "
            "{ending}, {seconds:.3f} s",
            account=self._account,
            kind=self._request.kind,
            command=f" {command!a}" if self._log_commands else "",
            stdin=self._bytes[Stream.STDIN],
            stdout=self._bytes[Stream.STDOUT],
            stderr=self._bytes[Stream.STDERR],
            ending=ending,
            seconds=self._clock.seconds() - self._started_at,
        )
