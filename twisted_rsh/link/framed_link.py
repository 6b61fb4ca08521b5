"""A link: one connection, TLS or a Unix socket, that carries frames, and ends at the first fault of its peer.

:class:`FramedLink` is the base of the server's links and the client's.  It adds to Twisted's ``Int32StringReceiver`` a
limit of the frames' size for each phase, the checks after the handshake, the deadlines before a session begins, and
one way to fail.
"""

from __future__ import annotations

import contextlib
import enum
import math
import struct
from collections.abc import Iterable
from typing import Protocol, cast

from twisted.internet.address import UNIXAddress
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
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.errors import ErrorCode, ProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_FRAME_BYTES, MAX_LOGIN_FRAME_BYTES
from twisted_rsh.link.credentials import peer_credentials
from twisted_rsh.link.lane import Lane, LocalLane, open_lane
from twisted_rsh.link.local import LocalLayer
from twisted_rsh.link.tls import ALPN, MAX_LOGIN_BYTES, MAX_REPLY_BYTES, ITLSWatcher, LinkTLS, reason_text, widen
from twisted_rsh.link.turns import Turns

__all__ = [
    "CLOSE_SECONDS",
    "HANDSHAKE_SECONDS",
    "LOGIN_SECONDS",
    "Fault",
    "FrameWriter",
    "FramedLink",
]

# Not an attribute of the class: an event would hold the object that logged it.
_log = Logger(f"{__name__}.FramedLink")

HANDSHAKE_SECONDS = 10.0
"""Seconds from the connection to the end of the handshake; that of TLS takes three packets."""

LOGIN_SECONDS = 60.0
"""Seconds from the connection to the end of the login; a person may have to touch the token with the key."""

CLOSE_SECONDS = 5.0
"""Seconds that the peer has to answer the end of the link; on TLS some peers never do (Twisted #7926)."""

_PREFIX = struct.Struct("!I")


class Fault(enum.Enum):
    """The kinds of faults of a peer that end its link."""

    PROTOCOL = "protocol"
    """The peer broke the protocol."""

    DEADLINE = "deadline"
    """The peer did not complete the handshake or the login in time."""

    PROGRAM = "program"
    """A frame of the peer met a bug of this program."""


class FrameWriter(Protocol):
    """A session, as far as its link calls it: :class:`twisted_rsh.link.pump.SessionPump`."""

    def flush(self) -> None:
        """Write the frames that the session has to send."""


