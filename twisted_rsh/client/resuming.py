"""The client's side of a link that takes over a session: prove that it is ours, then it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.link import PinnedLink
from twisted_rsh.core.errors import RemoteProtocolError
from twisted_rsh.core.login import ClientResume
from twisted_rsh.core.messages import Resume, ResumeFail, ResumeOk
from twisted_rsh.core.resuming import ClientProof, LinkBinding
from twisted_rsh.core.session import Session
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import PinnedClientTLS, exporter, link_secret

__all__ = ["RESUME_SECONDS", "LinkOwner", "ResumeLink", "Resumption", "receive"]

RESUME_SECONDS = 10.0
"""Seconds from a dial's beginning to the server's answer: it takes four round trips, and nobody has to touch a key.
The next dial may find the network better than a connection that hangs."""


@dataclass(frozen=True, slots=True)
class LinkOwner:
    """Whom a link belongs to once there is a session on it.

    :ivar link_ended: told that a link is gone, and why in one line.
    :ivar broken: told that what came over a link was not the protocol, and what in one line; the link dies of it.
    """

    link_ended: Callable[[FramedLink, str], None]
    broken: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Resumption:
    """What it takes to resume one session.

    :ivar session: the core.
    :ivar pump: what runs it.
    :ivar proof: shows that it is ours.
    :ivar instance: names the run of the server that it began with.
    """

    session: Session
    pump: SessionPump
    proof: ClientProof
    instance: str


class ResumeLink(PinnedLink[None]):
    """One connection that asks for the session.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param tls: what TLS was told to expect, and what it saw.
    :param pin: SHA-256 of the server's public key.
    :param resumption: the session.
    :param owner: whom the link belongs to when it has got the session.
    :param resumed: fired when it has; failed with a :class:`~twisted_rsh.core.errors.Error` when it has not,
        of which a :class:`~twisted_rsh.client.errors.SessionLost` with another reason than ``LINK`` says that it is
        of no use to try again.
    """

    purpose = "the resume"

    def __init__(
        self,
        clock: IReactorTime,
        tls: PinnedClientTLS,
        pin: bytes,
        resumption: Resumption,
        owner: LinkOwner,
        resumed: Deferred[None],
    ) -> None:
        super().__init__(clock, tls, pin, resumed, RESUME_SECONDS)
        self._resumption = resumption
        self._owner = owner
        self._login = ClientResume()
        self._claim: Resume | None = None
        self._is_ours = False

    def ask(self) -> None:
        """Send RESUME."""
        parts = self._resumption
        self._claim = parts.proof.claim(self._binding, parts.session.positions())
        self.write_frames([self._login.ask(self._claim)])

    def frame_received(self, payload: bytes) -> None:
        """Read the answer, or whatever the session may receive."""
        if self._is_ours:
            receive(self._resumption.pump, self, self._owner, payload)
        elif self._outcome.called:
            self.fail("nobody waits for this answer any more")
        else:
            try:
                self._answer(payload)
            except RemoteProtocolError as error:
                self.give_up(SessionLost(f"the server broke the protocol: {error}", LossReason.PROTOCOL))
                raise

    def frames_received(self) -> None:
        """Write what they led to."""
        if self._is_ours:
            self._resumption.pump.flush()

    def ended(self, reason: str) -> None:
        """Tell whoever waits."""
        if self._is_ours:
            self._owner.link_ended(self, reason)
        else:
            self.give_up(self.explain(reason))

    def _answer(self, payload: bytes) -> None:
        parts = self._resumption
        answer = self._login.receive_frame(payload)
        if isinstance(answer, ResumeFail):
            self.give_up(_refused(answer, parts.instance))
            self.close()
            return
        self._take_over(answer)

    def _take_over(self, answer: ResumeOk) -> None:
        claim, parts = self._claim, self._resumption
        assert claim is not None
        fresh = link_secret(self.tls, parts.proof.session, claim.attempt)
        parts.proof.confirm(claim, answer, self._binding, fresh)
        self.session_began()
        self._is_ours = True
        parts.pump.resume(self, answer.positions)
        self.reach(None)

    @property
    def _binding(self) -> LinkBinding:
        return LinkBinding(exporter(self.tls), self.pin)


def receive(pump: SessionPump, link: FramedLink, owner: LinkOwner, payload: bytes) -> None:
    """Take the payload of one frame of the session.

    :param pump: the session's.
    :param link: where it arrived.
    :param owner: whom the link belongs to.
    :raises RemoteProtocolError: the server broke the protocol, and the owner has been told; that would not get better
        over another link.
    """
    try:
        pump.frame_received(link, payload)
    except RemoteProtocolError as error:
        owner.broken(str(error))
        raise


def _refused(answer: ResumeFail, instance: str) -> SessionLost:
    if answer.instance != instance:
        return SessionLost("the server was restarted", LossReason.RESTARTED)
    return SessionLost("the session has expired on the server", LossReason.EXPIRED)
