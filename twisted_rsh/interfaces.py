"""The seams: what an embedding application may provide, and what the parts of this package ask of each other.

A job is written against :class:`IJobOwner` and reached through :class:`IJob`; a user who has logged in is an
:class:`IShellUser`, the avatar that ``twisted.cred`` hands out.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Attribute, Interface

from twisted_rsh.core.endings import JobEnd, RefusalReason
from twisted_rsh.core.errors import Error
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream

__all__ = ["IJob", "IJobOwner", "IShellJob", "IShellUser", "ISuspensionListener", "JobRefused"]


class JobRefused(Error):
    """A job will not be run.

    :ivar reason: which kind of refusal.
    :ivar text: one line for the person who asked.
    """

    def __init__(self, reason: RefusalReason, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text


class IJobOwner(Interface):
    """Whoever started a job: takes what it writes, within the room there is, and learns how it ended.

    A job calls these from the reactor's thread only, and may do so from within :meth:`IShellUser.start_job`.
    """

    def output_room(stream: Stream) -> int:
        """Say how many bytes of this stream may be handed over now.

        :param stream: ``STDOUT`` or ``STDERR``.
        :returns: bytes, 0 when there is no room: stop reading, :meth:`IJob.resume_output` tells when to go on.
        """

    def output_received(stream: Stream, data: bytes) -> None:
        """Take output of the job.

        :param data: at least one byte, and no more than :meth:`output_room` just said.
        """

    def output_ended(stream: Stream) -> None:
        """Learn that no more output comes on this stream.  Called at most once for each, and before `job_ended`."""

    def input_consumed(size: int) -> None:
        """Learn that the job took so many more bytes of its input: its pipe took them, they are held nowhere.

        :param size: bytes, at least 1.
        """

    def input_closed() -> None:
        """Learn that the job reads no more input; what it is given from now on is dropped.  Called at most once."""

    def job_ended(end: JobEnd) -> None:
        """Learn how the job ended.  The last call a job makes, after all of its output; made exactly once.

        :param end: how, and what is known beside that.
        """


class ISuspensionListener(Interface):
    """What an owner may provide beside :class:`IJobOwner`: learns that its job hangs because a signal has suspended it.

    The job has not ended, and does not by itself: somebody sends ``CONT``, or ends it.  A command in a persistent shell
    is suspended while the shell is, and on pipes while all is that the shell waits for, whatever the signal was then,
    ``STOP``; on a terminal that is an ending instead, :class:`~twisted_rsh.core.endings.Stopped`, as the shell goes on.
    """

    def job_stopped(signal: str) -> None:
        """Learn that the job was suspended, about a second ago at most.

        :param signal: the signal's name without ``SIG``: ``"STOP"``, ``"TSTP"``, ``"TTIN"`` or ``"TTOU"``.
        """

    def job_continued() -> None:
        """Learn that it goes on.  Not called when it goes on only to end."""


class IJob(Interface):
    """One running job.  After its owner's `job_ended` every method is a harmless no-op."""

    def write_input(data: bytes) -> None:
        """Give the job input.  It reports what it took with :meth:`IJobOwner.input_consumed`.

        :param data: bytes; the owner never has more than its window of bytes unconsumed.
        """

    def end_input() -> None:
        """Let the job see the end of its input behind what it was given."""

    def send_signal(name: str) -> None:
        """Send a signal to the job's whole process group.

        :param name: one of :data:`twisted_rsh.core.endings.SIGNAL_NAMES`.
        """

    def resize(columns: int, rows: int) -> None:
        """Give the job's terminal another size.  Nothing happens when it has none.

        :param columns: characters in a line, at least 1.
        :param rows: lines, at least 1.
        """

    def resume_output(stream: Stream) -> None:
        """Learn that there is room again on this stream; ask :meth:`IJobOwner.output_room` how much."""

    def close_output(stream: Stream) -> None:
        """Let the job see a broken pipe on this stream: its reader is gone."""

    def terminate() -> None:
        """End the job and all of its process group, politely first.  May be called more than once."""


class IShellJob(IJob):
    """A shell that remembers: the job of a request for a shell.  It runs one command after another.

    What is written while no command runs, as by a background process, is this job's own output.  This job ends when
    the shell does.
    """

    def when_ready(call: Callable[[], None]) -> None:
        """Have something called when the shell takes commands.

        :param call: called once, from within this call if it takes them already; never for a shell that does not get
            that far, which ends with :class:`~twisted_rsh.core.endings.Refused` instead.
        """

    def start_command(request: JobRequest, owner: IJobOwner) -> IJob:
        """Run a command in the shell.

        :param request: the command; its `in_shell` is not looked at.
        :param owner: whom to report to; its `output_room` is also what holds the shell back.
        :returns: the running command.  Its `terminate` ends the command and, only if it must, the shell.
        :raises JobRefused: it will not run: `SHELL_BUSY`, `SHELL_GONE`, `BAD_TEXT` or `TOO_LONG`.
        """


class IShellUser(Interface):
    """A user who has logged in: the avatar of this package's realm.  An application provides its own to set policy."""

    name: str = Attribute("The user's name, for the log.")

    encoding: str = Attribute("The code page of this user's jobs, as Python names it: ``'utf-8'``, ``'gbk'``.")

    def start_job(request: JobRequest, owner: IJobOwner) -> IJob:
        """Start a job.

        :param request: what the client asked for; never a command for a persistent shell that runs already.
        :param owner: whom to report to.
        :returns: the running job; for a request with a `shell` it provides :class:`IShellJob`.
        :raises JobRefused: it will not run, and why; nothing was started.
        """