@implementer(IHandshakeListener, ITLSWatcher)
class FramedLink(Int32StringReceiver):
    """One connection that carries frames.  A subclass handles the frames of its phases.

    :param clock: schedules the deadlines; usually the reactor.
    :param handshake_seconds: the handshake's deadline, in seconds from the connection; the login's, if that is earlier.
    :param login_seconds: the login's deadline, in seconds from the connection.
    :param turns: shared by links whose frames should not hold up each other's; ``None`` for a link of its own.
    :ivar clock: as above.
    :ivar tls: the transport of the link: Twisted's TLS, or on a Unix socket the layer in its place; or a lane while
        there is a session and a socket.  There is none before the connection.
    :ivar dead: whether the link has failed or is gone; it ignores everything that still arrives.
    :ivar fault: the peer's fault that ended the link; ``None`` while it is alive, or if it ended otherwise.
    :ivar ended_cleanly: whether the link is gone and the peer has confirmed its end: all written bytes have arrived.
    :ivar is_receiving: whether the link is handling frames that arrived together, one after another; TLS sets it.
        Write the answers to them in :meth:`frames_received`, once all of them are handled.
    :ivar writer: writes the answers of the session that uses the link; ``None`` before the session.
    """

    tls: LinkTLS | LocalLayer | Lane

    def __init__(
        self,
        clock: IReactorTime,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        login_seconds: float = LOGIN_SECONDS,
        turns: Turns | None = None,
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
        self.writer: FrameWriter | None = None
        self._arrived: list[bytes] = []
        self._turns = Turns(clock) if turns is None else turns
        self._slice_ends = math.inf
        self._is_waiting = False
        self._is_held = False
        self._lost: Failure | None = None
        self._unix_peer = "a local socket"
        self._peer_has_ended = False

    # For the subclass to implement.

    def ready(self) -> None:
        """Begin: the handshake is complete and has chosen this protocol.  The link has written nothing before."""
        raise NotImplementedError

    def frame_received(self, payload: bytes) -> None:
        """Handle one frame.

        :param payload: the frame without its length.
        :raises ProtocolError: the peer must not send it; the link is then aborted.
        """
        raise NotImplementedError

    def ended(self, reason: str) -> None:
        """Learn that the link is gone.  Called exactly once.

        :param reason: one line for people.
        """
        raise NotImplementedError

    def frames_received(self) -> None:
        """Write the answers to the frames that arrived together; all of them are handled.  The link may be over."""
        if self.writer is not None:
            self.writer.flush()

    # For the subclass and the session to use.

    @property
    def peer(self) -> str:
        """The other end's address, for the log."""
        address = self.tls.getPeer()
        if isinstance(address, UNIXAddress):
            return self._unix_peer
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        return str(address) if host is None else f"{host}:{port}"

    @property
    def peer_address(self) -> str:
        """The other end's host as text, an IP address over TCP; empty where it has none."""
        return str(getattr(self.tls.getPeer(), "host", ""))

    @property
    def is_over(self) -> bool:
        """Whether the link ignores everything that arrives: it is dead, :meth:`close` was called, or the peer has ended
        it."""
        return self.dead or self._closing or self._peer_has_ended

    @property
    def has_unhandled_bytes(self) -> bool:
        """Whether bytes have arrived that the link has not handled: a part of a frame, or frames that wait."""
        return bool(self._unprocessed or self._arrived)

    def session_began(self) -> None:
        """Lift the login's deadline, allow larger frames and take the socket: the login has succeeded.

        Register the session's producer after it.
        """
        self._stop_deadline()
        self._session_began = True
        self.MAX_LENGTH = MAX_FRAME_BYTES
        if isinstance(self.tls, LinkTLS | LocalLayer):
            widen(self.tls.transport)
            lane = open_lane(self.tls, self)
            if lane is not None:
                self.tls = lane
                self._read_on()

    def write_frames(self, payloads: Iterable[bytes]) -> None:
        """Write frames, all in one piece.  Nothing happens once the link is dead, or its connection is gone.

        :param payloads: the frames without their lengths.
        """
        if self.dead or self._lost is not None:
            return
        pieces: list[bytes] = []
        for payload in payloads:
            assert len(payload) <= self.MAX_LENGTH
            pieces += (_PREFIX.pack(len(payload)), payload)
        if pieces:
            self.tls.writeSequence(pieces)

    def fail(self, reason: str, fault: Fault | None = None) -> None:
        """Abort the link.  From here on it ignores everything that is buffered or still arrives.

        :param reason: one line for the log.
        :param fault: the peer's fault; ``None`` if the peer has done nothing wrong.
        """
        if self.dead:
            return
        # Set the flag before the abort: Twisted's receiver goes on with buffered frames even after an abort.
        self.dead = True
        self.fault = fault
        self._stop_deadline()
        self.log_aborted(reason)
        if self._lost is None:
            self.tls.abortConnection()
        self.ended(reason)

    def hold(self) -> None:
        """Read nothing more for now: what the peer sends stays with the system, and the peer has to wait.

        It may be for seconds, not for longer: an end of the connection is not noticed meanwhile, nor any answer.
        """
        if not (self.dead or self._is_held):
            self._is_held = True
            self.tls.pauseProducing()

    def go_on(self) -> None:
        """Read again after :meth:`hold`."""
        if self._is_held:
            self._is_held = False
            self._read_on()

    def log_aborted(self, reason: str) -> None:
        """Log that the link is aborted.  A subclass may limit how often.

        :param reason: one line.
        """
        _log.info("link with {peer} aborted: {reason!r}", peer=self.peer, reason=reason)

    def log_broken(self, failure: Failure) -> None:
        """Log a bug of this program that the peer has met.  A subclass may limit how often.

        :param failure: the exception.
        """
        _log.failure("a frame from {peer} broke the program", failure=failure, peer=self.peer)

    def close(self) -> None:
        """Close the link after the frames that were written, and abort it unless the peer answers in time."""
        if self.dead or self._closing:
            return
        self._closing = True
        self._stop_deadline()
        self.tls.unregisterProducer()
        self.tls.loseConnection()
        self._set_deadline(CLOSE_SECONDS, "the peer did not answer the close")

    def fail_with(self, error: Exception) -> None:
        """Abort the link, and this link alone, because of an exception that the peer has provoked.

        Call it wherever the peer can provoke one: ``except Exception as error: link.fail_with(error)``.

        :param error: a breach of the protocol, or else a bug of this program, which is logged.
        """
        if isinstance(error, ProtocolError):
            self.fail(str(error), Fault.PROTOCOL)
        else:
            self.log_broken(Failure(error))
            self.fail("an error of our own", Fault.PROGRAM)

    # For Twisted to call.

    def connectionMade(self) -> None:
        self.tls = cast("LinkTLS | LocalLayer", self.transport)
        address: object = self.tls.getPeer()
        if isinstance(address, UNIXAddress):
            with contextlib.suppress(OSError, AttributeError):  # as of a transport without a socket
                self._unix_peer = str(peer_credentials(self.tls.transport))
        if ITCPTransport.providedBy(self.transport):
            # Nagle's algorithm would hold a small frame back until the peer acknowledges the one before: 44 ms.
            self.transport.setTcpNoDelay(True)
        self._connected_at = self.clock.seconds()
        self._set_deadline(min(self._handshake_seconds, self._login_seconds), "no handshake in time")

    def use_tls(self, tls: LinkTLS) -> None:
        """Go on over TLS, which has been put below the link: nothing has arrived before.

        :param tls: that.
        """
        self.transport = self.tls = tls

    def handshakeCompleted(self) -> None:
        if self.dead:
            return
        self._stop_deadline()
        protocol = cast("LinkTLS | LocalLayer", self.tls).negotiatedProtocol
        if protocol != ALPN:
            self.fail(f"the peer speaks {protocol!r}, not {ALPN!r}")
            return
        elapsed = self.clock.seconds() - self._connected_at
        self._set_deadline(max(self._login_seconds - elapsed, 0.0), "no login in time")
        try:
            self.ready()
        except Exception as error:  # noqa: BLE001 - the link ends, whatever it is
            self.fail_with(error)

    def dataReceived(self, data: bytes) -> None:
        # Keep the records that arrive together, so that a frame that spans them is assembled in one step.
        self._arrived.append(data)
        if not self.is_receiving:
            self.arrival_ended()

    def stringReceived(self, string: bytes) -> None:
        if not string and not self.dead and self._end_received():
            return
        if self.is_over:
            return
        if not string:
            self.fail(str(RemoteProtocolError(ErrorCode.FRAME_SIZE, "an empty frame")), Fault.PROTOCOL)
            return
        try:
            self.frame_received(string)
        except Exception as error:  # noqa: BLE001 - the link ends, whatever it is
            self.fail_with(error)
        if self.clock.seconds() >= self._slice_ends:
            self.paused = True  # the receiver stops after this frame

    def _end_received(self) -> bool:
        """Pass the peer's end of a link over a Unix socket on; tell whether there is such an end on this link."""
        layer = self.tls.give_back() if isinstance(self.tls, LocalLane) else self.tls
        if not isinstance(layer, LocalLayer):
            return False
        self._peer_has_ended = True
        layer.end_received()
        return True

    def lengthLimitExceeded(self, length: int) -> None:
        self.fail(str(RemoteProtocolError(ErrorCode.FRAME_SIZE, f"a frame of {length} bytes")), Fault.PROTOCOL)

    # For TLS to call.

    def arrival_ended(self) -> None:
        """Have the frames in the records that have come handled, now or in the next turns of the reactor."""
        self.is_receiving = False
        if not self._is_waiting and self._turns.run(self, self.handle_frames):
            self._is_waiting = True
            # A pause of some turns: whatever else arrives stays with the system.
            self.tls.pauseProducing()

    # For the turns to call.

    def handle_frames(self, until: float) -> bool:
        """Handle frames that have arrived until a time, and at least one, and have the answers to them written.

        :param until: the time, in seconds of the clock.
        :returns: whether there are more.
        """
        self._slice_ends = until
        self.paused = False
        arrived, self._arrived = self._arrived, []
        self.is_receiving = True
        self._receive(arrived[0] if len(arrived) == 1 else b"".join(arrived))
        self.is_receiving = False
        self._slice_ends = math.inf
        has_more = bool(self._arrived or (self.paused and self._unprocessed)) and not self.dead
        if not self.dead:
            try:
                self.frames_received()
            except Exception as error:  # noqa: BLE001 - the link ends, whatever it is
                self.fail_with(error)
        if self._is_waiting and not has_more:
            self._is_waiting = False
            if self._lost is not None:
                self._end(self._lost)
            else:
                self._read_on()
        return has_more

    def _read_on(self) -> None:
        if not (self.dead or self._is_waiting or self._is_held):
            self.tls.resumeProducing()

    def login_bytes_spent(self) -> None:
        """Fail the link if no session has begun."""
        if not self._session_began:
            self.fail(f"more than {MAX_LOGIN_BYTES} bytes before the login", Fault.PROTOCOL)

    def replies_exceeded(self) -> None:
        """Fail the link."""
        self.fail(f"the peer does not read more than {MAX_REPLY_BYTES} bytes of TLS's own answers", Fault.PROTOCOL)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if isinstance(self.tls, Lane):
            self.tls.give_back()
        if self._is_waiting and not self.dead:
            self._lost = reason  # after the frames that have arrived
        else:
            self._end(reason)

    def _end(self, reason: Failure) -> None:
        self._stop_deadline()
        # The transport, its producer and the session point back at the link, which would stay with all of them.
        self.tls.unregisterProducer()
        self.writer = self._lost = None
        if not self.dead:
            self.dead = True
            self.ended_cleanly = reason.check(ConnectionDone) is not None
            self.ended(reason_text(reason))

    def _receive(self, data: bytes) -> None:
        """Deliver the whole frames in what has arrived, until the link pauses or dies, and keep the rest.

        This is what the receiver's own ``dataReceived`` does, with fewer calls for each frame.
        """
        begun, start, prefix_bytes = self._unprocessed, 0, _PREFIX.size
        if begun:
            missing = self._missing_bytes(begun)
            if 0 < missing <= len(data):  # put together without a copy of the frames that follow
                self.stringReceived(b"".join((memoryview(begun)[prefix_bytes:], memoryview(data)[:missing])))
                start = missing
            else:
                data = begun + data
        arrived_bytes = len(data)
        while arrived_bytes - start >= prefix_bytes and not (self.paused or self.dead):
            (size,) = _PREFIX.unpack_from(data, start)
            if size > self.MAX_LENGTH:
                self.lengthLimitExceeded(size)
                break
            end = start + prefix_bytes + size
            if end > arrived_bytes:
                break
            self.stringReceived(data[start + prefix_bytes : end])
            start = end
        self._unprocessed = data[start:]
        if self.dead:
            self._unprocessed = b""
            self._arrived.clear()

    def _missing_bytes(self, begun: bytes) -> int:
        """Count what a frame lacks of which only a beginning is there; 0 if its length is too large, or not yet known,
        and no more than 0 if it is whole."""
        if len(begun) < _PREFIX.size:
            return 0
        (size,) = _PREFIX.unpack_from(begun)
        return _PREFIX.size + size - len(begun) if size <= self.MAX_LENGTH else 0

    def _set_deadline(self, seconds: float, reason: str) -> None:
        self._deadline = self.clock.callLater(seconds, self._deadline_reached, reason)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_reached(self, reason: str) -> None:
        self._deadline = None
        self.fail(reason, None if self._closing else Fault.DEADLINE)
