"""The windows of streams: how they grow with what a link carries in a round trip, and the memory that they may take.

A window is what a stream's limit lies above the bytes consumed.  Each stream is sure of the session's window.  What a
receiver grants beyond it, and what a sender keeps beyond it, comes out of a :class:`Reserve`.
"""

from __future__ import annotations

from twisted_rsh.core.limits import (
    GROW_ROUND_TRIPS,
    MAX_WINDOW,
    MAX_WINDOWS,
    SESSION_RESERVE_BYTES,
    SHRINK_ROUND_TRIPS,
    START_WINDOWS,
)

__all__ = ["Reserve", "Window"]


class Reserve:
    """The bytes by which windows may exceed the size that each stream is sure of.

    :param size: bytes in all.
    :param parent: a reserve out of which this one takes what is taken out of it; ``None`` if this one is the whole.
    """

    __slots__ = ("_parent", "_size", "_taken")

    def __init__(self, size: int, parent: Reserve | None = None) -> None:
        self._size = size
        self._parent = parent
        self._taken = 0

    @property
    def size(self) -> int:
        """Bytes that could be taken if nothing were taken yet."""
        return self._size if self._parent is None else min(self._size, self._parent.size)

    @property
    def free(self) -> int:
        """Bytes that can be taken now."""
        free = self._size - self._taken
        return free if self._parent is None else min(free, self._parent.free)

    @property
    def is_short(self) -> bool:
        """Whether less than a quarter is free, here or in the parent."""
        if (self._size - self._taken) * 4 < self._size:
            return True
        return self._parent is not None and self._parent.is_short

    def part(self, size: int = SESSION_RESERVE_BYTES) -> Reserve:
        """Make a part of this reserve for one session.

        :param size: bytes that it may take at most.
        """
        return Reserve(size, self)

    def take(self, size: int) -> bool:
        """Take bytes, all or none.

        :returns: whether there were as many.
        """
        if size > self._size - self._taken or (self._parent is not None and not self._parent.take(size)):
            return False
        self._taken += size
        return True

    def give(self, size: int) -> None:
        """Give bytes back that were taken."""
        self._taken -= size
        if self._parent is not None:
            self._parent.give(size)

    def close(self) -> None:
        """Give back everything that was taken, because its session is over; nothing can be taken any more."""
        self.give(self._taken)
        self._size = 0


class Window:
    """The window that the receiver of one stream grants.

    :param base: bytes that the stream starts with, and that it is sure of.
    :param reserve: what the window grows out of.
    :param starts_large: whether it gets :data:`START_WINDOWS` times as much with its first credit.
    :ivar size: bytes of the window.
    :ivar is_measuring: whether :meth:`fit` has just begun to measure, so that it is time to measure a round trip.
    """

    __slots__ = (
        *("_base", "_began", "_end", "_floor", "_most", "_reserve", "_starts_large", "_taken"),
        *("is_measuring", "size"),
    )

    def __init__(self, base: int, reserve: Reserve, *, starts_large: bool) -> None:
        self.size = base
        self.is_measuring = False
        self._base = base
        self._reserve = reserve
        self._starts_large = starts_large
        self._most = 0  # found when it is needed, which it is not for a short command
        self._floor = base
        self._taken = 0
        self._began: float | None = None
        self._end = 0

    @property
    def credit_bytes(self) -> int:
        """The bytes that must be consumed since the last credit until the next is worth a frame.

        A quarter of the window: the sender then never waits while there is something to consume, and one frame of
        credit goes with several of data.  More than half of the size that the stream is sure of, if that is less: a
        sender that has no memory keeps no more than that size under way.  Exactly half would be two frames of data.
        """
        return min(self.size // 4, self._base // 2 + 1)

    def fit(self, received: int, consumed: int, limit: int, now: float, round_trip: float | None) -> int:
        """Fit the window to the stream, because a credit is due.

        :param received: bytes of the stream that have arrived.
        :param consumed: those of them that were consumed.
        :param limit: the limit that was granted last; it is never lowered.
        :param now: the time in seconds at which the last bytes arrived.
        :param round_trip: seconds, or ``None`` while it is unknown.
        :returns: the new limit.
        """
        if not self._most:
            self._find_bounds()
        is_measuring = received >= self._end and self._most > self._base
        if is_measuring:
            if self._began is None:
                self._grow(self._floor)
            elif round_trip is not None:
                self._judge(now - self._began, round_trip, has_reader=(received - consumed) * 2 < self.size)
            self._began, self._end = now, received + self.size
        limit = self.grant(consumed, limit)
        self.is_measuring = is_measuring
        return limit

    def _find_bounds(self) -> None:
        """Find how large the window may become, and which size it keeps once it has had a credit."""
        base = self._base
        self._most = max(base, min(base * MAX_WINDOWS, MAX_WINDOW, base + self._reserve.size))
        if self._starts_large:
            self._floor = min(base * START_WINDOWS, self._most)

    def grant(self, consumed: int, limit: int) -> int:
        """Grant the window as it is.

        :param consumed: bytes of the stream that were consumed.
        :param limit: the limit that was granted last.
        :returns: the new limit.
        """
        self.is_measuring = False
        limit = max(limit, consumed + self.size)
        self._settle(limit - consumed)
        return limit

    def release(self, held: int = 0) -> None:
        """Grow no more: no bytes come any more, or those that come are dropped.

        :param held: bytes that have arrived and are not consumed.
        """
        self.size = self._floor = self._most = self._base
        if self._taken:
            self._settle(held)

    def _judge(self, seconds: float, round_trip: float, *, has_reader: bool) -> None:
        if seconds <= GROW_ROUND_TRIPS * round_trip:
            if has_reader:
                self._grow(min(self.size * 2, self._most))
        elif self._reserve.is_short:
            self.size = max(self.size // 2, self._base)
        elif seconds > SHRINK_ROUND_TRIPS * round_trip:
            self.size = max(self.size // 2, min(self.size, self._floor))

    def _grow(self, size: int) -> None:
        # What a window that has shrunk still has under way is taken already.
        more = size - self._base - self._taken
        if more <= 0 or self._reserve.take(more):
            self._taken += max(more, 0)
            self.size = size

    def _settle(self, under_way: int) -> None:
        """Give back what neither the window nor the bytes that may be under way need."""
        unused = self._taken - max(under_way - self._base, 0)
        if unused > 0:
            self._taken -= unused
            self._reserve.give(unused)
