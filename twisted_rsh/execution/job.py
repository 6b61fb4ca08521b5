"""A job that is one process: it runs the process for an owner and reports the end after the last output."""

from __future__ import annotations

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown
from twisted_rsh.core.requests import Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.lifetime import JobLifetime, OutputBacklog
from twisted_rsh.execution.plan import refusal_of
from twisted_rsh.execution.processes.exits import ending_of
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import FlowControlledProtocol
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import spawn_process
from twisted_rsh.execution.trees.limits import NO_LIMITS, UsageLimits
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.interfaces import IJob, IJobOwner

__all__ = ["LINGER_SECONDS", "MAX_LINGER_SECONDS", "ProcessJob", "start_job"]

LINGER_SECONDS = 0.25
"""Seconds of silence after the process's exit until an output is closed that a surviving process holds open: enough for
the rest of a pipeline to finish, and too short to notice at a prompt."""

MAX_LINGER_SECONDS = 1.0
"""Seconds after the exit until a survivor's output is closed though the survivor still writes."""

_STREAMS = tuple(Stream)
"""The streams by the numbers of their descriptors."""


def start_job(
    reactor: IJobReactor,
    plan: SpawnPlan,
    owner: IJobOwner,
    tree: JobTree,
    terminal: Terminal | None = None,
    *,
    limits: UsageLimits = NO_LIMITS,
) -> ProcessJob:
    """Start a process for an owner.

    :param reactor: watches its pipes and its exit, and tells the time.
    :param plan: the program to execute (:func:`twisted_rsh.execution.plan.plan_job`).
    :param owner: gets its output and its ending, from the reactor only, never from within this call.
    :param tree: a new tree for this job.
    :param terminal: the terminal to give it, or ``None`` for pipes.
    :param limits: the resources that all of its processes may use together.
    :returns: the running job.
    :raises JobRefused: it was not started: `NOT_FOUND` (also when a script's interpreter is missing),
        `NOT_EXECUTABLE`, `BAD_CWD`, `TOO_LONG`, `NO_TERMINAL` or `RESOURCES`.
    """
    try:
        return ProcessJob(reactor, plan, owner, tree, terminal, limits)
    except OSError as e:
        raise refusal_of(e, plan) from None


