"""One direction of a connection: bytes enter it and leave it as the plan says, whatever carries them."""

from __future__ import annotations

import random
from collections import deque

from twisted_rsh.testing.faults import Boundaries, Direction, End, Faults, LaneFaults

__all__ = ["TAKE_BYTES", "Countdown", "Leg", "legs"]

TAKE_BYTES = 64 * 1024
"""The largest number of bytes to deliver at once: as many as Twisted reads from a socket at once."""


class Countdown:
    """A count of the records until a cut, of one direction or of both together.

    :ivar left: records until the cut.
    """

    def __init__(self, records: int) -> None:
        self.left = records


class Leg:
    """One direction of a connection, with the bytes that have entered it and have not been delivered.

    :param lane: the faults of the direction.
    :param boundaries: finds where records end; ``None`` where no cut counts them.
    :param countdowns: the counts of records; the connection is to be cut after the record with which one reaches 0.
    :param late_after: bytes to deliver before :meth:`release`; ``None`` for all.
    :ivar queued: the number of bytes that have entered and have not been delivered.
    :ivar delivered: the number of bytes that have been delivered.
    :ivar stalled: whether a :meth:`stall` holds everything back.
    :ivar closed: whether the receiving end is gone; bytes that enter then are dropped.
    """

    def __init__(
        self,
        lane: LaneFaults,
        boundaries: Boundaries | None = None,
        countdowns: tuple[Countdown, ...] = (),
        late_after: int | None = None,
    ) -> None:
        self.queued = 0
        self.delivered = 0
        self.stalled = False
        self.closed = False
        self._lane = lane
        self._boundaries = boundaries
        self._countdowns = countdowns
        self._cut_at = lane.cut_after
        self._stall_at = lane.stall_after
        self._late_at = late_after
        self._sizes = random.Random(lane.seed)  # noqa: S311 - to be repeated, not to be secret
        self._entries: deque[tuple[float, bytes]] = deque()
        self._offset = 0  # of the first entry's first byte that was not delivered
        self._end: tuple[float, End] | None = None

    @property
    def is_cut(self) -> bool:
        """Whether all bytes before the planned cut have been delivered: the connection is to be cut now."""
        return not self.closed and self.delivered == self._cut_at

    @property
    def is_late(self) -> bool:
        """Whether all bytes that arrive in time have been delivered, and the rest waits for :meth:`release`."""
        return self._late_at is not None and self.delivered >= self._late_at

    @property
    def is_held(self) -> bool:
        """Whether something holds back both bytes and the end for now."""
        return self.stalled or self.is_late or (self._stall_at is not None and self.delivered >= self._stall_at)

    @property
    def is_fragmenting(self) -> bool:
        """Whether the plan delivers bytes in fragments, which should stay apart."""
        return self._lane.fragment is not None

    @property
    def has_end(self) -> bool:
        """Whether the connection's end has entered; nothing follows it."""
        return self._end is not None

    def put(self, data: bytes, now: float) -> None:
        """Enter bytes.

        :param data: the bytes.
        :param now: the time, in seconds.
        """
        if self.closed or self._end is not None:
            return
        if self._boundaries is not None:
            self._count(self._boundaries.ends(data))
        self._entries.append((now + self._lane.delay, data))
        self.queued += len(data)

    def put_end(self, end: End, now: float) -> None:
        """Enter the connection's end, after the bytes.

        :param end: how the receiving end learns of it.
        :param now: the time, in seconds.
        """
        if not self.closed and self._end is None:
            self._end = (now + self._lane.delay, end)

    def take(self, now: float) -> bytes:
        """Deliver the bytes that are due, or a part of them; call it again until there are none.

        :param now: the time, in seconds.
        :returns: bytes for the receiving end; none when no bytes are due.
        """
        if not self._entries or self._entries[0][0] > now:
            return b""  # before a fragment's size is drawn: the number of calls must not change the sizes
        room = self._room()
        pieces = []
        while room and self._entries and self._entries[0][0] <= now:
            data = self._entries[0][1]
            end = min(self._offset + room, len(data))
            # A slice of the whole is the same object, so data that passes whole is not copied.
            pieces.append(data[self._offset : end])
            room -= end - self._offset
            self._offset = end
            if end == len(data):
                self._entries.popleft()
                self._offset = 0
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.queued -= len(taken)
        self.delivered += len(taken)
        return taken

    def take_end(self, now: float) -> End | None:
        """Deliver the end once all bytes before it have been delivered and nothing holds it back.

        :param now: the time, in seconds.
        :returns: the end, or ``None`` while it is not due.
        """
        if self._end is None or self.queued or self.is_held or self._end[0] > now:
            return None
        end = self._end[1]
        self.close()
        return end

    def next_due(self) -> float | None:
        """Return the time of the next delivery, in seconds; ``None`` if none is due as things are."""
        if self.is_held:
            return None
        if self._entries:
            return self._entries[0][0]
        return self._end[0] if self._end is not None else None

    def truncate(self, queued: int) -> None:
        """Drop the bytes that entered last, until no more than a number of them wait.

        :param queued: that number.
        """
        while self.queued > queued:
            due, data = self._entries.pop()
            left = len(data) - (0 if self._entries else self._offset)
            excess = self.queued - queued
            if excess < left:
                self._entries.append((due, data[: len(data) - excess]))
            elif not self._entries:
                self._offset = 0
            self.queued -= min(excess, left)

    def close(self) -> None:
        """Drop the bytes that wait and all that enter from now on: the receiving end is gone."""
        self._entries.clear()
        self._offset = 0
        self.queued = 0
        self._end = None
        self.closed = True

    def cut(self, end: End, now: float) -> None:
        """Drop the bytes that wait, end every hold, and deliver nothing more but an end.

        :param end: how the receiving end learns of the cut.
        :param now: the time, in seconds.
        """
        self.close()
        if end is not End.UNSEEN:
            self._cut_at = self._stall_at = self._late_at = None
            self.stalled = False
            self._end = (now, end)

    def stall(self) -> None:
        """Deliver nothing until :meth:`resume`."""
        self.stalled = True

    def resume(self) -> None:
        """End every stall, also that of the plan."""
        self.stalled = False
        self._stall_at = None

    def release(self) -> None:
        """Stop holding back the bytes that were to be late."""
        self._late_at = None

    def _room(self) -> int:
        if self.is_held:
            return 0
        room = TAKE_BYTES if self._lane.fragment is None else self._sizes.randint(1, self._lane.fragment)
        for bound in (self._cut_at, self._stall_at, self._late_at):
            if bound is not None:
                room = min(room, bound - self.delivered)
        return room

    def _count(self, ends: list[int]) -> None:
        entered = self.delivered + self.queued
        for end in ends:
            for countdown in self._countdowns:
                countdown.left -= 1
                if not countdown.left:
                    at = entered + end
                    self._cut_at = at if self._cut_at is None else min(self._cut_at, at)


def legs(faults: Faults) -> dict[Direction, Leg]:
    """Make the two directions of a connection.

    :param faults: the connection's plan.
    """
    shared = () if faults.cut_after_records is None else (Countdown(faults.cut_after_records),)
    made = {}
    for direction, lane in ((Direction.TO_SERVER, faults.to_server), (Direction.TO_CLIENT, faults.to_client)):
        own = () if lane.cut_after_records is None else (Countdown(lane.cut_after_records),)
        late = faults.late.after if faults.late is not None and direction is Direction.TO_SERVER else None
        counting = own + shared
        made[direction] = Leg(lane, faults.records() if counting else None, counting, late)
    return made
