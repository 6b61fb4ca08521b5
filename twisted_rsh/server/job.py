"""One job of one session: between the channel that a client sees and the job that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall
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
from twisted_rsh.core.events import (
    ChannelAbandoned,
    DataReceived,
    Event,
    InspectionRequested,
    RoomGained,
    SignalReceived,
    StreamEnded,
    StreamStopped,
    TerminalResized,
)
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_REPLY_OUTPUT_BYTES
from twisted_rsh.core.requests import Disconnection, JobRequest, Keep
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, IShellUser, ISuspensionListener, JobRefused
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.deadlines import Deadline
from twisted_rsh.server.job_line import MAX_LISTED_CHARACTERS, shortened, write_line
from twisted_rsh.server_events import JobBegan, JobFinished

if TYPE_CHECKING:
    from twisted_rsh.server.session import DurableSession

__all__ = ["ENDS_HELD_SECONDS", "OPENED_HELD_SECONDS", "ChannelJob"]

# Not an attribute of the class: an event would hold the object that logged it.
_log = Logger(f"{__name__}.ChannelJob", observer=leveled_log)

OPENED_HELD_SECONDS = 0.01
"""Seconds for which the answer that a job runs waits for the job's output or its end, which mostly come sooner and tell
the same.  A client that is woken once for a short command instead of twice leaves the processor to it.  The first
output of a command that takes it with the answer waits as long."""

ENDS_HELD_SECONDS = 0.02
"""Seconds for which the end of a stream waits for the end of the job, which tells the same.  They mostly come together,
and then cost one message instead of three.  A user does not notice such a delay."""

_OUR_ERROR = "an error inside the server; its log says more"
"""What a client is told of an exception in the server or in the application."""

_NO_ENDING = JobEnd(OutcomeUnknown("the server cannot say how the job ended"))
"""The end of an application's job that has ended with something that cannot be sent."""

_BROKEN_END = "ending a job of {account} broke the program"


