"""What a link that a session goes on over has to repeat: all that the one before may have lost, in its order."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from twisted_rsh.core.channel import Channel
from twisted_rsh.core.codec import encode
from twisted_rsh.core.limits import REPLAY_BYTES
from twisted_rsh.core.messages import Data
from twisted_rsh.core.positions import Positions
from twisted_rsh.core.sequence import ControlOutbox

__all__ = ["Replay"]

_Entry = tuple[int, bytes | Data]
"""The place in the order of everything that was sent, and what was sent there."""


class Replay:
    """Frames that are to be sent once more, before all others; it is false when there are none left."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[bytes | Data] = deque()

    def __len__(self) -> int:
        """Return how many frames are left."""
        return len(self._pieces)

    def begin(self, outbox: ControlOutbox, channels: Iterable[Channel], peer: Positions) -> None:
        """Collect what the peer has not received, in the order in which it was sent.

        :param outbox: has been told which control messages the peer has.
        :param channels: those of the session.
        :param peer: what has arrived there, which has been checked.
        """
        listed = dict(peer.streams)
        logs: list[list[_Entry]] = [list(outbox.log)]
        for channel in channels:
            offsets = listed.get(channel.number)
            for index, (stream, outgoing) in enumerate(channel.sends.items()):
                # From what was received, not from what was consumed: the peer still has the bytes between the two.
                offset = outgoing.consumed if offsets is None else offsets[index]
                kept = outgoing.kept_from(offset)
                logs.append([(order, Data(channel.number, stream, start, data)) for order, start, data in kept])
        arrived = outbox.acknowledged_order
        self._pieces.extend(piece for order, piece in heapq.merge(*logs, key=_order) if order > arrived)

    def clear(self) -> None:
        """Forget it all: the link is lost as well."""
        self._pieces.clear()

    def take(self) -> list[bytes]:
        """Return the payloads to write next, up to :data:`~twisted_rsh.core.limits.REPLAY_BYTES` and one frame."""
        frames: list[bytes] = []
        size = 0
        while self._pieces and size < REPLAY_BYTES:
            piece = self._pieces.popleft()
            frame = encode(piece) if isinstance(piece, Data) else piece
            frames.append(frame)
            size += len(frame)
        return frames


def _order(entry: _Entry) -> int:
    return entry[0]
