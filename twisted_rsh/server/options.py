"""The choices of a server's operator: :class:`ServiceOptions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.interfaces import IStreamServerEndpoint

from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server.admission import DROP_START, MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.server.capacity import (
    MAX_KEPT_JOBS,
    MAX_SESSIONS,
    MAX_SESSIONS_PER_KEY,
    MAX_UNREAD_INPUT_BYTES,
    MAX_UNREAD_OUTPUT_BYTES,
    MAX_WINDOW_GROWTH_BYTES,
)

__all__ = ["AUTO", "ServiceOptions"]

AUTO = "auto"
"""The Unix socket of a server that was told no path: in a folder that no other user can enter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """The choices of a server's operator, named like the options of ``twistd rsh``.

    :ivar interfaces: numeric addresses to listen on; ``None`` for the loopback addresses, or for no address at all if
        there are endpoints.
    :ivar port: the TCP port on each of the interfaces; 0 for a free one that the system chooses.
    :ivar endpoints: further endpoints to listen on; the server adds TLS to each.  At a Unix socket it takes clients
        without TLS as well.
    :ivar socket: the path of a Unix socket to listen on besides the addresses; :data:`AUTO` for one in a folder of the
        user's own, named like the TCP port; ``None`` for none.  At it clients need neither TLS nor a key: the portal
        decides about their user (:class:`twisted_rsh.trust.cred.IVerifiedPeer`).
    :ivar limits: the bounds of a session.
    :ivar login_timeout: seconds that a client has to log in, from its connection on.
    :ivar max_unauthenticated: connections that may exist at once without a login, and besides them as many of the
        server's own user.
    :ivar drop_start: connections without a login from which on the server turns some away at random.
    :ivar max_unauthenticated_per_source: connections without a login that one source may have at once.  A source is an
        IPv4 address, an IPv6 network of 64 bits, or another user of this machine where the system tells it.
    :ivar penalties: whether the server refuses a source for a while when it misbehaves before it logs in
        (:mod:`twisted_rsh.server.strangers`).
    :ivar max_sessions: sessions that there may be at once, with a connection and without; the server refuses further
        logins.
    :ivar max_sessions_per_key: sessions of one key that may have a connection or a job at once; likewise.
    :ivar max_unread_input: bytes of input that all jobs together may leave unread; the server refuses further jobs.
    :ivar max_unread_output: bytes of output that all clients together may leave unread; likewise.
    :ivar max_kept_jobs: jobs that may be kept without a client at once; the server refuses further ones; 0 for none.
    :ivar max_window_growth: bytes by which the windows of all sessions may grow beyond that of the limits, together; 0
        for windows that never grow.
    :ivar log_commands: whether the log names the commands that clients run.
    :ivar observers: learn what happens at the server.
    """

    interfaces: Sequence[str] | None = None
    port: int = DEFAULT_PORT
    endpoints: Sequence[IStreamServerEndpoint] = ()
    socket: str | None = AUTO
    limits: SessionLimits = field(default_factory=SessionLimits)
    login_timeout: float = LOGIN_SECONDS
    max_unauthenticated: int = MAX_UNAUTHENTICATED
    drop_start: int = DROP_START
    max_unauthenticated_per_source: int = MAX_UNAUTHENTICATED_PER_SOURCE
    penalties: bool = True
    max_sessions: int = MAX_SESSIONS
    max_sessions_per_key: int = MAX_SESSIONS_PER_KEY
    max_unread_input: int = MAX_UNREAD_INPUT_BYTES
    max_unread_output: int = MAX_UNREAD_OUTPUT_BYTES
    max_kept_jobs: int = MAX_KEPT_JOBS
    max_window_growth: int = MAX_WINDOW_GROWTH_BYTES
    log_commands: bool = False
    observers: Sequence[IServerObserver] = ()
