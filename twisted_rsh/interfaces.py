"""The interfaces between the server and the jobs that it runs, which an embedding application may provide.

A user who has logged in is an :class:`IShellUser`, the avatar of ``twisted.cred``.  It starts jobs: the server calls
each job through :class:`IJob`, and the job calls the server through :class:`IJobOwner`.  What happens at the server it
tells to each :class:`IServerObserver`.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Attribute, Interface

from twisted_rsh.core.endings import JobEnd, RefusalReason
from twisted_rsh.core.errors import Error
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.server_events import ServerEvent

__all__ = [
    "IJob",
    "IJobOwner",
    "ILimitedUser",
    "IServerObserver",
    "IShellJob",
    "IShellUser",
    "ISuspensionListener",
    "JobRefused",
]


class JobRefused(Error):
    """A user object or a shell refuses to run a job; the client gets the reason as the job's ending.

    :ivar reason: the kind of the refusal.
    :ivar text: one line for the client's user.
    """

    def __init__(self, reason: RefusalReason, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text


class IJobOwner(Interface):
    """The owner of a job, which takes the job's output and its ending.

    A job calls these methods in the reactor's thread only.  It may call them from within :meth:`IShellUser.start_job`.
    """

    def output_room(stream: Stream) -> int:
        """Return how many bytes of a stream the owner takes now.

        :param stream: ``STDOUT`` or ``STDERR``.
        :returns: bytes.  At 0 the job stops writing until the owner calls :meth:`IJob.resume_output`.
        """

    def output_received(stream: Stream, data: bytes) -> None:
        """Take output of the job.

        :param stream: ``STDOUT`` or ``STDERR``.
        :param data: at least one byte, and no more than :meth:`output_room` has just returned.
        """

    def output_ended(stream: Stream) -> None:
        """Learn that a stream has ended.  Called at most once for each stream, and before :meth:`job_ended`.

        :param stream: ``STDOUT`` or ``STDERR``.
        """

    def input_consumed(size: int) -> None:
        """Learn that the job has consumed input: it holds these bytes no more, because its pipe has taken them.

        :param size: the number of bytes, at least 1.
        """

    def input_closed() -> None:
        """Learn that the job reads no more input, and drops the input that it still gets.  Called at most once."""

    def job_ended(end: JobEnd) -> None:
        """Learn that the job has ended.  Called exactly once, after all of its output; it is the job's last call.

        :param end: how the job ended, and what else is known.
        """


class ISuspensionListener(Interface):
    """An owner that also learns when a signal suspends its job.  An owner may provide it besides :class:`IJobOwner`.

    A suspended job has not ended: it waits for the signal ``CONT``, or for a signal that ends it.

    A command in a persistent shell is suspended while the shell itself is suspended.  On pipes the command is
    suspended, too, while all processes that the shell waits for are; the signal is then given as ``"STOP"``, whichever
    it was.  On a terminal that is an ending instead, :class:`~twisted_rsh.core.endings.Stopped`, because the shell goes
    on.
    """

    def job_stopped(signal: str) -> None:
        """Learn that a signal has suspended the job, about a second ago at most.

        :param signal: the signal's name without ``SIG``: ``"STOP"``, ``"TSTP"``, ``"TTIN"`` or ``"TTOU"``.
        """

    def job_continued() -> None:
        """Learn that the job runs again.  Not called for a job that runs again only to end."""


class IJob(Interface):
    """One running job.  After it has called :meth:`IJobOwner.job_ended`, its methods do nothing."""

    def write_input(data: bytes) -> None:
        """Give the job input.  The job reports the bytes that it has consumed to :meth:`IJobOwner.input_consumed`.

        :param data: bytes; no more than a window of them are unconsumed at any time, which is
            the session's, or has grown to :data:`twisted_rsh.core.limits.MAX_WINDOW` at most.
        """

    def end_input() -> None:
        """End the job's input, after the bytes that were given."""

    def send_signal(name: str) -> None:
        """Send a signal to the job's whole process group.

        :param name: one of :data:`twisted_rsh.core.endings.SIGNAL_NAMES`.
        """

    def resize(columns: int, rows: int) -> None:
        """Change the size of the job's terminal.  Nothing happens if it has none.

        :param columns: characters in a line, at least 1.
        :param rows: lines, at least 1.
        """

    def resume_output(stream: Stream) -> None:
        """Write again: a stream has room.  :meth:`IJobOwner.output_room` returns how much.

        :param stream: ``STDOUT`` or ``STDERR``.
        """

    def close_output(stream: Stream) -> None:
        """Close a stream of which the client wants no more: the job gets a broken pipe.

        :param stream: ``STDOUT`` or ``STDERR``.
        """

    def terminate() -> None:
        """End the job and its whole process group, politely first.  May be called more than once."""


