"""A client's request for a job, and its wire form: the members that it has in OPEN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_rsh.core.fields import (
    CHANNEL,
    OFFSET,
    Binary,
    Boolean,
    FieldError,
    Integer,
    Member,
    Name,
    NativeText,
    Object,
    Pairs,
    Record,
    Seconds,
    Sequence,
    Text,
    inline,
    wire,
)
from twisted_rsh.core.limits import (
    MAX_CONTROL_BYTES,
    MAX_REQUEST_BYTES,
    MAX_SUBSYSTEM_BYTES,
    MAX_TERM_BYTES,
    MAX_TERMINAL_MODES,
    MAX_TERMINAL_SIZE,
    MAX_TIMEOUT_MS,
    MAX_TYPED_AHEAD_BYTES,
)
from twisted_rsh.core.values import dataclass

__all__ = [
    "COMMAND_GRACE_SECONDS",
    "CONTROL_CHARACTERS",
    "KILL",
    "MILLISECONDS",
    "MODE_NAMES",
    "REQUEST",
    "SHELL_GRACE_SECONDS",
    "TERMINAL",
    "Disconnection",
    "Grace",
    "JobRequest",
    "Keep",
    "Terminal",
    "parse_disconnection",
]

COMMAND_GRACE_SECONDS = 60.0
"""Seconds for which a command goes on without a link, unless the client asks for another time.  A minute after a client
was killed, nothing of its commands is left."""

SHELL_GRACE_SECONDS = 3600.0
"""Seconds for which a persistent shell, and any job on a terminal, goes on without a link: a person comes back from
lunch."""


@dataclass(frozen=True, slots=True)
class Grace:
    """The job goes on without a link, as far as its credit goes, and is ended when no resume comes in time.

    :ivar seconds: the time from the loss of the link, 0 or more; 0 ends the job at once.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """The job goes on to its end.  The server keeps its last output and its ending for a limited time."""


KILL = Grace(0.0)
"""The job is ended as soon as the link is lost."""

Disconnection = Grace | Keep
"""What happens to a job when its session loses its link: :data:`KILL`, another :class:`Grace`, or :class:`Keep`."""


def parse_disconnection(text: str) -> Disconnection:
    """Read a disconnection as a user writes it: ``kill``, ``keep`` or ``grace:SECONDS``.

    :raises ValueError: the text is none of these.
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


class _DisconnectionMembers:
    """A disconnection as two members of a request, of which at most one is there."""

    _grace = Member("grace_ms", Seconds(1000), None)
    _keep = Member("keep", Boolean(), False)

    def listed(self) -> tuple[Member, ...]:
        return self._grace, self._keep

    def write(self, value: Disconnection | None, present: dict[str, Any]) -> None:
        if isinstance(value, Grace):
            if not value.seconds >= 0:
                raise FieldError("a grace below 0 seconds")
            self._grace.write(value.seconds, present)
        self._keep.write(isinstance(value, Keep), present)

    def read(self, present: Mapping[str, Any]) -> Disconnection | None:
        seconds, keep = self._grace.read(present), self._keep.read(present)
        if keep and seconds is not None:
            raise FieldError("a job that is kept has no grace")
        return Keep() if keep else None if seconds is None else Grace(seconds)


CONTROL_CHARACTERS = frozenset(
    "VINTR VQUIT VERASE VKILL VEOF VEOL VEOL2 VSTART VSTOP VSUSP VREPRINT VWERASE VLNEXT".split()
)
"""Terminal settings whose value is the code of a character, from 0 to 255; 0 switches the character's function off."""

_FLAGS = frozenset(
    "IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXANY IXOFF IMAXBEL IUTF8 "
    "ISIG ICANON ECHO ECHOE ECHOK ECHONL ECHOCTL ECHOKE NOFLSH TOSTOP IEXTEN OPOST ONLCR".split()
)

