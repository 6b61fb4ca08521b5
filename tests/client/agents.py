"""Agents for tests: one that keeps to the protocol, and ones that do not, at a Unix socket in the test's process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol

from tests.serving import reactor
from tests.trust.keys import string

IDENTITIES, IDENTITIES_ANSWER, SIGN, SIGNED, FAILURE = 11, 12, 13, 14, 5


def listing(*blobs: bytes) -> bytes:
    """Write the answer that lists keys."""
    return (
        bytes([IDENTITIES_ANSWER]) + len(blobs).to_bytes(4, "big") + b"".join(string(b) + string(b"c") for b in blobs)
    )


class FakeAgent:
    """Answers each request by what a function makes of it, raw bytes with the length and all; nothing for silence.

    :ivar path: its socket.
    :ivar requests: those that came, without their lengths.
    """

    def __init__(self, folder: Path, answer: Callable[[bytes], bytes | None]) -> None:
        self.path = str(folder / "agent")
        self.requests: list[bytes] = []
        self.answer = answer
        self._port: IListeningPort = reactor.listenUNIX(self.path, _Connections(self))

    async def stop(self) -> None:
        """Listen no more."""
        await maybeDeferred(self._port.stopListening)


class _Connections(Factory):
    noisy = False

    def __init__(self, agent: FakeAgent) -> None:
        self.agent = agent

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Connection(self.agent)


class _Connection(Protocol):
    def __init__(self, agent: FakeAgent) -> None:
        self._agent = agent
        self._received = b""

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < 4 or len(self._received) < 4 + int.from_bytes(self._received[:4], "big"):
            return
        request, self._received = self._received[4:], b""
        self._agent.requests.append(request)
        answer = self._agent.answer(request)
        assert self.transport is not None
        if answer is None:
            return
        if answer:
            self.transport.write(answer)
        else:
            self.transport.loseConnection()
