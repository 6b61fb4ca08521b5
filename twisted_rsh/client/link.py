"""The client's side of a connection before there is a session on it: is this the server, and who waits to know?"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOProtocol

from twisted_rsh.client.errors import Error, NoServer, NotARemoteShell, SessionLost, WrongServer
from twisted_rsh.link.framed_link import LOGIN_SECONDS, FramedLink
from twisted_rsh.link.tls import LinkTLSFactory, PinnedClientTLS, peer_spki_sha256
from twisted_rsh.trust.fingerprint import format_fingerprint

__all__ = ["MakeLink", "PinnedLink", "dial"]

Result = TypeVar("Result")


class PinnedLink(FramedLink, Generic[Result]):
    """One connection to one server.  A subclass says what is asked of it.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param tls: what TLS was told to expect, and what it saw.
    :param pin: SHA-256 of the server's public key.
    :param outcome: fired with what the connection was made for, or with a
        :class:`~twisted_rsh.core.errors.Error`; once it has fired in another way, as because it was cancelled,
        the connection is of no use to anybody.
    :param login_seconds: the deadline of the answer, in seconds from the connection.
    """

    purpose = "the login"
    """What the server is asked for, for people."""

    def __init__(
        self,
        clock: IReactorTime,
        tls: PinnedClientTLS,
        pin: bytes,
        outcome: Deferred[Result],
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        super().__init__(clock, login_seconds=login_seconds)
        self.pin = pin
        self._tls = tls
        self._outcome = outcome
        self._recognized = False

    def ask(self) -> None:
        """For the subclass: this is the right server, and nothing of ours has been sent to it yet."""
        raise NotImplementedError

    def ready(self) -> None:
        """Ask, if this is the right server and somebody still wants to know."""
        if self._outcome.called:
            self.fail("nobody waits for this connection any more")
            return
        digest = peer_spki_sha256(self.tls)
        # TLS has compared it already; if that ever failed to happen, nothing below may.
        if digest is None or not hmac.compare_digest(digest, self.pin):
            self._tls.stranger = digest
            self.fail("the server has another key than expected")
            return
        self._recognized = True
        self.ask()

    def reach(self, result: Result) -> None:
        """Tell whoever waits that the connection is what it was made for."""
        if not self._outcome.called:
            self._outcome.callback(result)

    def give_up(self, error: Error) -> None:
        """Tell whoever waits that it will not be."""
        if not self._outcome.called:
            self._outcome.errback(error)

    def explain(self, reason: str) -> Error:
        """Say why the connection ended before it was what it was made for.

        :param reason: one line, from the link.
        """
        if self._recognized:
            return SessionLost(f"{self.peer} ended the connection during {self.purpose}: {reason}")
        if self._tls.stranger is not None:
            return WrongServer(
                f"{self.peer} is not the expected server: its key is {format_fingerprint(self._tls.stranger)}, "
                f"expected {format_fingerprint(self.pin)}"
            )
        return NotARemoteShell(f"what answers at {self.peer} is no twisted-rsh server: {reason}")


MakeLink = Callable[[PinnedClientTLS, "Deferred[Result]"], PinnedLink[Result]]
"""Makes the link of one connection, from its TLS and from what to fire with its result."""


def dial(reactor: Any, endpoint: IStreamClientEndpoint, pin: bytes, make_link: MakeLink[Result]) -> Deferred[Result]:
    """Connect to a server whose key is known.

    :param reactor: the reactor.
    :param endpoint: where it listens; TLS is added to it.
    :param pin: SHA-256 of its public key, 32 bytes.
    :param make_link: makes the link; called again if the endpoint connects more than once.
    :returns: fires with the link's result; fails with a :class:`~twisted_rsh.core.errors.Error`, or with
        whatever the endpoint failed with.  Cancelling it hangs up, also on a connection that comes later.
    """
    tls = PinnedClientTLS(pin)
    outcome: Deferred[Result] = Deferred()
    factory = LinkTLSFactory(tls, True, _LinkFactory(lambda: make_link(tls, outcome)), reactor)

    async def connecting() -> Result:
        try:
            wrapper = await _cancellable(endpoint.connect(factory))
        except BaseException as error:
            outcome.addErrback(lambda _: None)
            outcome.cancel()  # a connection that comes all the same finds nobody waiting
            if isinstance(error, ConnectError | DNSLookupError):
                raise NoServer(_no_server(error)) from error
            raise
        try:
            return await outcome
        except BaseException:
            cast("TLSMemoryBIOProtocol", wrapper).abortConnection()
            raise

    return Deferred.fromCoroutine(connecting())


class _LinkFactory(Factory):
    noisy = False

    def __init__(self, make_link: Callable[[], Protocol]) -> None:
        self._make_link = make_link

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._make_link()


def _cancellable(connecting: Deferred[IProtocol]) -> Deferred[IProtocol]:
    """Make a cancelled endpoint fail with `CancelledError`, whatever it would say itself."""
    cancelled = False

    def cancel(_: Deferred[IProtocol]) -> None:
        nonlocal cancelled
        cancelled = True
        connecting.cancel()

    waiting: Deferred[IProtocol] = Deferred(cancel)
    connecting.addBoth(lambda result: None if cancelled else waiting.callback(result))
    return waiting


def _no_server(error: Exception) -> str:
    reason = getattr(error, "osError", None)
    return os.strerror(reason) if isinstance(reason, int) else str(error).rstrip(".")
