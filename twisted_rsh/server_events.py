"""What happens at a server, as values for its observers (:class:`twisted_rsh.interfaces.IServerObserver`).

Every text in them may come from a stranger: escape it before it is shown.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from twisted_rsh.core.endings import JobEnd
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.values import dataclass

__all__ = [
    "BoundUse",
    "JobBegan",
    "JobFinished",
    "LogsRotated",
    "Refusal",
    "RefusalKind",
    "ServerEvent",
    "ServerStarted",
    "ServerStopped",
    "SessionBegan",
    "SessionDetached",
    "SessionEnded",
    "SessionInfo",
    "SessionResumed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundUse:
    """One bound of a server, and how far it is used.

    :ivar option: the option that sets it, such as ``"--max-sessions"``, or ``"ulimit -n"``.
    :ivar used: how much of it is used now.
    :ivar allowed: how much there may be.
    :ivar unit: what both count: ``"bytes"``, ``"connections"``, ``"files"``, ``"jobs"`` or ``"sessions"``.
    """

    option: str
    used: int
    allowed: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What identifies a session, the same in all of its events.

    :ivar id: its identifier, 32 hexadecimal digits, as ``twisted-rsh status --json`` has it.
    :ivar user: the name of the user object.
    :ivar key: the fingerprint of the key that logged in.
    """

    id: str
    user: str
    key: str


class RefusalKind(enum.Enum):
    """The reason why a connection got no session, for the operator; no client learns it."""

    BUSY = "busy"
    """Too many connections have not logged in (``--max-unauthenticated`` and its kin)."""

    PENALTY = "penalty"
    """The source has misbehaved, and is refused for a while."""

    PROTOCOL = "protocol"
    """The peer sent what no client sends."""

    DEADLINE = "deadline"
    """The login was not complete in time."""

    NO_LOGIN = "no-login"
    """The connection ended without an attempt to log in."""

    SIGNATURE = "signature"
    """The key or the signature is malformed or wrong."""

    INVITATION = "invitation"
    """The invitation is wrong, over or used."""

    KEY = "key"
    """The portal does not let this key in, or not as this user."""

    PORTAL = "portal"
    """The portal broke, or answered with something that is no user."""

    RESUME = "resume"
    """A resume names no session, or does not come from its client, or the key may not log in any more."""

    UNAVAILABLE = "unavailable"
    """The client has proved who it is, and cannot be served now: a bound is reached, or something is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStarted:
    """The server listens.

    :ivar instance: names this run of the server.
    :ivar fingerprint: of the server's key.
    :ivar addresses: where it listens.
    :ivar bounds: returns the server's bounds and how far they are used, at any time.  It takes some milliseconds where
        there are thousands of sessions.
    """

    instance: str
    fingerprint: str
    addresses: tuple[str, ...]
    bounds: Callable[[], Sequence[BoundUse]]


@dataclass(frozen=True, slots=True)
class ServerStopped:
    """The server has stopped: all sessions are over, and all jobs have ended.  It may start again."""


@dataclass(frozen=True, slots=True)
class LogsRotated:
    """The files of logs have been renamed: open them again.  A stand-alone server reports it at SIGHUP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A connection did not get a session.  One connection may be refused up to three times.

    :ivar kind: the reason.
    :ivar peer: the address of the client, or the source that it counts for where the address is not known.
    :ivar detail: one line for the operator.
    """

    kind: RefusalKind
    peer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBegan:
    """A client has logged in.

    :ivar session: the session.
    :ivar peer: the client's address.
    """

    session: SessionInfo
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetached:
    """A session has lost its connection, and waits for its client; or its client left, and kept jobs go on.

    :ivar session: the session.
    :ivar peer: the last address of the client.
    :ivar reason: one line.
    :ivar jobs: the number of its jobs that run.
    """

    session: SessionInfo
    peer: str
    reason: str
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed:
    """A client goes on with its session over another connection.

    :ivar session: the session.
    :ivar peer: the client's address now.
    :ivar away: seconds that it had no connection; ``None`` if it still had one, which is closed.
    """

    session: SessionInfo
    peer: str
    away: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded:
    """A session is over.  Jobs of it that have not ended yet are made to end, and report that later.

    :ivar session: the session.
    :ivar peer: the last address of the client.
    :ivar reason: one line.
    :ivar seconds: from the login on.
    :ivar was_detached: whether it had no connection.
    :ivar stdin: bytes of input that all of its jobs got; of jobs that go on, so far.
    :ivar stdout: bytes of standard output likewise.
    :ivar stderr: bytes of standard error likewise.
    """

    session: SessionInfo
    peer: str
    reason: str
    seconds: float
    was_detached: bool
    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBegan:
    """A client asks for a job.  An observer that raises :class:`~twisted_rsh.interfaces.JobRefused` refuses it.

    Each job that has begun finishes once, one that is refused included.

    :ivar session: its session.
    :ivar peer: the client's address.
    :ivar channel: the number of its channel, which no other job of the session has.
    :ivar request: what the client asks for.
    """

    session: SessionInfo
    peer: str
    channel: int
    request: JobRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished:
    """A job has ended.

    :ivar session: its session.
    :ivar peer: the last address of the client.
    :ivar channel: as in :class:`JobBegan`.
    :ivar request: as in :class:`JobBegan`.
    :ivar end: how it ended.
    :ivar pid: the process, where there was one.
    :ivar seconds: from its beginning on.
    :ivar stdin: bytes of input that it was given.
    :ivar stdout: bytes of its standard output that were taken.
    :ivar stderr: bytes of its standard error likewise.
    """

    session: SessionInfo
    peer: str
    channel: int
    request: JobRequest
    end: JobEnd
    pid: int | None
    seconds: float
    stdin: int
    stdout: int
    stderr: int


ServerEvent = (
    ServerStarted
    | ServerStopped
    | LogsRotated
    | Refusal
    | SessionBegan
    | SessionDetached
    | SessionResumed
    | SessionEnded
    | JobBegan
    | JobFinished
)
"""Anything that happens at a server.  Later versions may add kinds: an observer leaves alone what it does not know."""
