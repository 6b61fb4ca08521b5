"""The words of the protocol: roles, phases, streams, and ports."""

from __future__ import annotations

import enum

__all__ = ["DEFAULT_PORT", "MAX_PORT", "OUTPUTS", "RECEIVED_BY", "SENT_BY", "Phase", "Role", "Stream"]

DEFAULT_PORT = 8082
"""The TCP port on which a server listens, and which a client dials, unless another is given."""

MAX_PORT = 2**16 - 1
"""The highest TCP port."""


class Role(enum.Enum):
    """One of the two ends of a link."""

    CLIENT = "client"
    SERVER = "server"

    # Members are compared by identity; enum.Enum's own hash looks the name up.
    __hash__ = object.__hash__

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Phase(enum.Enum):
    """What a link is doing; the phase decides which messages exist at all."""

    LOGIN = "login"
    """Before AUTH_OK or RESUME_OK: the client sends AUTH or RESUME, and the server answers."""

    SESSION = "session"
    """After AUTH_OK or RESUME_OK: both sides send messages about jobs."""


class Stream(enum.IntEnum):
    """A byte stream of a job, numbered like its file descriptor."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2

    # enum.Enum's own hash looks the name up; streams are the keys of the busiest tables.
    __hash__ = int.__hash__

    @property
    def sender(self) -> Role:
        """The role that sends this stream's data."""
        return Role.CLIENT if self is Stream.STDIN else Role.SERVER


SENT_BY = {role: tuple(stream for stream in Stream if stream.sender is role) for role in Role}
"""The streams that each role sends."""

RECEIVED_BY = {role: SENT_BY[role.peer] for role in Role}
"""The streams that each role receives."""

OUTPUTS = SENT_BY[Role.SERVER]
"""The streams that a job writes."""
