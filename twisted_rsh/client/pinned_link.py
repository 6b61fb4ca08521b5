"""The client's side of a connection before there is a session on it: is this the server, and who waits to know?"""

from __future__ import annotations

import hmac
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_rsh.client.errors import ClientError, ConnectionLost, NotARemoteShell, WrongServer
from twisted_rsh.link.framed_link import LOGIN_SECONDS, FramedLink
from twisted_rsh.link.tls import PinnedClientTLS, peer_spki_sha256
from twisted_rsh.trust.fingerprint import format_fingerprint

__all__ = ["PinnedLink"]

Result = TypeVar("Result")


class PinnedLink(FramedLink, Generic[Result]):
    """One connection to one server.  A subclass says what is asked of it.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param tls: what TLS was told to expect, and what it saw.
    :param pin: SHA-256 of the server's public key.
    :param outcome: fired with what the connection was made for, or with a
        :class:`~twisted_rsh.client.errors.ClientError`; once it has fired in another way, as because it was cancelled,
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

    def give_up(self, error: ClientError) -> None:
        """Tell whoever waits that it will not be."""
        if not self._outcome.called:
            self._outcome.errback(error)

    def explain(self, reason: str) -> ClientError:
        """Say why the connection ended before it was what it was made for.

        :param reason: one line, from the link.
        """
        if self._recognized:
            return ConnectionLost(f"{self.peer} ended the connection during {self.purpose}: {reason}")
        if self._tls.stranger is not None:
            return WrongServer(
                f"{self.peer} is not the expected server: its key is {format_fingerprint(self._tls.stranger)}, "
                f"expected {format_fingerprint(self.pin)}"
            )
        return NotARemoteShell(f"what answers at {self.peer} is no twisted-rsh server: {reason}")
