"""What becomes of a job whose session has lost its link."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.core.limits import MAX_TIMEOUT_MS

__all__ = [
    "COMMAND_GRACE_SECONDS",
    "KILL",
    "SHELL_GRACE_SECONDS",
    "Disconnection",
    "Grace",
    "Keep",
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
