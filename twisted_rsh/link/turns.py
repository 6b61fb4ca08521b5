"""How long one turn of the reactor is spent on what peers ask for, and who goes on in the next turn.

A peer may send thousands of small frames, or frames that start processes, in one piece.  The links of a server share
the turns: each handles frames for a slice of time, and then the others come before it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["DOUBT_SECONDS", "OLDEST_FIRST_TURNS", "SLICE_SECONDS", "TURN_SECONDS", "Turns"]

SLICE_SECONDS = 0.002
"""Seconds for which one link works before the others come, and one frame more.  Two processes are started in
this time, and 200 small frames are handled."""

TURN_SECONDS = 0.005
"""Seconds of one turn of the reactor for which all links together work, and one frame more.  The most costly frames
take 10 ms, so a turn stays below 20 ms.  A turn is what the reactor reads in one piece, and the calls that are due
after that: nothing else is read in between."""

WINDOW_SECONDS = 0.02
"""Seconds after which another turn has begun, where no link waits for one.  To be told by the reactor costs 20 us."""

MEMORY_SECONDS = 1.0
"""Seconds after which half of what is known of a link's slices is forgotten."""

FORGOTTEN_SLICES = 0.01
"""Slices below which no more is forgotten: the next slice then counts a hundred times as much as all before it."""

DOUBT_SECONDS = 0.01
"""Seconds that the first slice of a link is expected to take: as long as the most costly frame.  So a link that has
shown that its frames cost little, such as one that pings, comes before six new ones with a costly frame each."""

OLDEST_FIRST_TURNS = 4
"""Every so many turns, the link that has waited longest comes first, whatever its frames cost: no link starves."""

Work = Callable[[float], bool]
"""Works until a time, in seconds of the reactor's clock, but does at least one piece; returns whether there is more."""


class _Share:
    """How long the slices of one owner were.

    :ivar seconds: seconds that they took together, and those that the first one was expected to take.
    :ivar slices: their number; halved together with the seconds, so that the last ones count most.
    """

    __slots__ = ("seconds", "slices")

    def __init__(self) -> None:
        self.seconds = DOUBT_SECONDS
        self.slices = 1.0

    def forget_half(self) -> None:
        """Forget half of what is known, unless that is little: an owner that does nothing keeps the rest."""
        if self.slices > FORGOTTEN_SLICES:
            self.seconds /= 2
            self.slices /= 2


class Turns:
    """Lets links do their work, a slice at a time.  Those with short slices go first, the others as they came.

    :param clock: tells the time and calls back in the next turn; usually the reactor.
    :ivar worked_at: the clock's time at which a link last worked.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: list[tuple[_Share, Work]] = []
        self._shares: WeakKeyDictionary[object, _Share] = WeakKeyDictionary()
        self._forget_at = clock.seconds() + MEMORY_SECONDS
        self._turns = 0
        self._owes_a_turn = False
        self._began = self._spent = 0.0
        self._next_turn: IDelayedCall | None = None
        self.worked_at = clock.seconds()

    def run(self, owner: object, work: Work) -> bool:
        """Have work done, now or in later turns.

        :param owner: the link, or the session, that the work is for.
        :param work: the work, which does not wait already.
        :returns: whether it, or the rest of it, has to wait for a later turn.
        """
        now = self._clock.seconds()
        if self._next_turn is None and not 0 <= now - self._began < WINDOW_SECONDS:
            self._began, self._spent = now, 0.0
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = _Share()
        if self._has_room(share) and not self._serve(share, work, now):
            return False
        self._waiting.append((share, work))
        self._plan()
        return True

    def _has_room(self, share: _Share) -> bool:
        """Tell whether work may begin in the current turn, after what others have done in it."""
        if self._owes_a_turn:
            return False
        expected = share.seconds / share.slices if self._spent else 0.0
        return self._spent < TURN_SECONDS and self._spent + expected < TURN_SECONDS + DOUBT_SECONDS / 2

    def _serve(self, share: _Share, work: Work, now: float) -> bool:
        self.worked_at = now
        has_more = work(now + SLICE_SECONDS)
        taken = self._clock.seconds() - now
        if taken > 0:  # a clock may step back
            self._spent += taken
            share.seconds += taken
        share.slices += 1
        return has_more

    def _plan(self) -> None:
        if self._next_turn is None:
            self._next_turn = self._clock.callLater(0, self._turn_begins)

    def _turn_begins(self) -> None:
        self._next_turn = None
        now = self._clock.seconds()
        if not 0 <= self._forget_at - now <= MEMORY_SECONDS:
            self._forget_at = now + MEMORY_SECONDS
            for share in self._shares.values():
                share.forget_half()
        # What links have just been served with, as their frames arrived, counts in this turn.  If that used it up,
        # those that wait have the next turn, before anything that arrives then.
        self._owes_a_turn = self._spent >= TURN_SECONDS
        try:
            if not self._owes_a_turn:
                self._serve_waiting()
        finally:
            self._began, self._spent = self._clock.seconds(), 0.0
            if self._waiting:  # also after work that broke
                self._plan()

    def _serve_waiting(self) -> None:
        self._turns += 1
        is_oldest_first = self._turns % OLDEST_FIRST_TURNS == 0
        for _ in range(len(self._waiting)):
            if self._spent >= TURN_SECONDS:
                break
            first = self._waiting[0] if is_oldest_first else min(self._waiting, key=_rank)
            is_oldest_first = False
            self._waiting.remove(first)
            if self._serve(*first, self._clock.seconds()):
                self._waiting.append(first)


def _rank(waiting: tuple[_Share, Work]) -> float:
    """Order those that wait: links with short slices first, all others as they came."""
    share = waiting[0]
    return min(share.seconds / share.slices, SLICE_SECONDS / 2)
