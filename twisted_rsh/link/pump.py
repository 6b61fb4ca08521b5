"""The loop between a session's core and its link: feed, write, dispatch, write again, re-arm one timer.

Frames, the timer, the link's back-pressure and the application's own calls all end in :meth:`SessionPump.flush`.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.events import Event, LinkSilent
from twisted_rsh.core.messages import Positions
from twisted_rsh.core.session import Session
from twisted_rsh.link.framed_link import CLOSE_SECONDS, FramedLink

__all__ = ["SessionPump"]


class SessionPump:
    """Runs one session, over one link after the other.

    It is the only producer of the link's transport: when the transport's buffer is full there is no room on any stream
    until it has drained.  The transport itself is never paused: a paused one would notice neither the peer's end nor
    its answers to pings.

    :param session: the core.
    :param clock: where the timer is scheduled, usually the reactor.
    :ivar link: the link that the session has, or ``None`` while it has none.
    """

    def __init__(self, session: Session, clock: IReactorTime) -> None:
        self.link: FramedLink | None = None
        self._session = session
        self._clock = clock
        self._dispatch: Callable[[Event], None] | None = None
        self._timer: IDelayedCall | None = None
        self._has_left = False
        self._leaving: IDelayedCall | None = None

    def start(self, link: FramedLink, dispatch: Callable[[Event], None]) -> None:
        """Begin: the link belongs to the session from now on.

        :param dispatch: acts on one event.
        """
        self._dispatch = dispatch
        self._take(link)

    def _take(self, link: FramedLink) -> None:
        self.link = link
        link.tls.registerProducer(_BackPressure(self, self._session, link), True)
        self._arm()
        if self._has_left:
            self._plan_close(link)

    def resume(self, link: FramedLink, peer: Positions) -> None:
        """Go on over another link, in place of the one that there may still be; that one is nobody's then.

        :param link: the new one; the answer to RESUME has been written to it or read from it.
        :param peer: what has arrived at the other end.
        :raises RemoteProtocolError: that cannot be; nothing has changed.
        """
        events = self._session.resume(peer, self._clock.seconds())
        self._let_go()
        self._take(link)
        self._act(link, events)

    def stop(self) -> None:
        """The link is gone, or belongs to nobody."""
        self._let_go()
        self._session.link_lost()

    def _let_go(self) -> None:
        for timer in (self._timer, self._leaving):
            if timer is not None:
                timer.cancel()
        self._timer = self._leaving = None
        self.link = None

    def leave(self, text: str) -> None:
        """End the session on purpose, and close the link, if there is one, when the peer can know of it.

        :param text: one line for the peer's user, or an empty one.
        """
        self._session.goodbye(text)
        self._has_left = True
        if self.link is not None:
            self._plan_close(self.link)
            self.flush()

    def frame_received(self, link: FramedLink, payload: bytes) -> None:
        """Take the payload of one frame.

        :param link: where it arrived; nothing happens if that is not the session's link any more.
        :raises RemoteProtocolError: the peer broke the protocol.
        """
        if link is self.link:
            self._act(link, self._session.receive_frame(payload, self._clock.seconds()))

    def flush(self) -> None:
        """Write what the session wants written.  Call it after every call into the session.

        While frames that arrived together are looked at, nothing is written: the link calls this behind the last.
        """
        link = self.link
        if link is None or link.is_receiving:
            return
        is_repeating = True
        while is_repeating and not link.dead:
            # Once more behind the last of what is repeated: credit, and what was said meanwhile, wait for that.
            is_repeating = self._session.replaying
            link.write_frames(self._session.frames_to_send())
        if self._leaving is not None and self._session.goodbye_sent:
            self._leaving.cancel()
            self._close(link)

    def answer_expected(self, seconds: float) -> None:
        """Give the link up if nothing comes from the peer for so long."""
        if self._timer is not None:
            self._session.answer_expected(seconds, self._clock.seconds())
            self._timer.cancel()
            self._arm()

    def _plan_close(self, link: FramedLink) -> None:
        # Our last words may have to wait for the peer's acknowledgement of earlier ones.
        self._leaving = self._clock.callLater(CLOSE_SECONDS, self._close, link)

    def _close(self, link: FramedLink) -> None:
        self._leaving = None
        link.close()

    def link_writable(self, link: FramedLink) -> None:
        """The link's transport takes bytes again."""
        self._act(link, self._session.link_writable())

    def _act(self, link: FramedLink, events: list[Event]) -> None:
        assert self._dispatch is not None
        for event in events:
            # What one event led to may have been the end of the link.
            if link.dead:
                return
            if isinstance(event, LinkSilent):
                link.fail(f"nothing came from the peer for {round(event.seconds, 1):g} s")
                return
            self._dispatch(event)
        self.flush()

    def _arm(self) -> None:
        delay = max(self._session.deadline - self._clock.seconds(), 0.0)
        self._timer = self._clock.callLater(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        link = self.link
        assert link is not None
        link.guard(lambda: self._act(link, self._session.deadline_reached(self._clock.seconds())))
        if self.link is link and not link.dead:
            self._arm()


@implementer(IPushProducer)
class _BackPressure:
    """Tells the session about one link's transport, for as long as that is the session's link."""

    def __init__(self, pump: SessionPump, session: Session, link: FramedLink) -> None:
        self._pump = pump
        self._session = session
        self._link = link

    def pauseProducing(self) -> None:
        if self._pump.link is self._link:
            self._session.link_full()

    def resumeProducing(self) -> None:
        if self._pump.link is self._link:
            self._link.guard(lambda: self._pump.link_writable(self._link))

    def stopProducing(self) -> None:
        """The transport is gone; the link learns it too."""
