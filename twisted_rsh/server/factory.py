"""The server's protocol factory: it makes a link for each connection, and holds what all links of a server share."""

from __future__ import annotations

import os
import resource
from dataclasses import asdict
from typing import cast

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_rsh.link.local import LocalServerLayer
from twisted_rsh.link.tls import REFUSED_ALERT, TLS_FIRST_BYTE, LinkTLS, LinkTLSFactory, ServerTLS
from twisted_rsh.server.capacity import Capacity
from twisted_rsh.server.invitations import Invitations
from twisted_rsh.server.link import ServerLink
from twisted_rsh.server.observers import Observers
from twisted_rsh.server.options import ServiceOptions
from twisted_rsh.server.peers import unix_peer
from twisted_rsh.server.sessions import Sessions
from twisted_rsh.server.sources import source_of
from twisted_rsh.server.strangers import Strangers
from twisted_rsh.server_events import BoundUse, Refusal, RefusalKind
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.server_key import ServerKey

__all__ = ["MAX_LISTED_SOURCES", "RemoteShellFactory"]

MAX_LISTED_SOURCES = 20
"""Sources of connections without a login in a list, those with most: as many as a person looks at."""


class RemoteShellFactory(Factory):
    """A server's protocol factory, for any stream endpoint: it brings its own TLS.

    A client at a Unix socket may also do without TLS, and log in as the user that the system names
    (:class:`twisted_rsh.trust.cred.IVerifiedPeer`).

    :param clock: where deadlines are scheduled, usually the reactor.
    :param portal: decides which keys may log in, and as which user object.
    :param key: the server's key.
    :param instance_id: names this run of the server.
    :param options: the operator's choices; ``None`` for the defaults.
    :param invitations: lets further keys in; ``None`` to take no invitation.
    :ivar clock: as above.
    :ivar portal: as above.
    :ivar key: as above.
    :ivar next_key: the key that the server will have, which each login announces; ``None`` for the same.
    :ivar instance_id: as above.
    :ivar options: as above.
    :ivar invitations: as above.
    :ivar capacity: bounds the jobs of logged-in clients.
    :ivar strangers: bounds the connections that have not logged in.
    :ivar observers: are told of what happens; ``None`` for a server without any.
    :ivar sessions: all sessions, with a link and without.
    :ivar links: all links, with a session and without.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        portal: Portal,
        key: ServerKey,
        instance_id: str,
        options: ServiceOptions | None = None,
        invitations: Invitations | None = None,
    ) -> None:
        options = ServiceOptions() if options is None else options
        self.clock = clock
        self.portal = portal
        self.key = key
        self.next_key: ServerKey | None = None
        self.instance_id = instance_id
        self.options = options
        self.invitations = invitations
        self.capacity = Capacity(
            options.limits.window,
            options.max_unread_input,
            options.max_unread_output,
            options.max_kept_jobs,
            options.max_window_growth,
        )
        self.strangers = Strangers(
            clock,
            options.max_unauthenticated,
            options.max_unauthenticated_per_source,
            penalties=options.penalties,
            drop_start=options.drop_start,
        )
        self.observers = Observers(options.observers, clock) if options.observers else None
        self.sessions = Sessions(
            clock,
            self.capacity,
            max_sessions=options.max_sessions,
            max_sessions_per_key=options.max_sessions_per_key,
            log_commands=options.log_commands,
            observers=self.observers,
        )
        self.links: set[ServerLink] = set()
        self._began_at = clock.seconds()
        self._tls = LinkTLSFactory(ServerTLS(key.private_key, key.certificate), False, self, clock)

    def change_options(self, options: ServiceOptions) -> None:
        """Take other choices of the operator, for connections, sessions and jobs that come.

        :param options: the choices.  Where the server listens, its windows and their growth stay as they are.
        """
        self.options = options
        self.capacity.set_bounds(options.max_unread_input, options.max_unread_output, options.max_kept_jobs)
        self.strangers.set_bounds(
            options.max_unauthenticated,
            options.max_unauthenticated_per_source,
            options.drop_start,
            penalties=options.penalties,
        )
        self.sessions.set_bounds(options.max_sessions, options.max_sessions_per_key)
        self.sessions.log_commands = options.log_commands

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Entrance(self._tls, self, addr)

    def new_link(self, source: str | None) -> ServerLink:
        """Make the link of a connection that was let in; its layer is still to be put under it.

        :param source: the source that the connection counts for.
        """
        link = ServerLink(self, source)
        self.links.add(link)
        return link

    def link_ended(self, link: ServerLink) -> None:
        """Forget a link that is gone."""
        self.links.discard(link)

    def bounds(self) -> list[BoundUse]:
        """Return the server's bounds, and how far each is used; with thousands of sessions it takes milliseconds."""
        per_session = BoundUse(
            option="--max-jobs-per-session",
            used=max((session.jobs.count for session in self.sessions), default=0),
            allowed=self.options.limits.max_channels,
            unit="jobs",
        )
        bounds = [*self.sessions.bounds(), per_session, *self.capacity.bounds(), *self.strangers.admission.bounds()]
        files = _open_files()
        return bounds if files is None else [*bounds, files]

    def describe(self) -> dict[str, object]:
        """Return what the server's own account may know of the server, for :mod:`twisted_rsh.server.control`."""
        waiting = self.strangers.admission.waiting()
        detached = sum(session.detached_at is not None for session in self.sessions)
        return {
            "instance": self.instance_id,
            "pid": os.getpid(),
            "key": format_fingerprint(self.key.spki_sha256),
            "seconds": round(self.clock.seconds() - self._began_at, 3),
            "attached": len(self.sessions) - detached,
            "detached": detached,
            "jobs": self.capacity.jobs,
            "bounds": [asdict(bound) for bound in self.bounds()],
            "waiting": {
                "connections": self.strangers.admission.count,
                "sources": [{"source": source, "connections": count} for source, count in waiting[:MAX_LISTED_SOURCES]],
                "sources_left_out": len(waiting[MAX_LISTED_SOURCES:]),
                "sources_with_penalty": len(self.strangers.penalties),
                "held_sessions": self.sessions.held,
            },
        }

    def go_away(self, text: str) -> Deferred[None]:
        """End every session, because the server stops.

        :param text: one line for the clients.
        :returns: fires when every connection is gone and the last job has ended, also of clients that left before.
            Cancelling it ends the waiting alone.
        """

        async def wait() -> None:
            for end in (*gone, self.capacity.when_idle()):
                await end
            self.sessions.rest()  # some of the jobs have ended after the last session

        self.sessions.end_all("the server stops", text)
        gone = [link.go_away() for link in list(self.links)]
        return Deferred.fromCoroutine(wait())