@implementer(IJobOwner, ISuspensionListener)
class ChannelJob:
    """Starts a job that a client asks for, and reports about it on the client's channel.

    Call :meth:`start` or :meth:`refuse` once.

    :param session: the session.
    :param channel: the number of the job's channel.
    :param request: the client's request.
    :param on_disconnect: decides what becomes of the job when the session has no link.
    :ivar channel: as above.
    :ivar on_disconnect: as above.
    :ivar counts_for_key: whether the job counts for a limit of its key.
    """

    def __init__(
        self, session: DurableSession, channel: int, request: JobRequest, on_disconnect: Disconnection
    ) -> None:
        self.channel = channel
        self.on_disconnect = on_disconnect
        self.counts_for_key = False
        self._session = session
        self._request = request
        self._clock = session.sessions.clock
        self._core: ServerSession | None = session.core  # None from the moment at which the client hears no more
        self._job: IJob | None = None
        self._is_counted = False
        self._input_ended = False
        self._is_released = False
        self._is_over = False
        self._cut_short: Ending | None = None
        self._ends: list[Stream] = []
        self._timeout_timer: IDelayedCall | None = None
        self._answer_timer: Deadline | None = None
        self._ends_timer: Deadline | None = None
        self._grace_timer: IDelayedCall | None = None
        self._started_at = self._clock.seconds()
        self._bytes = {Stream.STDIN: 0, Stream.STDOUT: 0, Stream.STDERR: 0}
        self._held: dict[Stream, bytes] = {}  # output that waits for the answer
        self._encoding = ""

    # For the session to call.

    @property
    def host(self) -> int | None:
        """The channel of the persistent shell that the job is a command in, or ``None``."""
        return self._request.in_shell

    @property
    def shell(self) -> IShellJob | None:
        """The job, if it is a persistent shell and runs."""
        return self._job if IShellJob.providedBy(self._job) else None

    def announce(self) -> JobRefused | None:
        """Tell the observers of the job; return the refusal of one that wants it not to run."""
        observers = self._session.sessions.observers
        if observers is None:
            return None
        session = self._session
        return observers.report(
            JobBegan(session=session.info, peer=session.peer, channel=self.channel, request=self._request)
        )

    def start(self, shell: IShellJob | None = None, *, has_no_input: bool = False) -> None:
        """Start the job, and answer the request.

        :param shell: the persistent shell to run it in; ``None`` for a job of its own.
        :param has_no_input: whether its input has ended.
        """
        self._session.core.listen(self.channel, self)
        user = self._session.login.runner
        self._encoding = user.encoding
        bound = self._session.sessions.capacity.enter_job(is_kept=self._is_kept)
        if bound is not None:
            self.refuse(RefusalReason.RESOURCES, bound)
            return
        self._is_counted = True
        job = self._begin(user, shell)
        if job is None or self._is_over:
            return
        self._job = job
        if self._core is None:  # the session has ended from within the call, as by a command that stops the server
            self.disown()
            return
        if IShellJob.providedBy(job):
            job.when_ready(self._ready)
        elif self._core.is_unanswered(self.channel):
            self._answer_timer = self._session.sessions.answers.add(self._ready)
        if self._request.timeout is not None:
            self._timeout_timer = self._clock.callLater(self._request.timeout, self._time_is_up)
        if self._cut_short is not None:
            self._terminate()
        if has_no_input and self._job is not None:
            self._end_input(self._job)

    def _begin(self, user: IShellUser, shell: IShellJob | None) -> IJob | None:
        """Have the job started; return ``None`` if there is none, and then the request has been answered."""
        try:
            job = user.start_job(self._request, self) if shell is None else shell.start_command(self._request, self)
        except JobRefused as refusal:
            self.refuse(refusal.reason, refusal.text)
            return None
        except Exception:  # noqa: BLE001 - an application's user object; its error is one job's, not the link's
            _log.failure("starting a job for {account} broke the program", account=self._account)
            self.refuse(RefusalReason.RESOURCES, _OUR_ERROR)
            return None
        is_job: bool = IJob.providedBy(job)
        if is_job or self._is_over:
            return job
        # Such as a coroutine, which the server could not end.
        line = "the user object of {account} has started a {kind}, which is no job: it has to provide IJob"
        _log.error(line, account=self._account, kind=type(job).__name__)
        self.refuse(RefusalReason.RESOURCES, _OUR_ERROR)
        return None

    def refuse(self, reason: RefusalReason, text: str) -> None:
        """Answer the request with a refusal.

        :param text: one line for the client.
        """
        self.job_ended(JobEnd(Refused(reason, text)))

    def happened(self, event: Event) -> None:
        """Act on an event of the job's channel, or of all channels.  Nothing happens while no job runs."""
        job = self._job
        if job is None:
            return
        match event:
            case DataReceived(stream=stream, data=data):
                self.data_received(stream, data)
            case StreamEnded(stream=stream):
                self.stream_ended(stream)
            case RoomGained(stream=stream):
                self._resume_outputs(OUTPUTS if stream is None else (stream,))
            case StreamStopped(stream=stream):
                job.close_output(stream)
            case SignalReceived(signal=signal):
                job.send_signal(signal)
            case TerminalResized(columns=columns, rows=rows):
                job.resize(columns, rows)
            case InspectionRequested():
                # A client may ask about all of its shells at once, and each look takes some milliseconds.
                self._session.sessions.turns.run(self, self._inspect)
            case ChannelAbandoned():
                self._abandon()

    def data_received(self, stream: Stream, data: bytes) -> None:
        """Give the job its input.  Nothing happens while no job runs."""
        if self._job is not None:
            self._bytes[stream] += len(data)
            self._job.write_input(data)

    def room_gained(self, stream: Stream) -> None:
        """Have the job go on with an output.  Nothing happens while no job runs."""
        if self._job is not None:
            self._job.resume_output(stream)

    def stream_ended(self, _stream: Stream) -> None:
        """Tell the job that its input has ended.  Nothing happens while no job runs."""
        if self._job is not None:
            self._end_input(self._job)

    def begin_grace(self, longest: float) -> None:
        """Let the job go on without a link for its grace, and then end it.  One that is kept goes on to its end.

        :param longest: seconds of the longest grace that a session of this server may give.
        """
        if self._is_over or isinstance(self.on_disconnect, Keep):
            return
        seconds = min(self.on_disconnect.seconds, longest)
        if seconds > 0:
            self._grace_timer = self._clock.callLater(seconds, self._grace_over)
        else:
            self._grace_over()

    def cancel_grace(self) -> None:
        """Forget the grace, because the session has a link again."""
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None

    def disown(self) -> None:
        """End the job, because the session is gone, and report to the log alone."""
        self._core = None
        self._is_released = False
        self.cancel_grace()
        # Many jobs may end together, and each takes a millisecond.
        self._session.sessions.turns.run(self, self._end_unheard)

    def release(self) -> None:
        """Let the job go on to its end, although the session is gone: its input ends, and its output is dropped."""
        self._core = None
        self._is_released = True
        self.cancel_grace()
        with self._guarded():
            if self._job is not None and not self._input_ended:
                self._end_input(self._job)
            self._resume_outputs()

    def describe(self) -> dict[str, object]:
        """Return what the server's own account may know of the job, for :mod:`twisted_rsh.server.control`."""
        return {
            "channel": self.channel,
            "kind": self._request.kind,
            "pid": getattr(self._job, "pid", None),
            "seconds": round(self._clock.seconds() - self._started_at, 3),
            **self._sizes(),
            "on_disconnect": _shown(self.on_disconnect),
            "text": shortened(self._request.text, MAX_LISTED_CHARACTERS),
            "limits": self._request.limits,
        }

    @property
    def bytes_carried(self) -> Mapping[Stream, int]:
        """The bytes of each stream that went through so far."""
        return self._bytes

    # For the job to call.

    def output_room(self, stream: Stream) -> int:
        core = self._core
        if core is None:
            room = DEFAULT_WINDOW if self._is_released else 0
        else:
            room = self._held_room() or core.room(self.channel, stream)
            if not room and core.is_unanswered(self.channel):  # the reason why there is none
                self._answer()
                room = core.room(self.channel, stream)
        if self._request.max_output is None:
            return room
        # One byte more than the limit shows that the job wants to exceed it.
        return min(room, self._output_left(self._request.max_output) + 1)

    def output_received(self, stream: Stream, data: bytes) -> None:
        if type(data) is not bytes:
            # A resume repeats it, and an application may have filled its buffer anew by then.
            data = bytes(memoryview(data))
        limit = self._request.max_output
        exceeds = False
        if limit is not None:
            left = self._output_left(limit)
            exceeds = len(data) > left
            data = data[:left]
        is_first = not self._bytes[stream]
        self._bytes[stream] += len(data)
        if self._core is not None and data:
            if len(data) <= self._held_room():
                self._held[stream] = self._held.get(stream, b"") + data
            else:
                if is_first or self._held:
                    self._answer()
                self._core.send_data(self.channel, stream, data)
                self._session.pump.flush()
        if limit is not None and exceeds:
            self._cut(LimitReached(Limit.OUTPUT, limit))
            self._close_outputs()

    def output_ended(self, stream: Stream) -> None:
        if self._core is not None:
            self._ends.append(stream)
            # While the answer waits for the end of the job, so do these.
            if self._ends_timer is None and self._answer_timer is None:
                self._ends_timer = self._session.sessions.ends.add(self._send_ends)

    def input_consumed(self, size: int) -> None:
        if self._core is not None:
            self._core.consumed(self.channel, Stream.STDIN, size)
            self._session.pump.flush()

    def input_closed(self) -> None:
        core = self._core
        # Nothing is to be said of an input that ended with the request.
        if core is not None and not (self._input_ended and core.is_unanswered(self.channel)):
            self._answer()
            core.stop_stream(self.channel, Stream.STDIN)
            self._session.pump.flush()

    def job_stopped(self, signal: str) -> None:
        text = "a job of {account} is stopped by SIG{signal}; it goes on when it gets SIGCONT"
        _log.warn(text, account=self._account, signal=signal)
        self._report_state(signal)

    def job_continued(self) -> None:
        _log.info("a job of {account} that was stopped goes on", account=self._account)
        self._report_state(None)

    def job_ended(self, end: JobEnd) -> None:
        if self._is_over:
            # The job was refused because starting it failed half-way, and the half that had started reports as well.
            return
        self._is_over = True
        is_end: bool = isinstance(end, JobEnd) and isinstance(end.ending, Ending)
        if not is_end:
            _log.error("a job of {account} has ended with {end!a}, which is no JobEnd", account=self._account, end=end)
            end = _NO_ENDING
        for timer in (self._timeout_timer, self._answer_timer, self._ends_timer, self._grace_timer):
            if timer is not None:
                timer.cancel()
        self._timeout_timer = self._answer_timer = self._ends_timer = self._grace_timer = None
        if self._cut_short is not None:
            end = replace(end, ending=self._cut_short)
        pid = getattr(self._job, "pid", None)
        self._job = None
        unread = 0
        if self._core is not None:
            core, self._core = self._core, None
            self._report_end(core, end)
            self._session.pump.flush()
            unread = core.unread_output(self.channel)
        # Before the job is counted out: the end of the last one is the end of a server that stops.
        self._tell_observers(end, pid)
        if self._is_counted:
            self._session.sessions.capacity.leave_job(unread, is_kept=self._is_kept)
        self._session.jobs.job_finished(self, unread)
        # Last: the client need not wait for it.
        write_line(
            _log,
            self._account,
            self._request,
            end.ending,
            self._sizes(),
            self._clock.seconds() - self._started_at,
            has_text=self._session.sessions.log_commands,
        )

    @property
    def _is_kept(self) -> bool:
        """Whether the job counts as one that is kept: a command in a persistent shell counts with its shell."""
        return self._request.in_shell is None and isinstance(self.on_disconnect, Keep)

    @property
    def _account(self) -> str:
        """The client's name in the log."""
        return self._session.login.account

    def _sizes(self) -> dict[str, int]:
        """Return the bytes of each stream by its name."""
        sizes = self._bytes
        return {
            "stdin": sizes[Stream.STDIN],
            "stdout": sizes[Stream.STDOUT],
            "stderr": sizes[Stream.STDERR],
        }

    def _output_left(self, limit: int) -> int:
        """Return the bytes of output that the job may still write."""
        return limit - self._bytes[Stream.STDOUT] - self._bytes[Stream.STDERR]

    def _answer(self) -> None:
        """Tell the client that the job runs, unless it knows; it must learn that before anything else of the job.

        A job may report about itself before it has been started, from within the call that starts it.
        """
        if self._core is not None and self._core.is_unanswered(self.channel):
            self._core.accept(self.channel, self._encoding, *self._take_held())

    def _held_room(self) -> int:
        """Return the bytes of output that may still wait for the answer; 0 if the client takes none with it."""
        if self._answer_timer is None or self._core is None or not self._core.takes_reply(self.channel):
            return 0
        return MAX_REPLY_OUTPUT_BYTES - sum(map(len, self._held.values()))

    def _take_held(self) -> tuple[bytes, bytes]:
        held, self._held = self._held, {}
        return held.get(Stream.STDOUT, b""), held.get(Stream.STDERR, b"")

    def _ready(self) -> None:
        self._answer_timer = None
        self._answer()
        if self._ends:
            self._ends_timer = self._session.sessions.ends.add(self._send_ends)
        self._session.pump.flush()

    def _send_ends(self) -> None:
        self._ends_timer = None
        ends, self._ends = self._ends, []
        if self._core is not None:
            self._answer()
            for stream in ends:
                self._core.end_stream(self.channel, stream)
            self._session.pump.flush()

    def _report_state(self, signal: str | None) -> None:
        if self._core is not None:
            self._answer()
            self._core.report_suspension(self.channel, signal)
            self._session.pump.flush()

    def _inspect(self, _until: float) -> bool:
        if self._core is not None:
            shell = self.shell
            with _log.failuresHandled("a look at a shell of {account} broke it", account=self._account) as look:
                self._core.report_inspection(self.channel, ShellState() if shell is None else shell.inspect())
            if look.failed:  # a shell of an application; the client must still get an answer
                self._core.report_inspection(self.channel, ShellState())
            self._session.pump.flush()
        return False

    def _report_end(self, core: ServerSession, end: JobEnd) -> None:
        stdout, stderr = self._take_held()
        try:
            if core.is_unanswered(self.channel) and not isinstance(end.ending, Refused):
                core.report_run(self.channel, self._encoding, end, stdout, stderr)
            else:
                core.report_exit(self.channel, end)
        except Exception:  # noqa: BLE001 - whatever an application has put there
            # An application may end a job in a way that cannot travel; its client must still hear of an end.
            _log.failure("the ending of a job of {account} cannot be sent", account=self._account)
            if core.is_unanswered(self.channel):
                core.accept(self.channel, self._encoding, stdout, stderr)
            core.report_exit(self.channel, _NO_ENDING)

    # The job may end from within each of these calls.

    def _end_input(self, job: IJob) -> None:
        self._input_ended = True
        job.end_input()

    def _resume_outputs(self, streams: Iterable[Stream] = OUTPUTS) -> None:
        for stream in streams:
            if self._job is not None:
                self._job.resume_output(stream)

    def _close_outputs(self) -> None:
        for stream in OUTPUTS:
            if self._job is not None:
                self._job.close_output(stream)

    def _terminate(self) -> None:
        if self._job is not None:
            self._job.terminate()

    def _abandon(self) -> None:
        try:
            self._close_outputs()
        finally:  # also if an application's job raises there
            self._terminate()

    def _guarded(self) -> AbstractContextManager[object]:
        # An application's job that breaks here must not keep the others.
        return _log.failuresHandled(_BROKEN_END, account=self._account)

    def _end_guarded(self, end: Callable[[], None]) -> None:
        """End the job.  Give it up if it breaks: otherwise its client would wait for ever, and a server that stops."""
        try:
            end()
        except Exception:  # noqa: BLE001 - an application's job
            _log.failure(_BROKEN_END, account=self._account)
            self._cut_short = None
            self.job_ended(JobEnd(OutcomeUnknown("the server could not end the job; its log says more")))

    def _grace_over(self) -> None:
        self._grace_timer = None
        self._session.sessions.turns.run(self, self._end_absent)

    def _end_absent(self, _until: float) -> bool:
        self._end_guarded(self._terminate)
        return False

    def _end_unheard(self, _until: float) -> bool:
        with self._guarded():
            self._close_outputs()
        self._end_guarded(self._terminate)
        return False

    def _time_is_up(self) -> None:
        self._timeout_timer = None
        self._end_guarded(self._cut_for_time)

    def _cut_for_time(self) -> None:
        if self._request.timeout is not None:
            self._cut(TimedOut(self._request.timeout))

    def _cut(self, ending: Ending) -> None:
        """End the job early, for a reason that is then its ending."""
        if self._cut_short is None:
            self._cut_short = ending
        self._terminate()

    def _tell_observers(self, end: JobEnd, pid: int | None) -> None:
        session = self._session
        if session.sessions.observers is not None:
            session.sessions.observers.report(
                JobFinished(
                    session=session.info,
                    peer=session.peer,
                    channel=self.channel,
                    request=self._request,
                    end=end,
                    pid=pid,
                    seconds=self._clock.seconds() - self._started_at,
                    **self._sizes(),
                )
            )


def _shown(policy: Disconnection) -> str:
    if isinstance(policy, Keep):
        return "keep"
    return f"grace:{policy.seconds:g}" if policy.seconds else "kill"