MODE_NAMES = CONTROL_CHARACTERS | _FLAGS
"""The terminal settings that a request may name, by their names in termios(3).  Those that are not in
:data:`CONTROL_CHARACTERS` are flags, 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The terminal that the server gives to a job.

    :ivar term: its type, for ``TERM``.
    :ivar columns: characters in a line, at least 1.
    :ivar rows: lines, at least 1.
    :ivar modes: settings of the client's own terminal, by names of :data:`MODE_NAMES`.  The server's system decides the
        settings that are not named.
    :ivar separate_stderr: whether standard error is a pipe of its own instead of the terminal.
    """

    term: str = "dumb"
    columns: int = 80
    rows: int = 24
    modes: tuple[tuple[str, int], ...] = ()
    separate_stderr: bool = False


TERMINAL = Object(
    Terminal,
    {
        "term": ("term", Text(MAX_TERM_BYTES)),
        "columns": ("columns", Integer(1, MAX_TERMINAL_SIZE)),
        "rows": ("rows", Integer(1, MAX_TERMINAL_SIZE)),
        "modes": ("modes", Pairs(Name(MODE_NAMES), Integer(0, 255), MAX_TERMINAL_MODES)),
        "separate_stderr": ("separate_stderr", Boolean()),
    },
)
"""A terminal, in JSON."""

_NATIVE_TEXT = NativeText(MAX_CONTROL_BYTES)
_ARGUMENTS = Sequence(_NATIVE_TEXT, MAX_REQUEST_BYTES)
_ENVIRONMENT = Pairs(_NATIVE_TEXT, _NATIVE_TEXT, MAX_REQUEST_BYTES)
MILLISECONDS = Seconds(1000, minimum=1)
"""A time that a request limits: at least one, because 0 means none."""

