"""Prove that a client survives its connections, with the fault tools of the package.

    python examples/ask_until_answered.py

The code under test asks until it has an answer.  It knows nothing of this package.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, react
from twisted.python.failure import Failure

from twisted_rsh.testing import (
    NO_FAULTS,
    Direction,
    FaultProxy,
    Faults,
    FaultSchedule,
    InTurn,
    LaneFaults,
    MemoryEndpoint,
    Schedule,
)


class Capitals(Protocol):
    """The server: answers in capitals."""

    transport: ITransport

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())


class Question(Protocol):
    """One attempt of the client: it has the answer, or the reason why there is none."""

    transport: ITransport

    def __init__(self, text: bytes) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._text = text
        self._received = b""

    def connectionMade(self) -> None:
        self.transport.write(self._text)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) == len(self._text):
            self.answer.callback(self._received)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(reason)


async def ask(endpoint: IStreamClientEndpoint, text: bytes) -> bytes:
    """The code under test: asks as often as it takes."""
    while True:
        question = Question(text)
        await connectProtocol(endpoint, question)
        try:
            return await question.answer
        except ConnectionClosed:
            continue


def ask_in_memory(schedule: Schedule) -> MemoryEndpoint:
    """Ask over connections that fail as a schedule says: no sockets, and no waiting."""
    clock = Clock()
    endpoint = MemoryEndpoint(clock, Factory.forProtocol(Capitals), schedule)
    answers: list[bytes] = []
    Deferred.fromCoroutine(ask(endpoint, b"who is there?")).addCallback(answers.append)
    clock.advance(0)
    assert answers == [b"WHO IS THERE?"], schedule
    return endpoint


def cut_at_every_byte() -> None:
    """Wherever the first connection is cut, the answer comes."""
    [connection] = ask_in_memory(NO_FAULTS).connections
    for direction in Direction:
        for size in range(connection.delivered(direction)):
            faults = Faults.going(direction, LaneFaults(cut_after=size))
            endpoint = ask_in_memory(InTurn((faults,)))
            assert endpoint.dials == 2


def many_kinds_of_misfortune() -> None:
    """The answer comes through all of it; a failure prints the schedule."""
    for seed in range(100):
        ask_in_memory(FaultSchedule(seed, faulty=5, longest=20))


async def ask_through_a_proxy(reactor: Any) -> None:
    """The same over sockets: the first connection is cut within the answer."""
    port = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    listening = await port.listen(Factory.forProtocol(Capitals))
    server = TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)
    faults = Faults(to_client=LaneFaults(cut_after=5))
    proxy = FaultProxy(reactor, server, InTurn((faults,)))
    await proxy.start()
    try:
        client = TCP4ClientEndpoint(reactor, "127.0.0.1", proxy.port)
        answer = await ask(client, b"who is there?")
        assert answer == b"WHO IS THERE?"
        assert (proxy.connections, proxy.cuts) == (2, 1)
        print("answered every time")
    finally:
        await proxy.stop()
        await listening.stopListening()


def main(reactor: Any) -> Deferred[None]:
    """Do all of it."""
    cut_at_every_byte()
    many_kinds_of_misfortune()
    return Deferred.fromCoroutine(ask_through_a_proxy(reactor))


if __name__ == "__main__":
    react(main)
