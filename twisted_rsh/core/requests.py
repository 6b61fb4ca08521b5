"""What a client asks for when it opens a job."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.core.limits import MAX_TIMEOUT_MS

__all__ = [
    "COMMAND_GRACE_SECONDS",
    "CONTROL_CHARACTERS",
    "KILL",
    "MODE_NAMES",
    "SHELL_GRACE_SECONDS",
    "Disconnection",
    "Grace",
    "JobRequest",
    "Keep",
    "Terminal",
    "parse_disconnection",
]

COMMAND_GRACE_SECONDS = 60.0
"""Seconds that a command goes on without a link, unless asked otherwise: what a client that was killed leaves behind is
gone after a minute."""

SHELL_GRACE_SECONDS = 3600.0
"""Seconds for a persistent shell, and for anything on a terminal: a person comes back from lunch."""


@dataclass(frozen=True, slots=True)
class Grace:
    """The job goes on, as far as its credit goes, and is ended when nobody has resumed the session in time.

    :ivar seconds: how long from the loss of the link; 0 to end it at once.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """The job goes on to its end.  Its last output and its ending are kept for a limited time."""


KILL = Grace(0.0)
"""The job is ended at once."""

Disconnection = Grace | Keep
"""What becomes of a job: :data:`KILL`, or any other grace, or keep."""


def parse_disconnection(text: str) -> Disconnection:
    """Read what a user writes: ``kill``, ``keep`` or ``grace:SECONDS``.

    :raises ValueError: it is none of these.
    """
    if text == "kill":
        return KILL
    if text == "keep":
        return Keep()
    word, _, amount = text.partition(":")
    try:
        seconds = float(amount)
    except ValueError:
        seconds = -1.0
    if word != "grace" or not 0 <= seconds * 1000 <= MAX_TIMEOUT_MS:
        raise ValueError(f"{text!r} is none of kill, keep and grace:SECONDS")
    return Grace(seconds)


CONTROL_CHARACTERS = frozenset(
    "VINTR VQUIT VERASE VKILL VEOF VEOL VEOL2 VSTART VSTOP VSUSP VREPRINT VWERASE VLNEXT".split()
)
"""Settings whose value is the code of a character, from 0 to 255; 0 switches its function off."""

_FLAGS = frozenset(
    "IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXANY IXOFF IMAXBEL IUTF8 "
    "ISIG ICANON ECHO ECHOE ECHOK ECHONL ECHOCTL ECHOKE NOFLSH TOSTOP IEXTEN OPOST ONLCR".split()
)

MODE_NAMES = CONTROL_CHARACTERS | _FLAGS
"""All of them, by the names of termios(3); those that are no control character are flags, 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The terminal that a job is given.

    :ivar term: its type, for ``TERM``.
    :ivar columns: characters in a line, at least 1.
    :ivar rows: lines, at least 1.
    :ivar modes: settings of :data:`twisted_rsh.core.requests.MODE_NAMES` by name, those of the client's own
        terminal; what is not named stays as the server's system has it.
    :ivar separate_stderr: whether standard error is a pipe of its own instead of the terminal.
    """

    term: str = "dumb"
    columns: int = 80
    rows: int = 24
    modes: tuple[tuple[str, int], ...] = ()
    separate_stderr: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One job, as asked for; the server decides whether and how to run it.

    Exactly one of `command`, `argv` and `shell` is given.  Text that came from bytes carries what could not be decoded
    as surrogate escapes (PEP 383); the server encodes it in the code page it named.

    :ivar command: text for the user's shell, or ``None``.
    :ivar argv: the program and its arguments, run without a shell, or ``None``; never empty.
    :ivar shell: which persistent shell to start, a name or a path, an empty one for the user's own; ``None`` if none.
    :ivar in_shell: the channel of the persistent shell that is to run `command`, or ``None`` for a shell of its own.
        Folder, environment, terminal, the limits of memory and processor time, and what happens when the link is lost,
        are then that shell's, and not given.
    :ivar cwd: the working folder, relative to the user's home folder; ``None`` for the home folder itself.
    :ivar environment: names and values to add to the environment that the server gives every job.
    :ivar timeout: seconds after which the job is ended, or ``None`` for as long as it takes.
    :ivar terminal: the terminal to give it, or ``None`` for pipes.
    :ivar max_output: bytes of output after which the job is ended, or ``None`` for as many as it writes.
    :ivar max_cpu: seconds of processor time after which the job is ended, or ``None`` for as many as it takes.
    :ivar max_memory: bytes of memory above which the job is ended, or ``None`` for as many as it takes.
    :ivar on_disconnect: what becomes of it when the session has lost its link, or ``None`` for what is usual: see
        :attr:`disconnection`.
    """

    command: str | None = None
    argv: tuple[str, ...] | None = None
    shell: str | None = None
    in_shell: int | None = None
    cwd: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None
    terminal: Terminal | None = None
    max_output: int | None = None
    max_cpu: float | None = None
    max_memory: int | None = None
    on_disconnect: Disconnection | None = None

    def __post_init__(self) -> None:
        if sum(what is not None for what in (self.command, self.argv, self.shell)) != 1:
            raise ValueError("a request has a command, an argument vector or a shell, and only one of them")
        if self.argv is not None and not self.argv:
            raise ValueError("an argument vector names at least the program")
        if self.in_shell is not None:
            if self.command is None:
                raise ValueError("what a persistent shell runs is a command")
            given = (self.cwd, self.terminal, self.max_cpu, self.max_memory, self.on_disconnect)
            if self.environment or any(what is not None for what in given):
                raise ValueError("a command in a persistent shell has that shell's folder, environment and terminal")

    @property
    def disconnection(self) -> Disconnection:
        """What becomes of the job when the session has lost its link: as asked for, or a minute's grace, and an hour's
        for what a person sits at."""
        if self.on_disconnect is not None:
            return self.on_disconnect
        at_a_prompt = self.shell is not None or self.terminal is not None
        return Grace(SHELL_GRACE_SECONDS if at_a_prompt else COMMAND_GRACE_SECONDS)

    @property
    def kind(self) -> str:
        """What to call this request in a log: ``"command"``, ``"argv"`` or ``"shell"``."""
        return "command" if self.command is not None else "argv" if self.argv is not None else "shell"
