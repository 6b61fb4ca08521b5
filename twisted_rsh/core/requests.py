"""What a client asks for when it opens a job."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["JobRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One job, as asked for; the server decides whether and how to run it.

    Exactly one of `command` and `argv` is given.  Text that came from bytes carries what could not be decoded as
    surrogate escapes (PEP 383); the server encodes it in the code page it named.

    :ivar command: text for the user's shell, or ``None``.
    :ivar argv: the program and its arguments, run without a shell, or ``None``; never empty.
    :ivar cwd: the working folder, relative to the user's home folder; ``None`` for the home folder itself.
    :ivar environment: names and values to add to the environment that the server gives every job.
    :ivar timeout: seconds after which the job is ended, or ``None`` for as long as it takes.
    """

    command: str | None = None
    argv: tuple[str, ...] | None = None
    cwd: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None

    def __post_init__(self) -> None:
        if (self.command is None) == (self.argv is None):
            raise ValueError("a request has either a command or an argument vector")
        if self.argv is not None and not self.argv:
            raise ValueError("an argument vector names at least the program")

    @property
    def kind(self) -> str:
        """What to call this request in a log: ``"command"`` or ``"argv"``."""
        return "command" if self.argv is None else "argv"
