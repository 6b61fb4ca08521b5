"""How long one turn of the reactor is spent on the frames of peers, and which link goes on in the next turn.

A peer may send thousands of small frames, or frames that start processes, in one piece.  The links of a server share
the turns: each handles frames for a slice of time, and then the others come before it goes on.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["SLICE_SECONDS", "TURN_SECONDS", "FrameReader", "Turns"]

SLICE_SECONDS = 0.002
"""Seconds for which one link handles frames before other links come, and one frame more.  Two processes are started in
this time, and 200 small frames are handled."""

TURN_SECONDS = 0.008
"""Seconds of one turn of the reactor that all links together handle frames, and one frame more.  The most costly frames
take 10 ms, so a turn stays below 20 ms."""

NOTED_SECONDS = 0.001
"""Seconds of frames behind which a turn is worth being told from the next.  Asking the reactor costs 20 us."""


class FrameReader(Protocol):
    """A link, as far as the turns call it."""

    def handle_frames(self, until: float) -> bool:
        """Handle frames that have arrived until a time, and at least one.

        :param until: the time, in seconds of the reactor's clock.
        :returns: whether there are more.
        """


class Turns:
    """Lets links handle their frames, a slice at a time.

    :param clock: tells the time and calls back in the next turn; usually the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[FrameReader] = deque()
        self._spent = 0.0
        self._next_turn: IDelayedCall | None = None

    def frames_arrived(self, link: FrameReader) -> bool:
        """Have a link handle what has arrived, now or in a later turn.

        :param link: it has nothing left that arrived earlier.
        :returns: whether the link has to wait for a later turn; it should read nothing more until then.
        """
        if self._spent < TURN_SECONDS and not self._serve(link):
            return False
        self._waiting.append(link)
        self._plan()
        return True

    def _serve(self, link: FrameReader) -> bool:
        began = self._clock.seconds()
        has_more = link.handle_frames(began + SLICE_SECONDS)
        self._spent += max(self._clock.seconds() - began, 0.0)
        if self._spent > NOTED_SECONDS:
            self._plan()
        return has_more

    def _plan(self) -> None:
        if self._next_turn is None:
            self._next_turn = self._clock.callLater(0, self._turn_begins)

    def _turn_begins(self) -> None:
        self._next_turn = None
        self._spent = 0.0
        # Half of the turn is left to links that have waited for nothing yet, such as one with a ping.
        for _ in range(len(self._waiting)):
            if self._spent >= TURN_SECONDS / 2:
                break
            link = self._waiting.popleft()
            if self._serve(link):
                self._waiting.append(link)
        if self._waiting:
            self._plan()