def _open_files() -> BoundUse | None:
    """Return how many files the process has open, and may have; ``None`` where the system does not tell at once."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = os.stat("/proc/self/fd").st_size  # their number, since Linux 6.2; counting thousands takes milliseconds
    except OSError:
        return None
    return BoundUse(option="ulimit -n", used=used, allowed=allowed, unit="files") if used and allowed > 0 else None


class _Entrance(LinkTLS):
    """The layer below a link that is made only if the connection is let in; otherwise the client is told why not.

    Only with its transport does the system tell which user a connection from this machine comes from.  The layer is
    TLS, and on a Unix socket that of :mod:`twisted_rsh.link.local`, unless the client begins TLS there.
    """

    def __init__(self, tls: LinkTLSFactory, factory: RemoteShellFactory, address: IAddress | None) -> None:
        LinkTLS.__init__(self, tls, Protocol(), connect_wrapped=False)
        self._factory = factory
        self._address = address
        self._local: LocalServerLayer | None = None
        self._has_tls = False

    def makeConnection(self, transport: ITransport) -> None:
        strangers = self._factory.strangers
        source = source_of(transport, self._address)
        alert = strangers.admit(source)
        if alert is not None:
            transport.write(alert)
            transport.loseConnection()
            observers = self._factory.observers
            if observers is not None:
                kind = RefusalKind.PENALTY if alert == REFUSED_ALERT else RefusalKind.BUSY
                observers.report(Refusal(kind=kind, peer=source or str(self._address), detail="turned away"))
            return
        self.wrappedProtocol = link = self._factory.new_link(source)
        credentials = unix_peer(transport)
        if credentials is None:
            self._begin_tls(transport)
            link.makeConnection(self)  # type: ignore[no-untyped-call]  # Twisted's own
        else:
            self._local = LocalServerLayer(link, self._factory.key.spki_sha256, credentials)
            self._local.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own

    def _begin_tls(self, transport: ITransport) -> None:
        self._has_tls = True
        LinkTLS.makeConnection(self, transport)

    def dataReceived(self, data: bytes) -> None:
        if self._local is not None and not self._local.first_bytes and data.startswith(TLS_FIRST_BYTE):
            transport = cast("ITransport", self._local.transport)
            self._local = None
            self._begin_tls(transport)
            cast("ServerLink", self.wrappedProtocol).use_tls(self)
        if self._has_tls:
            LinkTLS.dataReceived(self, data)
        elif self._local is not None:
            self._local.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._has_tls:
            LinkTLS.connectionLost(self, reason)
        elif self._local is not None:
            self._local.connectionLost(reason)
