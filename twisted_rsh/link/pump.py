"""The loop between a session's core and its link: feed, write, dispatch, write again, re-arm one timer.

Frames, the timer, the link's back-pressure and the application's own calls all end in :meth:`SessionPump.flush`.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.events import Event, LinkSilent
from twisted_rsh.core.session import Session
from twisted_rsh.link.framed_link import CLOSE_SECONDS, FramedLink

__all__ = ["SessionPump"]


@implementer(IPushProducer)
class SessionPump:
    """Runs one session over one link.

    It is the only producer of the link's transport: when the transport's buffer is full there is no room on any stream
    until it has drained.  The transport itself is never paused: a paused one would notice neither the peer's end nor
    its answers to pings.

    :param session: the core.
    :param link: the link.
    :param clock: where the timer is scheduled, usually the reactor.
    """

    def __init__(self, session: Session, link: FramedLink, clock: IReactorTime) -> None:
        self._session = session
        self._link = link
        self._clock = clock
        self._dispatch: Callable[[Event], None] | None = None
        self._timer: IDelayedCall | None = None
        self._leaving: IDelayedCall | None = None

    def start(self, dispatch: Callable[[Event], None]) -> None:
        """Begin: the link belongs to the session from now on.

        :param dispatch: acts on one event.
        """
        self._dispatch = dispatch
        self._link.tls.registerProducer(self, True)
        self._arm()

    def stop(self) -> None:
        """End: the link is gone or belongs to nobody."""
        for timer in (self._timer, self._leaving):
            if timer is not None:
                timer.cancel()
        self._timer = self._leaving = None

    def leave(self, text: str) -> None:
        """End the session on purpose, and close the link when the peer can know of it.

        :param text: one line for the peer's user, or an empty one.
        """
        self._session.goodbye(text)
        # Our last words may have to wait for the peer's acknowledgement of earlier ones.
        self._leaving = self._clock.callLater(CLOSE_SECONDS, self._close)
        self.flush()

    def frame_received(self, payload: bytes) -> None:
        """Take the payload of one frame.

        :raises RemoteProtocolError: the peer broke the protocol.
        """
        self._act(self._session.receive_frame(payload, self._clock.seconds()))

    def flush(self) -> None:
        """Write what the session wants written.  Call it after every call into the session.

        While frames that arrived together are looked at, nothing is written: the link calls this behind the last.
        """
        if self._link.is_receiving:
            return
        self._link.write_frames(self._session.frames_to_send())
        if self._leaving is not None and self._session.goodbye_sent:
            self._leaving.cancel()
            self._close()

    def _close(self) -> None:
        self._leaving = None
        self._link.close()

    def pauseProducing(self) -> None:
        """The transport's buffer is full; Twisted calls this."""
        self._session.link_paused()

    def resumeProducing(self) -> None:
        """The transport's buffer has drained; Twisted calls this."""
        self._link.guard(lambda: self._act(self._session.link_resumed()))

    def stopProducing(self) -> None:
        """The transport is gone; Twisted calls this, and the link learns it too."""

    def _act(self, events: list[Event]) -> None:
        assert self._dispatch is not None
        for event in events:
            # What one event led to may have been the end of the link.
            if self._link.dead:
                return
            if isinstance(event, LinkSilent):
                self._link.fail(f"nothing came from the peer for {event.seconds:g} s")
                return
            self._dispatch(event)
        self.flush()

    def _arm(self) -> None:
        delay = max(self._session.deadline - self._clock.seconds(), 0.0)
        self._timer = self._clock.callLater(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._link.guard(lambda: self._act(self._session.deadline_reached(self._clock.seconds())))
        if not self._link.dead:
            self._arm()
