"""The answer of a command of ``trshctl``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a command.

    :ivar text: what to print on stdout.
    :ivar status: the exit status.
    """

    text: str
    status: int = 0
