"""The plainest link there is: keeps its frames, and does with them what the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from tests.link.wire import MALLORY, RawClient, Wire, wrapped
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.tls import ServerTLS
from twisted_rsh.link.turns import Turns

__all__ = ["BAD", "Recorder", "over_tls", "plain"]

BAD = b"BAD"
"""The frame that the recorder calls a breach."""


class Recorder(FramedLink):
    """A link.

    :ivar frames: the frames that were delivered to it.
    :ivar reasons: with what it was told that it is over.
    :ivar bursts: how many times all frames that had come together were looked at.
    :ivar is_ready: whether the handshake is complete.
    :ivar act: called with each frame.
    """

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(clock, **options)
        self.frames: list[bytes] = []
        self.reasons: list[str] = []
        self.is_ready = False
        self.bursts = 0
        self.act: Callable[[bytes], object] | None = None

    def ready(self) -> None:
        """Remember."""
        self.is_ready = True

    def frame_received(self, payload: bytes) -> None:
        """Remember, and do as told."""
        self.frames.append(payload)
        if payload == BAD:
            raise RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, "a bad frame")
        if self.act is not None:
            self.act(payload)

    def frames_received(self) -> None:
        """Count how often frames came together."""
        self.bursts += 1

    def ended(self, reason: str) -> None:
        """Remember."""
        self.reasons.append(reason)


def plain(**deadlines: float) -> tuple[Recorder, Wire]:
    """Return a link and its transport, which is no TLS at all."""
    clock = Clock()
    link, wire = Recorder(clock, **deadlines), Wire(clock)
    wire.connect(link)
    return link, wire


def over_tls(clock: Clock | None = None, turns: Turns | None = None, **how: Any) -> tuple[Recorder, RawClient]:
    """Return a link with TLS around it, and the client at its other end."""
    clock = clock or Clock()
    link = Recorder(clock, turns=turns)
    tls = ServerTLS(MALLORY.private_key, MALLORY.certificate)
    return link, RawClient(clock, wrapped(clock, link, tls), **how)
