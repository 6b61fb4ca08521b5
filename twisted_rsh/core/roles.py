"""Who speaks, in which phase, on which stream, and at which port unless told otherwise."""

from __future__ import annotations

import enum

__all__ = ["DEFAULT_PORT", "OUTPUTS", "Phase", "Role", "Stream"]

DEFAULT_PORT = 8082
"""The TCP port of a server, and the one that a client dials, unless told otherwise."""


class Role(enum.Enum):
    """One of the two ends of a link."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Phase(enum.Enum):
    """What a link is doing; it decides which messages exist at all."""

    LOGIN = "login"
    """Before AUTH_OK: the client may send AUTH, the server answers."""

    SESSION = "session"
    """After AUTH_OK: everything about jobs."""


class Stream(enum.IntEnum):
    """A byte stream of a job, numbered like its file descriptor."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2

    # That of enum.Enum looks the name up; streams are the keys of the busiest tables.
    __hash__ = int.__hash__

    @property
    def sender(self) -> Role:
        """The role that sends this stream's data."""
        return Role.CLIENT if self is Stream.STDIN else Role.SERVER


OUTPUTS = (Stream.STDOUT, Stream.STDERR)
"""The streams that a job writes."""