@implementer(IJob)
class ProcessJob(FlowControlledProtocol):
    """A running process and its owner; made by :func:`start_job`.  Twisted calls the camelCase methods.

    Output is read only as far as the owner has room.  No output is held here, so a slow reader stops the process.

    The end is reported when the process has exited and both outputs were read to their end.  A surviving process may
    hold an output open.  Then the bytes that the pipe held at the exit are delivered, however slow the reader is, and
    the output is closed after a short linger.  The end of a job that is made to end is reported when its whole tree is
    gone or was killed.
    """

    def __init__(
        self,
        reactor: IJobReactor,
        plan: SpawnPlan,
        owner: IJobOwner,
        tree: JobTree,
        terminal: Terminal | None,
        limits: UsageLimits,
    ) -> None:
        self._reactor = reactor
        self._owner = owner
        self._life = JobLifetime(reactor, tree, limits, self)
        self._open = set(OUTPUTS)
        self._unconsumed = 0
        self._input_ended = False
        self._has_exited = False
        self._ending: Ending = OutcomeUnknown("the job has not ended")
        self._held_open = False
        self._exited_at = self._last_output_at = 0.0
        self._linger: IDelayedCall | None = None
        if terminal is not None:
            self._life.has_terminal()
        self._process = spawn_process(reactor, self, self._life.marked(plan), terminal=terminal)
        self._life.started(self._process)
        self._backlog = OutputBacklog(self._process)

    @property
    def pid(self) -> int | None:
        """Its process id, for people; ``None`` once the process has exited."""
        return self._process.pid

    # IJob

    def write_input(self, data: bytes) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.write_input`."""
        self._unconsumed += len(data)
        self._process.write(data)

    def end_input(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.end_input`."""
        self._input_ended = True
        self._process.closeStdin()

    def send_signal(self, name: str) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.send_signal`.

        Nothing happens when this system has no such signal, or when the whole job became another user, as with
        ``sudo``.  If the signal ends the job's first process, the rest of the job is ended too, wherever it is.
        """
        try:
            self._process.signalProcess(name)
        except ProcessExitedAlready:
            self._life.signal_rest(name)
        except (ValueError, PermissionError):
            pass
        else:
            self._life.signal_sent(name)

    def resize(self, columns: int, rows: int) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resize`."""
        self._process.resize(columns, rows)

    def resume_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resume_output`."""
        self._process.resume_output(stream)

    def close_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.close_output`; the owner's `output_ended` follows."""
        self._process.close_output(stream)

    def terminate(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.terminate`: the kill ladder ends the job."""
        self._life.terminate()

    # FlowControlledProtocol

    def output_room(self, childFD: int) -> int:
        """Return the owner's room for an output."""
        return self._owner.output_room(_STREAMS[childFD])

    def input_taken(self, size: int) -> None:
        """Report to the owner that the input took bytes."""
        self._unconsumed -= size
        self._owner.input_consumed(size)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Hand output to the owner."""
        stream = _STREAMS[childFD]
        self._owner.output_received(stream, data)
        if not self._has_exited:
            return
        self._last_output_at = self._reactor.seconds()
        if self._backlog.delivered(stream, len(data)):
            self._arm_linger(0)

    def childConnectionLost(self, childFD: int) -> None:
        """Report a closed pipe to the owner; either side may have closed it."""
        stream = _STREAMS[childFD]
        if stream is not Stream.STDIN:
            self._open.discard(stream)
            self._owner.output_ended(stream)
            self._conclude()
        elif (self._unconsumed or not self._input_ended) and not (self._has_exited and not self._open):
            self._owner.input_closed()

    def processExited(self, reason: Failure) -> None:
        """Note the exit.  The bytes that are in the pipes now will be delivered."""
        self._ending = ending_of(reason.value)
        self._life.exited(self._ending)
        self._has_exited = True
        self._exited_at = self._last_output_at = self._reactor.seconds()
        self._backlog.measure()
        if self._open:
            self._check_linger()
        self._conclude()

    def processEnded(self, reason: Failure) -> None:
        """End the lifetime of the job: the process has exited and its pipes are closed."""
        self._life.ended()

    # The end

    def tell_end(self) -> None:
        """Report the ending to the owner; the job's lifetime calls this once."""
        ending = self._life.limit_reached or self._ending
        self._owner.job_ended(JobEnd(ending, self._held_open, self._life.usage))

    def _conclude(self) -> None:
        """Close the last pipe when the process has exited and its output is complete."""
        if self._has_exited and not self._open:
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None
            self._process.discard_input()

    def _arm_linger(self, delay: float) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._linger = self._reactor.callLater(delay, self._check_linger)

    def _check_linger(self) -> None:
        """After the exit, close each output that is complete, or that only a survivor holds open."""
        self._linger = None
        now = self._reactor.seconds()
        is_silent = now >= self._last_output_at + LINGER_SECONDS
        is_late = now >= self._exited_at + MAX_LINGER_SECONDS
        is_waiting = False
        for stream in self._open:
            if self._process.is_output_exhausted(stream):
                self._process.close_output(stream)
            elif self._backlog.has(stream):
                continue  # its reader is slow; the last byte of the backlog arms the linger again
            elif is_late or (is_silent and not self._process.buffered_output(stream)):
                self._held_open = True
                self._process.close_output(stream)
            else:
                is_waiting = True
        if is_waiting:
            due = self._exited_at + MAX_LINGER_SECONDS
            self._arm_linger((due if is_silent else min(due, self._last_output_at + LINGER_SECONDS)) - now)
