"""What a client asks for when it opens a job."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.core.disconnection import COMMAND_GRACE_SECONDS, SHELL_GRACE_SECONDS, Disconnection, Grace

__all__ = ["JobRequest", "Terminal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The terminal that a job is given.

    :ivar term: its type, for ``TERM``.
    :ivar columns: characters in a line, at least 1.
    :ivar rows: lines, at least 1.
    :ivar modes: settings of :data:`twisted_rsh.core.terminal_modes.MODE_NAMES` by name, those of the client's own
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
