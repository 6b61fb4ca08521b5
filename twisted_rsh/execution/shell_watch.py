"""Whether a persistent shell is where it is believed to be: deadlines, and questions that it answers at its prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LOST_DELAYS", "ShellWatch"]

LOST_DELAYS = (0.05, 0.25, 1.0, 4.0)
"""Seconds between the looks whether the shell has dropped a command without a word, from an interruption on."""


class ShellWatch:
    """The clocks of one shell.

    :param clock: tells the time.
    :param ask: asks the shell.
    :param give_up: learns, in one line, what the shell has not done in time.
    """

    def __init__(self, clock: IReactorTime, ask: Callable[[], None], give_up: Callable[[str], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._give_up = give_up
        self._deadline: IDelayedCall | None = None
        self._question: IDelayedCall | None = None

    def expect(self, seconds: float, text: str) -> None:
        """Give up on the shell unless :meth:`met` or :meth:`calm` comes in time.

        :param seconds: how long it has.
        :param text: what to say then.
        """
        self._deadline = self._clock.callLater(seconds, self._late, text)

    def met(self) -> None:
        """Learn that what was expected has come."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def ask_after(self, delays: Sequence[float]) -> None:
        """Ask again and again, in place of what was to be asked before.

        :param delays: seconds before each question.
        """
        if self._question is not None:
            self._question.cancel()
            self._question = None
        if delays:
            self._question = self._clock.callLater(delays[0], self._due, delays[1:])

    def calm(self) -> None:
        """Expect nothing and ask nothing any more."""
        self.met()
        self.ask_after(())

    def _late(self, text: str) -> None:
        self._deadline = None
        self._give_up(text)

    def _due(self, rest: Sequence[float]) -> None:
        self._question = None
        self._ask()
        self.ask_after(rest)