_NONE_GIVEN = (None,) * 5
_LIMITS = ("timeout", "max_output", "max_cpu", "max_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A request for one job; the server decides whether and how to run it.

    Give exactly one of `command`, `argv`, `shell` and `subsystem`.  Text that came from bytes carries the bytes that
    could not be decoded as surrogate escapes (PEP 383); the server encodes it in the code page that it named.

    :ivar command: text for the user's shell, or ``None``.
    :ivar argv: the program and its arguments, run without a shell, or ``None``; never empty.
    :ivar shell: the persistent shell to start, as a name or a path, or an empty text for the user's own shell; ``None``
        to start no persistent shell.
    :ivar subsystem: the name of a service of the server that talks over the job's streams, such as ``"sftp"``, or
        ``None``; the server runs what it has for it.
    :ivar in_shell: the channel of the persistent shell that is to run `command`, or ``None`` for a new shell.  The
        command then has the folder, environment, terminal, limits of memory and processor time, and disconnection of
        that shell; the request may give none of them.
    :ivar startup_files: whether `shell` reads the files that its user's interactive shells read, such as ``.bashrc``;
        otherwise it reads none.
    :ivar aside: whether `command` runs in a subshell of the persistent shell, so that it changes nothing in it.
    :ivar typed_ahead: keys that were typed for `command` before it began, at most
        :data:`~twisted_rsh.core.limits.MAX_TYPED_AHEAD_BYTES`: the shell's terminal has them when the command begins,
        and shows none of them; on pipes they are the first of its input.  The command's end then tells what it has left
        unread.  ``None`` when no person types.
    :ivar cwd: the working folder, relative to the user's home folder; ``None`` for the home folder itself.
    :ivar environment: names and values to add to the environment that the server gives every job.
    :ivar timeout: seconds after which the server ends the job, or ``None`` for no limit.
    :ivar terminal: the terminal to give to the job, or ``None`` for pipes.
    :ivar max_output: bytes of output after which the server ends the job, or ``None`` for no limit.
    :ivar max_cpu: seconds of processor time after which the server ends the job, or ``None`` for no limit.
    :ivar max_memory: bytes of memory above which the server ends the job, or ``None`` for no limit.
    :ivar on_disconnect: what happens to the job when the session loses its link, or ``None`` for the default; see
        :attr:`disconnection`.
    :raises ValueError: the fields contradict each other.
    """

    command: str | None = wire(_NATIVE_TEXT, default=None)
    argv: tuple[str, ...] | None = wire(_ARGUMENTS, default=None)
    shell: str | None = wire(_NATIVE_TEXT, default=None)
    subsystem: str | None = wire(Text(MAX_SUBSYSTEM_BYTES), default=None)
    in_shell: int | None = wire(CHANNEL, default=None)
    startup_files: bool = wire(Boolean(), default=False)
    aside: bool = wire(Boolean(), default=False)
    typed_ahead: bytes | None = wire(Binary(MAX_TYPED_AHEAD_BYTES), default=None)
    cwd: str | None = wire(_NATIVE_TEXT, default=None)
    environment: tuple[tuple[str, str], ...] = wire(_ENVIRONMENT, default=())
    timeout: float | None = wire(MILLISECONDS, name="timeout_ms", default=None)
    terminal: Terminal | None = wire(TERMINAL, default=None)
    max_output: int | None = wire(OFFSET, default=None)
    max_cpu: float | None = wire(MILLISECONDS, name="max_cpu_ms", default=None)
    max_memory: int | None = wire(OFFSET, default=None)
    on_disconnect: Disconnection | None = inline(_DisconnectionMembers(), default=None)

    def __post_init__(self) -> None:
        # Written so that a plain command takes few calls: each is made twice.
        if (self.command, self.argv, self.shell, self.subsystem).count(None) != 3:
            raise ValueError(
                "a request has a command, an argument vector, a shell or a subsystem, and only one of them"
            )
        if self.argv is not None and not self.argv:
            raise ValueError("an argument vector names at least the program")
        if self.startup_files and self.shell is None:
            raise ValueError("only a persistent shell reads start-up files")
        if self.in_shell is None:
            if self.aside:
                raise ValueError("only a persistent shell runs an aside")
            if self.typed_ahead is not None:
                raise ValueError("what is typed ahead is for a command in a persistent shell")
            return
        if self.command is None:
            raise ValueError("a persistent shell runs a command, not an argument vector or a shell")
        given = (self.cwd, self.terminal, self.max_cpu, self.max_memory, self.on_disconnect)
        if self.environment or given != _NONE_GIVEN:
            raise ValueError("a command in a persistent shell has that shell's folder, environment and terminal")

    @property
    def disconnection(self) -> Disconnection:
        """What happens to the job when the session loses its link.

        It is `on_disconnect` where that is given.  Otherwise it is a grace of :data:`SHELL_GRACE_SECONDS` for a
        persistent shell or a job on a terminal, and of :data:`COMMAND_GRACE_SECONDS` for any other job.
        """
        if self.on_disconnect is not None:
            return self.on_disconnect
        at_a_prompt = self.shell is not None or self.terminal is not None
        return Grace(SHELL_GRACE_SECONDS if at_a_prompt else COMMAND_GRACE_SECONDS)

    @property
    def kind(self) -> str:
        """The form of the request, for a log: ``"command"``, ``"argv"``, ``"shell"`` or ``"subsystem"``."""
        if self.command is not None:
            return "command"
        if self.argv is not None:
            return "argv"
        return "subsystem" if self.shell is None else "shell"

    @property
    def text(self) -> str | tuple[str, ...]:
        """What the request runs: the value of the member that :attr:`kind` names, for ``"argv"`` a tuple of words."""
        found: str | tuple[str, ...] = getattr(self, self.kind)
        return found

    @property
    def limits(self) -> dict[str, float]:
        """The limits that the client gives, by the names of the members, such as ``"max_cpu"``."""
        return {name: value for name in _LIMITS if (value := getattr(self, name)) is not None}


REQUEST = Record(JobRequest)
"""A request, as members of OPEN's JSON object; times travel as whole milliseconds."""
