"""The loop between a session's core and its link: give frames to the core, report its events, write its frames.

The core has no I/O and no clock.  Received frames, the core's timer, the link's back-pressure and the application's own
calls all end in :meth:`SessionPump.flush`, which writes the frames that the core has to send.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.events import Event, LinkSilent
from twisted_rsh.core.messages import Positions
from twisted_rsh.core.session import Session
from twisted_rsh.link.framed_link import CLOSE_SECONDS, FramedLink

__all__ = ["SessionOwner", "SessionPump"]


class SessionOwner(Protocol):
    """The owner of a session, which acts on its events."""

    def happened(self, event: Event) -> None:
        """Act on one event of the session.

        :param event: what happened; never :class:`~twisted_rsh.core.events.LinkSilent`, on which the pump acts itself.
        :raises ProtocolError: the event breaks the protocol; the link is then aborted.
        """


class SessionPump:
    """Runs one session over one link after another.

    The pump is the only producer of the link's transport: while the transport's buffer is full, no stream has room.  It
    never pauses the transport's reading, because a paused transport notices neither the peer's end nor its answers to
    pings.

    Call :meth:`start` with the first link, :meth:`stop` when a link is gone and :meth:`resume` with the next one, and
    :meth:`flush` after every call into the session.

    :param session: the core.
    :param clock: tells the time and schedules the timer; usually the reactor.
    :ivar link: the session's link, or ``None`` while it has none.
    :ivar clock: as above.
    """

    def __init__(self, session: Session, clock: IReactorTime) -> None:
        self.link: FramedLink | None = None
        self._session = session
        self.clock = clock
        self._owner: SessionOwner | None = None
        self._timer: IDelayedCall | None = None
        self._fires_at = 0.0
        self._has_left = False
        self._leaving: IDelayedCall | None = None

    def start(self, link: FramedLink, owner: SessionOwner) -> None:
        """Begin the session over its first link.

        :param link: belongs to the session from now on.
        :param owner: acts on the session's events.
        """
        self._owner = owner
        self._take(link)

    def _take(self, link: FramedLink) -> None:
        self.link = link
        link.writer = self
        link.tls.registerProducer(_BackPressure(self, link), True)
        self._arm()
        if self._has_left:
            self._plan_close(link)

    def resume(self, link: FramedLink, peer: Positions) -> None:
        """Continue the session over another link, which replaces the current one.  The caller ends a replaced link.

        :param link: the new link; the answer to RESUME has been written to it or read from it.
        :param peer: the positions up to which frames have arrived at the peer.
        :raises RemoteProtocolError: the positions are impossible; nothing has changed.
        """
        # An exception of the owner ends this link, but not the session.
        events = self._session.resume(peer, self.clock.seconds())
        self._let_go()
        self._take(link)
        self._act(link, events)

    def stop(self) -> None:
        """Continue the session without a link: the current one is gone, or is given up."""
        self._let_go()
        self._session.link_lost()

    def _let_go(self) -> None:
        for timer in (self._timer, self._leaving):
            if timer is not None:
                timer.cancel()
        self._timer = self._leaving = None
        if self.link is not None:
            self.link.writer = None
        self.link = None

    def leave(self, text: str) -> None:
        """Say goodbye to the peer, and close the link once the goodbye is written, if there is a link.

        :param text: one line for the peer's user; it may be empty.
        """
        self._session.goodbye(text)
        self._has_left = True
        if self.link is not None:
            self._plan_close(self.link)
            self.flush()

    def frame_received(self, link: FramedLink, payload: bytes) -> None:
        """Give one frame to the session.

        :param link: the link that received it; nothing happens if that is not the session's link any more.
        :param payload: the frame without its length.
        :raises RemoteProtocolError: the peer broke the protocol.
        """
        if link is not self.link:
            return
        assert self._owner is not None
        for event in self._session.receive_frame(payload, self.clock.seconds()):
            # The owner may have ended the link when it acted on the event before.
            if link.dead:
                return
            self._owner.happened(event)
        if not link.is_receiving:  # otherwise the link has the frames written once it has handled all that arrived
            self.flush()

    def flush(self) -> None:
        """Write the frames that the session has to send.  Call it after every call into the session.

        While the link handles frames that arrived together, this writes nothing: the link calls it after the last one.
        """
        link = self.link
        if link is None or link.is_receiving:
            return
        is_repeating = True
        while is_repeating and not link.dead:
            # Ask again after the last retransmitted frame: credit and newer frames wait until then.
            is_repeating = self._session.replaying
            frames = self._session.frames_to_send()
            if frames:
                link.write_frames(frames)
        if self._leaving is not None and self._session.goodbye_sent:
            self._leaving.cancel()
            self._close(link)

    def answer_expected(self, ping: float, seconds: float) -> None:
        """Fail the link unless the peer sends something in time; nothing happens while there is no link.

        :param ping: the seconds from now after which the peer is asked for a sign of life, unless it was asked before.
        :param seconds: the time that the peer has, from now.
        """
        if self._timer is not None:
            self._session.answer_expected(ping, seconds, self.clock.seconds())
            if self._session.deadline < self._fires_at:  # otherwise the timer finds the deadline when it fires
                self._timer.cancel()
                self._arm()

    def _plan_close(self, link: FramedLink) -> None:
        # The goodbye may have to wait until the peer acknowledges earlier frames.
        self._leaving = self.clock.callLater(CLOSE_SECONDS, self._close, link)

    def _close(self, link: FramedLink) -> None:
        self._leaving = None
        link.close()

    def link_full(self, link: FramedLink) -> None:
        """Learn that the transport of a link is full: no stream of its session has room.

        :param link: nothing happens if that is not the session's link any more.
        """
        if link is self.link:
            self._session.link_full()

    def link_writable(self, link: FramedLink) -> None:
        """Learn that the transport of a link takes bytes again.

        :param link: nothing happens if that is not the session's link any more.
        """
        if link is self.link:
            self._act(link, self._session.link_writable())

    def _act(self, link: FramedLink, events: list[Event]) -> None:
        """Act on events that no frame brought.  An exception ends the link."""
        assert self._owner is not None
        try:
            for event in events:
                if isinstance(event, LinkSilent):
                    link.fail(f"nothing came from the peer for {round(event.seconds, 1):g} s")
                else:
                    self._owner.happened(event)
            self.flush()
        except Exception as error:  # noqa: BLE001 - the link ends, whatever it is
            link.fail_with(error)

    def _arm(self) -> None:
        self._fires_at = self._session.deadline
        delay = max(self._fires_at - self.clock.seconds(), 0.0)
        self._timer = self.clock.callLater(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        link = self.link
        assert link is not None
        self._act(link, self._session.deadline_reached(self.clock.seconds()))
        if self.link is link and not link.dead:
            self._arm()


@implementer(IPushProducer)
class _BackPressure:
    """The producer of one link's transport; it reports to the pump when that is full."""

    def __init__(self, pump: SessionPump, link: FramedLink) -> None:
        self._pump = pump
        self._link = link

    def pauseProducing(self) -> None:
        self._pump.link_full(self._link)

    def resumeProducing(self) -> None:
        self._pump.link_writable(self._link)

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and the link itself learns of it."""
