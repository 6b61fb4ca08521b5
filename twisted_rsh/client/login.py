"""The client's side of a link that begins a session: log in, then the link belongs to a ``Connection``."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import LoginRefused
from twisted_rsh.client.link import PinnedLink
from twisted_rsh.client.reconnecting import Reconnector
from twisted_rsh.client.resuming import Resumption, receive
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.login import ClientLogin
from twisted_rsh.core.messages import Auth
from twisted_rsh.core.resuming import ClientProof
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import PinnedClientTLS, exporter, link_secret
from twisted_rsh.trust.client_key import ClientKey

__all__ = ["ClientLink", "MakeReconnector"]

MakeReconnector = Callable[[Connection, Resumption], Reconnector]
"""Makes what finds a session other links."""


class ClientLink(PinnedLink[Connection]):
    """One connection that logs in.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param tls: what TLS was told to expect, and what it saw.
    :param pin: SHA-256 of the server's public key.
    :param key: what to log in with.
    :param user: whom to log in as.
    :param limits: how often to ask the server for a sign of life; the server announces the rest.
    :param shell_ready: fired with the shell, or with a :class:`~twisted_rsh.core.errors.Error`.
    :param make_reconnector: makes what finds the session other links; ``None`` for a session that ends with this one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tls: PinnedClientTLS,
        pin: bytes,
        key: ClientKey,
        user: str,
        limits: SessionLimits,
        shell_ready: Deferred[Connection],
        make_reconnector: MakeReconnector | None = None,
    ) -> None:
        super().__init__(clock, tls, pin, shell_ready)
        self._key = key
        self._user = user
        self._make_redialler = make_reconnector
        self._login = ClientLogin(limits)
        self._pump: SessionPump | None = None
        self._shell: Connection | None = None

    def ask(self) -> None:
        """Send AUTH."""
        signature = self._key.sign_login(exporter(self.tls), self.pin, self._user)
        claim = Auth(user=self._user, algorithm=self._key.algorithm, key=self._key.blob, signature=signature)
        self.write_frames([self._login.ask(claim)])

    def frame_received(self, payload: bytes) -> None:
        """Read the answer to the login, or whatever the session may receive."""
        if self._pump is not None and self._shell is not None:
            receive(self._pump, self, self._shell.link_owner, payload)
        else:
            self._login_frame(payload)

    def frames_received(self) -> None:
        """Write what they led to."""
        if self._pump is not None:
            self._pump.flush()

    def ended(self, reason: str) -> None:
        """Tell whoever waits."""
        if self._shell is not None:
            self._shell.link_owner.link_ended(self, reason)
        else:
            self.give_up(self.explain(reason))

    def _login_frame(self, payload: bytes) -> None:
        answer = self._login.receive_frame(payload, self.clock.seconds())
        if answer is None:
            self.give_up(
                LoginRefused(f"login as {self._user} with the key {self._key.fingerprint} was refused by {self.peer}")
            )
            self.close()
            return
        welcome, session = answer
        self.session_began()
        proof = ClientProof(welcome.session, link_secret(self.tls, welcome.session, 0))
        self._pump = pump = SessionPump(session, self.clock)
        self._shell = shell = Connection(session, pump)
        if self._make_redialler is not None and welcome.detach_seconds:
            shell.outlive_links(self._make_redialler(shell, Resumption(session, pump, proof, welcome.instance)))
        pump.start(self, shell)
        self.reach(shell)
