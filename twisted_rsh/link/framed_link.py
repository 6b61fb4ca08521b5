"""A link: one TLS connection that carries frames, until the first thing that is wrong with it.

:class:`FramedLink` is what both sides' links are made of: Int32StringReceiver's frames with a limit for each phase, the
handshake's checks, the deadlines before a session exists, and one way to die.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable
from typing import ClassVar, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.errors import ErrorCode, ProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_FRAME_BYTES, MAX_LOGIN_FRAME_BYTES
from twisted_rsh.link.tls import ALPN, MAX_LOGIN_BYTES, MAX_REPLY_BYTES, ITLSWatcher, negotiated_protocol, widen

__all__ = ["CLOSE_SECONDS", "HANDSHAKE_SECONDS", "LARGE_FRAME_BYTES", "LOGIN_SECONDS", "Fault", "FramedLink"]

HANDSHAKE_SECONDS = 10.0
"""Seconds from the connection to the end of the TLS handshake, which takes three packets."""

LOGIN_SECONDS = 60.0
"""Seconds from the connection to the end of the login; a key on a token may want a touch."""

CLOSE_SECONDS = 5.0
"""Seconds that the peer has to answer the end of the TLS connection (Twisted #7926: some never do)."""

LARGE_FRAME_BYTES = 8 * 1024
"""Bytes from which on a frame is given to TLS by itself: half a record.  Smaller ones share a record, and a call."""

_PREFIX = struct.Struct("!I")


class Fault(enum.Enum):
    """What a peer did that ended its link."""

    PROTOCOL = "protocol"
    """It sent what it must not send."""

    DEADLINE = "deadline"
    """The handshake or the login was not complete in time."""

    PROGRAM = "program"
    """What it sent broke the program; that is a fault of ours, found by it."""


@implementer(IHandshakeListener, ITLSWatcher)
class FramedLink(Int32StringReceiver):
    """One connection.  A subclass says what its phases do with frames.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param handshake_seconds: the handshake's deadline, in seconds from the connection; never later than the login's.
    :param login_seconds: the login's deadline, in seconds from the connection.
    :ivar dead: whether the link has failed or is gone; nothing that arrives is looked at any more.
    :ivar fault: what the peer did that ended the link, or ``None``.
    :ivar ended_cleanly: whether the link is gone and the peer has agreed to that: all that was written has arrived.
    :ivar is_receiving: whether frames that arrived together are being looked at, one after another; what they lead to
        is best written when all of them have been, in :meth:`frames_received`.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        self.clock = clock
        self.dead = False
        self.fault: Fault | None = None
        self.ended_cleanly = False
        self.MAX_LENGTH = MAX_LOGIN_FRAME_BYTES
        self._handshake_seconds = handshake_seconds
        self._login_seconds = login_seconds
        self._deadline: IDelayedCall | None = None
        self._connected_at = 0.0
        self._closing = False
        self._session_began = False
        self.is_receiving = False
        self._arrived: list[bytes] = []

    # For the subclass to say.

    def ready(self) -> None:
        """The handshake is complete and the right protocol was chosen: nothing was written before this."""
        raise NotImplementedError

    def frame_received(self, payload: bytes) -> None:
        """A frame arrived.

        :raises ProtocolError: it should not have: the link is aborted.
        """
        raise NotImplementedError

    def frames_received(self) -> None:
        """All frames that arrived together have been looked at; the link may be over."""
        raise NotImplementedError

    def ended(self, reason: str) -> None:
        """The link is gone, for whatever reason.  Called exactly once.

        :param reason: one line for people.
        """
        raise NotImplementedError

    # For the subclass to use.

    @property
    def tls(self) -> TLSMemoryBIOProtocol:
        """The transport, which for a link is always TLS."""
        return cast("TLSMemoryBIOProtocol", self.transport)

    @property
    def peer(self) -> str:
        """The other end's address, for the log."""
        address = self.tls.getPeer()
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        return str(address) if host is None else f"{host}:{port}"

    @property
    def is_over(self) -> bool:
        """Whether nothing that arrives is looked at any more: the link is dead, or has been closed from our side."""
        return self.dead or self._closing

    def session_began(self) -> None:
        """The login is over: lift its deadline, and allow larger frames."""
        self._stop_deadline()
        self._session_began = True
        widen(self.tls.transport)
        self.MAX_LENGTH = MAX_FRAME_BYTES

    def write_frames(self, payloads: Iterable[bytes]) -> None:
        """Write frames; nothing once the link is dead.  Small frames share a TLS record, a large one has its own."""
        if self.dead:
            return
        small: list[bytes] = []
        writes: list[bytes] = []
        for payload in payloads:
            assert len(payload) <= self.MAX_LENGTH
            frame = _PREFIX.pack(len(payload)) + payload
            if len(payload) < LARGE_FRAME_BYTES:
                small.append(frame)
                continue
            writes += (b"".join(small), frame) if small else (frame,)
            small = []
        if small:
            writes.append(b"".join(small))
        if writes:
            self.tls.writeSequence(writes)

    def fail(self, reason: str, fault: Fault | None = None) -> None:
        """Abort the link.  From here on nothing of it is looked at, whatever is buffered or still arrives.

        :param reason: one line for the log.
        :param fault: what the peer did, if it is the peer's.
        """
        if self.dead:
            return
        # The flag before the transport: Twisted's receiver goes on with frames it already has, also behind an abort.
        self.dead = True
        self.fault = fault
        self._stop_deadline()
        self.log_aborted(reason)
        self.tls.abortConnection()
        self.ended(reason)

    def log_aborted(self, reason: str) -> None:
        """Write to the log that the link is aborted; a subclass may limit how often.

        :param reason: one line.
        """
        self.log.info("link with {peer} aborted: {reason!r}", peer=self.peer, reason=reason)

    def close(self) -> None:
        """Close the link behind what has been written; abort it if the peer does not answer in time."""
        if self.dead or self._closing:
            return
        self._closing = True
        self._stop_deadline()
        self.tls.unregisterProducer()
        self.tls.loseConnection()
        self._set_deadline(CLOSE_SECONDS, "the peer did not answer the close")

    def guard(self, act: Callable[[], None]) -> None:
        """Do something that the peer provoked; whatever goes wrong in it ends this link, and this link alone."""
        try:
            act()
        except ProtocolError as error:
            self.fail(str(error), Fault.PROTOCOL)
        except Exception:  # noqa: BLE001 - whatever one link's frames provoke must not reach the others
            self.log.failure("a frame from {peer} broke the program", peer=self.peer)
            self.fail("an error of our own", Fault.PROGRAM)

    # For Twisted to call.

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            # Nagle's algorithm would hold a small frame back until the peer acknowledges the one before: 44 ms.
            self.transport.setTcpNoDelay(True)
        self._connected_at = self.clock.seconds()
        self._set_deadline(min(self._handshake_seconds, self._login_seconds), "no TLS handshake in time")

    def handshakeCompleted(self) -> None:
        if self.dead:
            return
        self._stop_deadline()
        protocol = negotiated_protocol(self.tls)
        if protocol != ALPN:
            self.fail(f"the peer speaks {protocol!r}, not {ALPN!r}")
            return
        elapsed = self.clock.seconds() - self._connected_at
        self._set_deadline(max(self._login_seconds - elapsed, 0.0), "no login in time")
        self.guard(self.ready)

    def dataReceived(self, data: bytes) -> None:
        if self.is_receiving:
            # Together: a frame that is longer than a record, or lies across two, would be put together piece by piece.
            self._arrived.append(data)
        else:
            self._receive(data)

    def stringReceived(self, string: bytes) -> None:
        if self.is_over:
            return
        if not string:
            self.fail(str(RemoteProtocolError(ErrorCode.FRAME_SIZE, "an empty frame")), Fault.PROTOCOL)
            return
        self.guard(lambda: self.frame_received(string))

    def lengthLimitExceeded(self, length: int) -> None:
        self.fail(str(RemoteProtocolError(ErrorCode.FRAME_SIZE, f"a frame of {length} bytes")), Fault.PROTOCOL)

    # For TLS to call.

    def arrival_began(self) -> None:
        """Hold back what the frames that are delivered next lead to."""
        self.is_receiving = True

    def arrival_ended(self) -> None:
        """Have it written."""
        if self._arrived:
            self._receive(b"".join(self._arrived))
        self._arrived.clear()
        self.is_receiving = False
        if not self.dead:
            self.guard(self.frames_received)

    def login_bytes_spent(self) -> None:
        """End the link if there is no session yet."""
        if not self._session_began:
            self.fail(f"more than {MAX_LOGIN_BYTES} bytes before the login", Fault.PROTOCOL)

    def replies_exceeded(self) -> None:
        """End the link."""
        self.fail(f"the peer does not read more than {MAX_REPLY_BYTES} bytes of TLS's own answers", Fault.PROTOCOL)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_deadline()
        if not self.dead:
            self.dead = True
            self.ended_cleanly = reason.check(ConnectionDone) is not None
            self.ended(reason.getErrorMessage().rstrip("."))

    def _receive(self, data: bytes) -> None:
        if not self.dead:
            Int32StringReceiver.dataReceived(self, data)
        if self.dead:
            self._unprocessed = b""

    def _set_deadline(self, seconds: float, reason: str) -> None:
        self._deadline = self.clock.callLater(seconds, self._deadline_reached, reason)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_reached(self, reason: str) -> None:
        self._deadline = None
        self.fail(reason, None if self._closing else Fault.DEADLINE)
