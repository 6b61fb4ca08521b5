"""A client's link until a session begins on it: connect, check the server's key or its user, send one request."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from twisted_rsh.client.errors import (
    Error,
    ForeignServer,
    LoginRefused,
    NoServer,
    NotARemoteShell,
    ServerBusy,
    SessionLost,
    WrongServer,
)
from twisted_rsh.client.socket_address import SocketEndpoint
from twisted_rsh.closing import close_after_events
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.link.framed_link import LOGIN_SECONDS, Fault, FramedLink
from twisted_rsh.link.local import LocalClientFactory, LocalClientLayer
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import (
    BUSY_ALERT,
    REFUSED_ALERT,
    LinkTLS,
    LinkTLSFactory,
    PinnedClientTLS,
    is_pinned,
    peer_spki_sha256,
    reason_text,
)
from twisted_rsh.trust.fingerprint import format_fingerprint

if TYPE_CHECKING:
    from twisted_rsh.trust.server_authorities import ServerAuthorities

__all__ = ["ClientLink", "dial"]


class ClientLink(FramedLink):
    """The client's end of one connection.

    :func:`dial` returns one that has reached the right server.  Send it a request with :meth:`ask`; when the answer
    begins or resumes a session, :meth:`carry` it.

    :param clock: schedules deadlines, usually the reactor.
    :param tls: the client's side of TLS, which has recorded the key of a wrong server.
    :param pins: SHA-256 of each public key that the server may have, 32 bytes.
    :param found: fires with this link once the server is known to be the right one, and fails with an
        :class:`~twisted_rsh.core.errors.Error` if the connection ends before that.  A link that comes to the same point
        after it has fired, as after it was cancelled, aborts itself.
    :param login_seconds: seconds from the connection to the answer to the request.
    :ivar pin: that of the key that the server has; empty until it is known to be the right one.
    :ivar gone: fires with one line, the reason, when the connection has ended; never fails.
    :ivar breached: whether the server broke the protocol within the session.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tls: PinnedClientTLS,
        pins: Collection[bytes],
        found: Deferred[ClientLink],
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        super().__init__(clock, login_seconds=login_seconds)
        self.pin = b""
        self.gone: Deferred[str] = Deferred()
        self.breached = False
        self._tls = tls
        self._pins = pins
        self._found = found
        self._answer: Deferred[bytes] | None = None
        self._pump: SessionPump | None = None
        self._broke_off = False

    @property
    def peer(self) -> str:
        """The server's address, for people."""
        address = self.tls.getPeer()
        if not isinstance(address, UNIXAddress):
            return super().peer
        return f"unix:{os.fsdecode(address.name)}" if address.name else "the far end of a proxy"

    @property
    def is_local(self) -> bool:
        """Whether the system names the users at both ends: the link is over a Unix socket, without TLS."""
        return isinstance(self.tls, LocalClientLayer)

    def ask(self, request: bytes, purpose: str) -> Deferred[bytes]:
        """Send a request; that before it, if there was one, has been answered.

        The caller goes on within the call that delivers the answer, so that it can :meth:`carry` a session before the
        next frame of the same read is looked at.

        :param request: the payload of its frame.
        :param purpose: a name of the request for people, such as ``"the login"``.
        :returns: fires with the payload of the answer; fails with :class:`~twisted_rsh.client.errors.SessionLost` when
            the connection ends before the answer.
        """
        self._answer = answer = Deferred[bytes]()

        def fail(reason: str) -> str:
            if not answer.called:
                answer.errback(SessionLost(f"{self.peer} ended the connection during {purpose}: {reason}"))
            return reason

        self.gone.addCallback(fail)
        self.write_frames([request])
        return answer

    def carry(self, pump: SessionPump) -> None:
        """Give every further frame to a session.

        :param pump: the session's; it has been started or resumed on this link, or is before the next frame.
        """
        self._pump = pump

    # For FramedLink to call.

    def ready(self) -> None:
        """Compare the server's key, and hand the link over."""
        if self._found.called:
            self.fail("the attempt to connect was given up, or another connection was faster")
            return
        if isinstance(self.tls, LocalClientLayer):
            digest: bytes | None = self.tls.server_pin
            is_expected = not self._pins or is_pinned(digest, self._pins)
        else:
            digest = peer_spki_sha256(cast("LinkTLS", self.tls))
            # TLS has compared it already; if that ever failed to happen, nothing below may.
            is_expected = self._tls.expects(digest)
        if digest is None or not is_expected:
            self._tls.stranger = digest
            self.fail("the server has another key than expected")
            return
        self.pin = digest
        self._found.callback(self)

    def frame_received(self, payload: bytes) -> None:
        """Deliver the payload of one frame.

        :raises RemoteProtocolError: the server broke the protocol.
        """
        if self._pump is not None:
            try:
                self._pump.frame_received(self, payload)
            except RemoteProtocolError:
                self.breached = True
                raise
        elif self._answer is not None and not self._answer.called:
            self._answer.callback(payload)
        else:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "a frame before anything was asked")

    def ended(self, reason: str) -> None:
        """Report the end of the connection."""
        if not self._found.called:
            self._found.errback(self._explain(reason))
        self.gone.callback(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._broke_off = not reason.check(SSL.Error)
        super().connectionLost(reason)

    def _explain(self, reason: str) -> Error:
        layer = cast("LinkTLS | LocalClientLayer", self.tls)
        first_bytes = layer.first_bytes
        if first_bytes == BUSY_ALERT:
            return ServerBusy(
                f"the server at {self.peer} is too busy (too many connections wait for a login); "
                "try again, or raise its --max-unauthenticated"
            )
        if first_bytes == REFUSED_ALERT:
            return LoginRefused(
                f"the server at {self.peer} refuses all connections from this machine, or of this user, for a while, "
                "because too many of them failed"
            )
        if isinstance(layer, LocalClientLayer) and layer.stranger is not None:
            uid = layer.stranger.uid
            return ForeignServer(
                f"the process that listens on {self.peer} is of uid {uid}, neither yours nor the owner's of that file; "
                f"nothing was sent to it",
                uid,
            )
        if self._tls.stranger is not None:
            expected = " or ".join(map(format_fingerprint, self._pins)) or "none"
            refusal = self._tls.refusal and f"; its certificate does not count: {self._tls.refusal}"
            return WrongServer(
                f"{self.peer} is not the expected server: its key is {format_fingerprint(self._tls.stranger)}, "
                f"expected {expected}{refusal}",
                self._tls.stranger,
            )
        if self._broke_off or self.fault is Fault.DEADLINE:
            # A server of ours may do this too, as when it is killed or stopped.
            said = "within the handshake" if first_bytes else "before it said anything"
            return NoServer(f"the connection with {self.peer} ended {said}: {reason}")
        return NotARemoteShell(f"what answers at {self.peer} is no twisted-rsh server: {reason}")


async def dial(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    pins: Collection[bytes],
    login_seconds: float = LOGIN_SECONDS,
    authorities: ServerAuthorities | None = None,
) -> ClientLink:
    """Connect to a server that may have one of some keys.  Cancelling hangs up, also on a connection that comes later.

    :param reactor: the reactor.
    :param endpoint: the server's address; TLS is added to it, unless it is a
        :class:`~twisted_rsh.client.socket_address.SocketEndpoint`.
    :param pins: SHA-256 of each public key that the server may have, 32 bytes; with none the dial fails, and the error
        has the key of the server.  At a Unix socket none means any, as the user of the server is what counts there.
    :param login_seconds: seconds from the connection to the answer to the request that the caller sends next.
    :param authorities: vouch for further keys; ``None`` for none.
    :returns: a link to that server, to which nothing has been sent.
    :raises twisted_rsh.client.errors.NoServer: nothing answers there.
    :raises twisted_rsh.client.errors.ServerBusy: the server has no room for the connection; dial again.
    :raises twisted_rsh.client.errors.LoginRefused: the server refuses all connections from here for a while.
    :raises twisted_rsh.client.errors.NotARemoteShell: a server answers that does not speak this protocol.
    :raises twisted_rsh.client.errors.WrongServer: the server has another key.
    :raises twisted_rsh.client.errors.ForeignServer: a process of a user who is not trusted listens on the Unix socket.
    :raises twisted_rsh.client.errors.SessionLost: the right server has ended the connection already.
    :raises Exception: any other error of the endpoint.
    """
    links = _LinkFactory(reactor, pins, login_seconds, authorities)
    try:
        wrapper = await _cancellable(reactor, endpoint.connect(_layers(reactor, endpoint, links)))
    except BaseException as error:
        links.give_up()
        if isinstance(error, ConnectError | DNSLookupError):
            raise NoServer(_no_server(error)) from error
        raise
    try:
        link = await links.found
    except BaseException:
        cast("TLSMemoryBIOProtocol", wrapper).abortConnection()
        raise
    if link.dead:  # before the endpoint has fired
        raise SessionLost(f"{link.peer} ended the connection before the login: {await link.gone}")
    return link


def _layers(reactor: Any, endpoint: IStreamClientEndpoint, links: _LinkFactory) -> IProtocolFactory:
    """Return a factory that puts what the endpoint needs below each link."""
    if isinstance(endpoint, SocketEndpoint):
        return cast("IProtocolFactory", LocalClientFactory(links, endpoint.trusted()))
    return cast("IProtocolFactory", LinkTLSFactory(links.tls, True, links, reactor))


class _LinkFactory(Factory):
    """Makes the links of one dial, of which there are several when the endpoint connects more than once."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        pins: Collection[bytes],
        login_seconds: float,
        authorities: ServerAuthorities | None = None,
    ) -> None:
        self.tls = PinnedClientTLS(*pins, authorities=authorities)
        self.found: Deferred[ClientLink] = Deferred()
        self._clock = clock
        self._pins = pins
        self._login_seconds = login_seconds

    def buildProtocol(self, addr: IAddress | None) -> ClientLink:
        return ClientLink(self._clock, self.tls, self._pins, self.found, self._login_seconds)

    def give_up(self) -> None:
        """Abort the link that was found, or each that will be."""
        self.found.addCallbacks(lambda link: link.fail("the attempt to connect was given up"), lambda _: None)
        self.found.cancel()


def _cancellable(reactor: Any, connecting: Deferred[IProtocol]) -> Deferred[IProtocol]:
    """Make a cancelled endpoint fail with `CancelledError` at once, and close its sockets a turn later.

    A connection that is made within that turn is aborted.
    """
    cancelled = False

    def cancel(_: Deferred[IProtocol]) -> None:
        nonlocal cancelled
        cancelled = True
        close_after_events(reactor, connecting.cancel)  # Twisted would close the socket at once

    def finish(result: IProtocol | Failure) -> None:
        if not cancelled:
            waiting.callback(result)
        elif not isinstance(result, Failure):
            cast("TLSMemoryBIOProtocol", result).abortConnection()

    waiting: Deferred[IProtocol] = Deferred(cancel)
    connecting.addBoth(finish)
    return waiting


def _no_server(error: Exception) -> str:
    reason = getattr(error, "osError", None)
    if isinstance(reason, int):
        return os.strerror(reason)
    why = error.args[0] if error.args else None
    # A failure: of a connection that was not made when the reactor stopped.
    return reason_text(why) if isinstance(why, Failure) else str(error).rstrip(".")
