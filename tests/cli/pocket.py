"""A persistent shell without a process, and a server that has no other jobs: the test decides what the shell does."""

from __future__ import annotations

from collections.abc import Callable

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer

from twisted_rsh.core.endings import Ending, Exited, JobEnd, RefusalReason, Signalled, Stopped
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, IShellUser, JobRefused
from twisted_rsh.trust.cred import IVerifiedKey, VerifiedKey

__all__ = ["PocketCommand", "PocketShell", "PocketUser", "pocket_portal"]


class _Job:
    """The common part of a command and a shell, which reads nothing and records every call."""

    def __init__(self, owner: IJobOwner, on_terminal: bool) -> None:
        self.owner = owner
        self._line_end = "\r\n" if on_terminal else "\n"
        self.signals: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.is_over = False
        self._held: list[tuple[Stream, bytes]] = []
        self._ending: Ending | None = None

    def write_input(self, data: bytes) -> None:
        """See IJob."""
        self.owner.input_consumed(len(data))

    def end_input(self) -> None:
        """See IJob."""

    def send_signal(self, name: str) -> None:
        """See IJob."""
        self.signals.append(name)

    def resize(self, columns: int, rows: int) -> None:
        """See IJob."""
        self.sizes.append((columns, rows))

    def resume_output(self, stream: Stream) -> None:
        """See IJob."""
        self._go_on()

    def close_output(self, stream: Stream) -> None:
        """See IJob."""

    def terminate(self) -> None:
        """See IJob."""
        self.end(Signalled("TERM"))

    def say(self, text: str, stream: Stream = Stream.STDOUT) -> None:
        """Write something short, as soon as there is room for it: there is none while the link is cut."""
        self._held.append((stream, text.replace("\n", self._line_end).encode()))
        self._go_on()

    def end(self, ending: Ending) -> None:
        """End, once, behind what it has written."""
        if not self.is_over:
            self.is_over = True
            self._ending = ending
            self._go_on()

    def _go_on(self) -> None:
        while self._held and self.owner.output_room(self._held[0][0]) >= len(self._held[0][1]):
            self.owner.output_received(*self._held.pop(0))
        if not self._held and self._ending is not None:
            ending, self._ending = self._ending, None
            for stream in OUTPUTS:
                self.owner.output_ended(stream)
            self.owner.job_ended(JobEnd(ending))


@implementer(IJob)
class PocketCommand(_Job):
    """A command that runs until it is told to end.

    :ivar text: the command.
    """

    def __init__(self, text: str, owner: IJobOwner, on_terminal: bool, ended: Callable[[], None]) -> None:
        super().__init__(owner, on_terminal)
        self.text = text
        self._ended = ended

    def end(self, ending: Ending) -> None:
        """End, once."""
        self._ended()
        super().end(ending)


@implementer(IShellJob)
class PocketShell(_Job):
    """A shell with a folder, and these commands: ``cd``, ``pwd``, ``echo``, ``err``, ``status``, ``stop``, ``exit``.

    Any other runs until the test, or a terminate, ends it; ``exec`` something ends the shell with status 1.

    :ivar request: what was asked for.
    :ivar commands: what it was given to run.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        super().__init__(owner, request.terminal is not None)
        self.request = request
        self.commands: list[PocketCommand] = []
        self.requests: list[JobRequest] = []
        self._folder = "/"
        self._running: PocketCommand | None = None

    @property
    def terminal(self) -> Terminal | None:
        """The terminal that was asked for."""
        return self.request.terminal

    def when_ready(self, call: Callable[[], None]) -> None:
        """See IShellJob."""
        call()

    def start_command(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """See IShellJob."""
        if self._running is not None:
            raise JobRefused(RefusalReason.SHELL_BUSY, "the shell runs another command")
        assert request.command is not None
        self._running = command = PocketCommand(request.command, owner, self.terminal is not None, self._free)
        self.commands.append(command)
        self.requests.append(request)
        self._run(command)
        return command

    def inspect(self) -> ShellState:
        """See IShellJob."""
        return ShellState(folder=self._folder)

    def _free(self) -> None:
        self._running = None

    def _run(self, command: PocketCommand) -> None:
        word, _, rest = command.text.strip().partition(" ")
        match word:
            case "cd":
                self._folder = rest
            case "pwd":
                command.say(f"{self._folder}\n")
            case "echo":
                command.say(f"{rest}\n")
            case "err":
                command.say(f"{rest}\n", Stream.STDERR)
            case "status":
                command.end(Exited(int(rest)))
            case "stop":
                command.end(Stopped("TSTP"))
            case "exit" | "exec":
                status = Exited(int(rest) if word == "exit" else 1)
                self.end(status)
                command.end(status)
            case _:
                return
        command.end(Exited(0))


@implementer(IShellUser)
class PocketUser:
    """A user who has persistent shells and no other jobs.

    :ivar shells: those that were started.
    :ivar refusal: what to answer instead, or ``None``.
    """

    name = "pocket"
    encoding = "utf-8"

    def __init__(self) -> None:
        self.shells: list[PocketShell] = []
        self.refusal: JobRefused | None = None

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """See IShellUser."""
        if self.refusal is not None or request.shell is None:
            raise self.refusal or JobRefused(RefusalReason.NOT_PERMITTED, "there are shells and nothing else")
        self.shells.append(PocketShell(request, owner))
        return self.shells[-1]


@implementer(ICredentialsChecker)
class _Anybody:
    """Lets in every user who has proven to have a key."""

    credentialInterfaces = (IVerifiedKey,)

    def requestAvatarId(self, credentials: VerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Return the user's name; twisted.cred calls this."""
        return succeed(credentials.user.encode())


@implementer(IRealm)
class _Realm:
    """Makes the same user of every login."""

    def __init__(self, user: PocketUser) -> None:
        self._user = user

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Deferred[tuple[type[Interface], object, Callable[[], None]]]:
        """Return the user; twisted.cred calls this."""
        return succeed((IShellUser, self._user, lambda: None))


def pocket_portal(user: PocketUser) -> Portal:
    """Return a portal that takes every login for this user."""
    return Portal(_Realm(user), [_Anybody()])