class IShellJob(IJob):
    """A persistent shell, which runs one command after another and remembers what they change: a job as well.

    Output while no command runs, as of a background process, is this job's own output.  This job ends when the shell
    ends.
    """

    def when_ready(call: Callable[[], None]) -> None:
        """Call something once the shell takes commands.

        :param call: called once, from within this method if the shell takes commands already.  A shell that never does
            ends with :class:`~twisted_rsh.core.endings.Refused` instead.
        """

    def start_command(request: JobRequest, owner: IJobOwner) -> IJob:
        """Run a command in the shell.

        :param request: the command; its `in_shell` is ignored.
        :param owner: takes the command's output and ending; the shell writes no more than its `output_room`.
        :returns: the running command.  Its `terminate` ends the command, and the shell only if nothing else ends it.
        :raises JobRefused: the command does not run: `SHELL_BUSY`, `SHELL_GONE`, `BAD_TEXT` or `TOO_LONG`.
        """

    def inspect() -> ShellState:
        """Look at the state of the shell, at this moment and without asking it.

        :returns: its folder, its background jobs, and whether its command waits for input, each as far as it is known.
        """


class IShellUser(Interface):
    """A user who has logged in: the avatar of this package's portals.

    An application provides its own to decide what its users may run, and how.
    """

    name: str = Attribute("The user's name, for the log.")

    encoding: str = Attribute("The code page of this user's jobs, as Python names it: ``'utf-8'``, ``'gbk'``.")

    def start_job(request: JobRequest, owner: IJobOwner) -> IJob:
        """Start a job.

        :param request: the client's request; never for a command in a persistent shell that runs already.
        :param owner: takes the job's output and ending; it may provide :class:`ISuspensionListener` as well.
        :returns: the running job; for a request with a `shell` it provides :class:`IShellJob`.
        :raises JobRefused: the job does not run; nothing was started.
        """


class IServerObserver(Interface):
    """Learns what happens at a server: an audit, metrics, an application's own.  Name it in ``ServiceOptions``.

    The server calls it in the reactor's thread and waits, so it must be quick.
    """

    def happened(event: ServerEvent) -> None:
        """Learn of an event.

        Leave a kind of event alone that you do not know.  An exception is logged, and changes nothing else.

        :param event: one of the classes of :mod:`twisted_rsh.server_events`.
        :raises JobRefused: the event is a :class:`~twisted_rsh.server_events.JobBegan`, and this job must not run.
        """


class ILimitedUser(IShellUser):
    """A user that can bound what the processes of its jobs use.

    A login whose key has such a bound in ``authorized_keys`` is refused where the user object does not provide this.
    """

    def limit(*, cpu: float | None, memory: int | None, processes: int | None) -> IShellUser:
        """Return the same user with narrower bounds; this one stays as it is.

        :param cpu: seconds of processor time of each job; ``None`` for no further bound, and so are the others.
        :param memory: bytes of memory of each job.
        :param processes: processes of each job.
        :raises ValueError: this system cannot keep such bounds.
        """
