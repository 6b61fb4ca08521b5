"""Connecting a link to an endpoint, and waiting until it is what it was made for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IAddress, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOProtocol

from twisted_rsh.client.errors import NoServer
from twisted_rsh.client.pinned_link import PinnedLink
from twisted_rsh.link.tls import LinkTLSFactory, PinnedClientTLS

__all__ = ["MakeLink", "dial"]

Result = TypeVar("Result")

MakeLink = Callable[[PinnedClientTLS, "Deferred[Result]"], PinnedLink[Result]]
"""Makes the link of one connection, from its TLS and from what to fire with its result."""


def dial(reactor: Any, endpoint: IStreamClientEndpoint, pin: bytes, make_link: MakeLink[Result]) -> Deferred[Result]:
    """Connect to a server whose key is known.

    :param reactor: the reactor.
    :param endpoint: where it listens; TLS is added to it.
    :param pin: SHA-256 of its public key, 32 bytes.
    :param make_link: makes the link; called again if the endpoint connects more than once.
    :returns: fires with the link's result; fails with a :class:`~twisted_rsh.client.errors.ClientError`, or with
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
