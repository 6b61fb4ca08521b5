"""Whether a descriptor has something to read, whatever its number is: select(2) takes none above 1023."""

from __future__ import annotations

import select

__all__ = ["is_readable"]


def is_readable(fd: int, seconds: float | None = 0.0) -> bool:
    """Wait until a descriptor has something to read, or is at its end.

    :param fd: the descriptor.
    :param seconds: how long to wait at most; ``None`` for without a bound.
    :returns: whether it has.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
