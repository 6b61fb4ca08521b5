"""The client's side of a link: look at the server's key, log in, then the session belongs to a ``RemoteShell``."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_rsh.client.errors import ClientError, ConnectionLost, LoginRefused, NotARemoteShell, WrongServer
from twisted_rsh.client.remote_shell import RemoteShell
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.login import ClientLogin
from twisted_rsh.core.login_messages import Auth
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import PinnedClientTLS, exporter, peer_spki_sha256
from twisted_rsh.trust.client_key import ClientKey
from twisted_rsh.trust.fingerprint import format_fingerprint

__all__ = ["ClientLink"]


class ClientLink(FramedLink):
    """One connection to one server.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param tls: what TLS was told to expect, and what it saw.
    :param pin: SHA-256 of the server's public key.
    :param key: what to log in with.
    :param user: whom to log in as.
    :param limits: how often to ask the server for a sign of life; the server announces the rest.
    :param shell_ready: fired with the shell, or with a :class:`~twisted_rsh.client.errors.ClientError`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tls: PinnedClientTLS,
        pin: bytes,
        key: ClientKey,
        user: str,
        limits: SessionLimits,
        shell_ready: Deferred[RemoteShell],
    ) -> None:
        super().__init__(clock)
        self._tls = tls
        self._pin = pin
        self._key = key
        self._user = user
        self._login = ClientLogin(limits)
        self._shell_ready: Deferred[RemoteShell] | None = shell_ready
        self._frame: Callable[[bytes], None] = self._login_frame
        self._shell: RemoteShell | None = None
        self._handshaken = False

    def ready(self) -> None:
        """Log in, if this is the right server.  Nothing of ours has been sent to it yet."""
        self._handshaken = True
        digest = peer_spki_sha256(self.tls)
        # TLS has compared it already; if that ever failed to happen, nothing below may.
        if digest is None or not hmac.compare_digest(digest, self._pin):
            self._tls.stranger = digest
            self._handshaken = False
            self.fail("the server has another key than expected")
            return
        signature = self._key.sign_login(exporter(self.tls), self._pin, self._user)
        claim = Auth(user=self._user, algorithm=self._key.algorithm, key=self._key.blob, signature=signature)
        self.write_frames([self._login.ask(claim)])

    def frame_received(self, payload: bytes) -> None:
        """Read the answer to the login, or whatever the session may receive."""
        self._frame(payload)

    def frames_received(self) -> None:
        """Write what they led to."""
        if self._shell is not None:
            self._shell.flush()

    def ended(self, reason: str) -> None:
        """Tell whoever waits."""
        if self._shell is not None:
            self._shell.link_ended(reason)
        else:
            self._give_up(self._explain(reason))

    def _login_frame(self, payload: bytes) -> None:
        answer = self._login.receive_frame(payload, self.clock.seconds())
        if answer is None:
            self._give_up(
                LoginRefused(f"login as {self._user} with the key {self._key.fingerprint} was refused by {self.peer}")
            )
            self.close()
            return
        _, session = answer
        self.session_began()
        pump = SessionPump(session, self.clock)
        self._frame = lambda payload: pump.frame_received(self, payload)
        self._shell = shell = RemoteShell(session, pump, self)
        pump.start(self, shell.dispatch)
        waiting, self._shell_ready = self._shell_ready, None
        if waiting is not None:
            waiting.callback(shell)

    def _explain(self, reason: str) -> ClientError:
        if self._handshaken:
            return ConnectionLost(f"{self.peer} ended the connection during the login: {reason}")
        if self._tls.stranger is not None:
            return WrongServer(
                f"{self.peer} is not the expected server: its key is {format_fingerprint(self._tls.stranger)}, "
                f"expected {format_fingerprint(self._pin)}"
            )
        return NotARemoteShell(f"what answers at {self.peer} is no twisted-rsh server: {reason}")

    def _give_up(self, error: ClientError) -> None:
        waiting, self._shell_ready = self._shell_ready, None
        if waiting is not None:
            waiting.errback(error)
