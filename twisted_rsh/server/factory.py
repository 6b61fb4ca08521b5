"""Makes a link for each connection that a server accepts, and knows them all."""

from __future__ import annotations

import random
import secrets

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from twisted_rsh.link.tls import LinkTLSFactory, ServerTLS
from twisted_rsh.server.capacity import Capacity
from twisted_rsh.server.link import ServerLink, ServerSettings, StrangerLog
from twisted_rsh.server.sessions import Sessions
from twisted_rsh.server.strangers import Admission, Offence, Penalties, RateLimitedLog, source_of

__all__ = ["RemoteShellFactory"]


class RemoteShellFactory(Factory):
    """A server's protocol factory, for any stream endpoint: it brings its own TLS.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param settings: what every link has in common.
    :param tls: makes the server's side of TLS.
    :ivar sessions: all sessions, with a link and without.
    """

    log = Logger()
    noisy = False

    def __init__(self, clock: IReactorTime, settings: ServerSettings, tls: ServerTLS) -> None:
        links = _LinkFactory(clock, settings)
        self._links = links
        self.sessions = links.sessions
        self._tls = LinkTLSFactory(tls, False, links, clock)
        self._turned_away = RateLimitedLog(self.log, clock)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        source = source_of(addr)
        if self._links.penalties.refuses(source):
            return None
        if not self._links.admission.admit(source):
            count = self._links.admission.count
            self._turned_away.info("a connection was turned away: {count} have not logged in", count=count)
            return None
        return self._tls.buildProtocol(addr)

    def go_away(self, text: str) -> Deferred[list[tuple[bool, None]]]:
        """End every session, because the server stops.

        :param text: one line for the clients.
        :returns: fires when every connection is gone and the last job has ended, also of clients that left before.
        """
        self.sessions.end_all("the server stops", text)
        gone = [link.go_away() for link in list(self._links.links)]
        return DeferredList([*gone, self._links.capacity.when_idle()])


class _LinkFactory(Factory):
    """Makes the links that TLS is wrapped around."""

    noisy = False

    def __init__(self, clock: IReactorTime, settings: ServerSettings) -> None:
        self._clock = clock
        self._settings = settings
        self.capacity = Capacity(settings.limits.window, settings.max_sessions_per_key, settings.max_buffered)
        self.sessions = Sessions(clock, self.capacity, secrets.token_bytes, log_commands=settings.log_commands)
        self._unauthenticated: dict[ServerLink, str | None] = {}
        self.links: set[ServerLink] = set()
        self.admission = Admission(
            random.SystemRandom().random, settings.max_unauthenticated, settings.max_unauthenticated_per_source
        )
        self.penalties = Penalties(clock)
        self._lines = StrangerLog(clock)
        self._refused_sources = RateLimitedLog(RemoteShellFactory.log, clock)

    def buildProtocol(self, addr: IAddress | None) -> ServerLink:
        source = source_of(addr)
        link = ServerLink(
            self._clock,
            self._settings,
            self.capacity,
            self.sessions,
            secrets.token_bytes,
            lambda: self._leave_admission(link),
            self._gone,
            lambda offence: self._punish(source, offence),
            self._lines,
        )
        self.links.add(link)
        self._unauthenticated[link] = source
        return link

    def _punish(self, source: str | None, offence: Offence) -> None:
        if not self._settings.penalties:
            return
        # A bad network cuts the dials of those who look for their session as well; nobody else is to pay for that.
        if offence in (Offence.NO_LOGIN, Offence.DEADLINE) and self.sessions.any_from(source):
            return
        seconds = self.penalties.add(source, offence)
        if seconds is not None:
            self._refused_sources.info(
                "{source} is refused for {seconds:.0f} s: {offence}",
                source=source,
                seconds=seconds,
                offence=offence.value,
            )

    def _gone(self, link: ServerLink) -> None:
        self.links.discard(link)
        self._leave_admission(link)

    def _leave_admission(self, link: ServerLink) -> None:
        if link in self._unauthenticated:
            self.admission.leave(self._unauthenticated.pop(link))
