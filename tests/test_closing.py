"""The number of a descriptor that the reactor has watched stays taken until all events of one look are dealt with.

In one look there are three events: at the first a victim is closed, at the second a connection is accepted, and the
third was the victim's.
"""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from twisted.internet import protocol
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IStreamClientEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.execution.owners import asynchronous
from tests.execution.processes.recorder import ExitRecorder, PipeRecorder
from tests.readable import is_readable
from twisted_rsh.cli.input import IInputOwner, InputReader
from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.client.link import _LinkFactory, dial
from twisted_rsh.closing import close_after_events
from twisted_rsh.execution.processes.exits import PidfdWatch
from twisted_rsh.execution.processes.pipes import InputPipe, OutputPipe
from twisted_rsh.execution.processes.terminal import TerminalInput, TerminalOutput
from twisted_rsh.execution.trees.guardian import Guardian
from twisted_rsh.link.tls import LinkTLSFactory
from twisted_rsh.testing import FaultProxy

reactor = cast("Any", _reactor)

pytestmark = pytest.mark.skipif(
    type(_reactor).__name__ not in {"EPollReactor", "PollReactor", "KQueueReactor"},
    reason="this reactor knows a descriptor by more than its number",
)

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Victim:
    """Something that the reactor watches.

    :ivar number: its descriptor.
    :ivar provoke: lets it have an event.
    :ivar close: closes it.
    """

    number: int
    provoke: Callable[[], object]
    close: Callable[[], object]


MakeVictim = Callable[[contextlib.ExitStack], Awaitable[Victim]]
"""Makes a victim; the stack undoes the rest."""


class Accepted(protocol.Protocol):
    """The end of a new connection."""

    def __init__(self, made: Deferred[Accepted]) -> None:
        self.number = -1
        self.received = b""
        self.is_lost = False
        self._made = made

    def connectionMade(self) -> None:
        """Take note of the number."""
        self.number = cast("Any", self.transport).fileno()
        self._made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """Take note of it."""
        self.received += data

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Take note of the end."""
        self.is_lost = True


class Accepting(protocol.Factory):
    """Accepts one connection."""

    noisy = False

    def __init__(self) -> None:
        self.made: Deferred[Accepted] = Deferred()

    def buildProtocol(self, addr: object) -> Accepted:
        """Make its protocol."""
        return Accepted(self.made)


@implementer(IReadDescriptor)
class Watched:
    """A pipe with something to read.

    :param read: called from within the event.
    """

    def __init__(self, read: Callable[[], object]) -> None:
        self._reading, self.writing = os.pipe()
        self._read = read
        reactor.addReader(self)

    def fileno(self) -> int:
        """The number, for the reactor."""
        return self._reading

    def logPrefix(self) -> str:
        """A name, for the reactor."""
        return "watched"

    def provoke(self) -> None:
        """Let the other end hang up."""
        os.close(self.writing)

    def doRead(self) -> None:
        """Take the event."""
        self._read()

    def connectionLost(self, reason: Failure) -> None:
        """Take the event, a hang-up."""
        self._read()

    def close_at_once(self) -> None:
        """Close it while other events wait: what must not be done."""
        reactor.removeReader(self)
        os.close(self._reading)


@contextlib.contextmanager
def no_gaps() -> Iterator[None]:
    """Leave no number free below those that are opened from now on."""
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    with contextlib.ExitStack() as fillers:
        number = -1
        while number <= highest:
            number = os.open(os.devnull, os.O_RDONLY)
            fillers.callback(os.close, number)
        yield


async def turns(count: int = 2) -> None:
    """Let the reactor take some turns."""
    for _ in range(count):
        await deferLater(reactor, 0)


async def accept_in_between(make: MakeVictim) -> tuple[int, int, bytes]:
    """Close a victim and accept a connection in one look, in which the victim has an event still.

    :returns: the numbers of both, and what the connection has received of the one byte that it was sent, if it lives.
    """
    accepting = Accepting()
    port = reactor.listenTCP(0, accepting, interface=HOST)
    with contextlib.ExitStack() as stack, socket.socket() as client:
        stack.enter_context(no_gaps())
        victim = await make(stack)

        def close() -> None:
            first.close_at_once()
            stack.enter_context(no_gaps_above(victim.number))
            victim.close()

        first = Watched(close)
        # The system reports events in the order in which they happen.
        first.provoke()
        client.connect((HOST, port.getHost().port))
        victim.provoke()
        accepted = await accepting.made
        await turns()
        client.sendall(b"x")
        await turns(3)
        received = accepted.received
        await port.stopListening()
        if not accepted.is_lost:
            cast("Any", accepted.transport).abortConnection()
        await turns()
    return victim.number, accepted.number, received


@contextlib.contextmanager
def no_gaps_above(number: int) -> Iterator[None]:
    """Leave no number free below one that is about to be closed."""
    with contextlib.ExitStack() as fillers:
        while True:
            free = os.open(os.devnull, os.O_RDONLY)
            fillers.callback(os.close, free)
            if free > number:
                break
        yield


async def closed_at_once(stack: contextlib.ExitStack) -> Victim:
    """A pipe that is closed while events wait: the fault."""
    watched = Watched(lambda: pytest.fail("an event of what is closed"))
    return Victim(watched.fileno(), watched.provoke, watched.close_at_once)


async def output_pipe(stack: contextlib.ExitStack) -> Victim:
    """The output of a job."""
    recorder = PipeRecorder(10)
    reading, writing = os.pipe()
    pipe = OutputPipe(reactor, reading, 1, recorder, recorder)
    pipe.resume()
    return Victim(reading, lambda: os.close(writing), pipe.close)


async def input_pipe(stack: contextlib.ExitStack) -> Victim:
    """The input of a job."""
    recorder = PipeRecorder(10)
    reading, writing = os.pipe()
    pipe = InputPipe(reactor, writing, 0, recorder, recorder)
    pipe.watch()
    return Victim(writing, lambda: os.close(reading), pipe.close)


async def terminal_output(stack: contextlib.ExitStack) -> Victim:
    """The output of a job on a terminal."""
    recorder = PipeRecorder(10)
    master, slave = pty.openpty()
    terminal = TerminalOutput(reactor, master, 1, recorder, recorder)
    terminal.resume()
    return Victim(master, lambda: os.close(slave), terminal.close)


async def terminal_input(stack: contextlib.ExitStack) -> Victim:
    """The input of a job on a terminal."""
    recorder = PipeRecorder(10)
    master, slave = pty.openpty()
    terminal = TerminalInput(reactor, master, 0, recorder, recorder)

    def provoke() -> None:
        reactor.addWriter(terminal)
        os.close(slave)

    return Victim(master, provoke, terminal.close)


async def pidfd(stack: contextlib.ExitStack) -> Victim:
    """The exit of a process."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    stack.callback(os.waitpid, pid, 0)
    watch = PidfdWatch(reactor, pid, ExitRecorder())
    number = watch.fileno()

    def provoke() -> None:
        os.kill(pid, signal.SIGKILL)
        assert is_readable(number, None)

    return Victim(number, provoke, watch.close)


async def guardian_pipe(stack: contextlib.ExitStack) -> Victim:
    """The pipe to a guardian that does not read, and dies."""
    guardian = Guardian(reactor)
    guardian.start()
    number, pid = guardian.fileno(), guardian.pid
    assert pid is not None

    def provoke() -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        reactor.addWriter(guardian)

    return Victim(number, provoke, guardian.stop)


@implementer(IInputOwner)
class _Reads:
    def input_room(self) -> int:
        return 1

    def input_received(self, data: bytes) -> None:
        raise AssertionError

    def input_ended(self, error: OSError | None) -> None:
        """Expect it: the event may come before the close."""


async def client_input(stack: contextlib.ExitStack) -> Victim:
    """What the client reads."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    reader = InputReader(reactor, reading, _Reads())
    reader.resume()
    await turns()
    assert reader in reactor.getReaders()
    return Victim(reader.fileno(), lambda: os.close(writing), reader.stop)


async def client_output(stack: contextlib.ExitStack) -> Victim:
    """What the client writes, while its reader is slow."""
    reading, writing = os.pipe()
    stack.callback(os.close, writing)
    output = LocalOutput(reactor, writing)
    output.say("x" * (1 << 20))
    while output not in reactor.getWriters():
        await turns()
    return Victim(output.fileno(), lambda: os.close(reading), output.stop)


async def link(stack: contextlib.ExitStack) -> Victim:
    """A link that is aborted, as by the resume of its session on another link."""
    ours, peer = socket.socketpair()
    with ours:
        links = _LinkFactory(reactor, (bytes(32),), 30.0)
        links.found.addErrback(lambda failure: None)
        made: list[Any] = []
        build = links.buildProtocol
        links.buildProtocol = lambda addr: made.append(build(addr)) or made[0]  # type: ignore[method-assign, func-returns-value]
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, LinkTLSFactory(links.tls, True, links, reactor))
    [client] = made
    return Victim(client.tls.transport.fileno(), peer.close, lambda: client.fail("for the test"))


async def port(stack: contextlib.ExitStack) -> Victim:
    """A port that listens no more."""
    listening = reactor.listenTCP(0, Accepting(), interface=HOST)
    client = stack.enter_context(socket.socket())
    address = (HOST, listening.getHost().port)
    return Victim(listening.fileno(), lambda: client.connect(address), listening.stopListening)


@implementer(IStreamClientEndpoint)
class Unreachable:
    """An endpoint whose attempt closes its descriptor at once when it is cancelled, as Twisted's do."""

    def __init__(self) -> None:
        self.watched = Watched(lambda: pytest.fail("an event of what is closed"))
        self.attempts: list[Deferred[Any]] = []

    def connect(self, factory: object) -> Deferred[Any]:
        """Begin an attempt without an end."""
        self.attempts.append(Deferred(lambda _: self.watched.close_at_once()))
        return self.attempts[-1]


async def dial_of_client(stack: contextlib.ExitStack) -> Victim:
    """A connection that the client has not made yet, and gives up."""
    endpoint = Unreachable()
    dialling = Deferred.fromCoroutine(dial(reactor, endpoint, (bytes(32),)))
    dialling.addErrback(lambda failure: None)
    return Victim(endpoint.watched.fileno(), endpoint.watched.provoke, dialling.cancel)


async def dial_of_proxy(stack: contextlib.ExitStack) -> Victim:
    """A connection that the proxy of the tests has not made yet, and gives up."""
    endpoint = Unreachable()
    proxy = FaultProxy(reactor, endpoint)
    client = stack.enter_context(socket.socket())
    await proxy.start()
    client.connect((HOST, proxy.port))
    while not endpoint.attempts:
        await turns()
    stack.callback(proxy.stop)
    return Victim(endpoint.watched.fileno(), endpoint.watched.provoke, proxy.cut_all)


VICTIMS = (
    output_pipe,
    input_pipe,
    terminal_output,
    terminal_input,
    pidfd,
    guardian_pipe,
    client_input,
    client_output,
    link,
    port,
    dial_of_client,
    dial_of_proxy,
)


@asynchronous
async def test_the_fault() -> None:
    """What closes at once gives its number and its hang-up to the new connection: the tests below would see it."""
    closed, accepted, received = await accept_in_between(closed_at_once)
    assert (accepted, received) == (closed, b"")


@pytest.mark.parametrize("make", VICTIMS, ids=lambda make: make.__name__)
@asynchronous
async def test_new_connection(make: MakeVictim) -> None:
    """A connection that is accepted while something is closed gets a number of its own, and lives."""
    closed, accepted, received = await accept_in_between(make)
    assert accepted != closed
    assert received == b"x"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(closed)


STOP = """
import os
from twisted.internet import reactor
from twisted_rsh.closing import close_after_events

def closed(fd):
    try:
        os.fstat(fd)
    except OSError:
        return "closed"
    return "open"

def late():
    close_after_events(reactor, os.close, pipes[1])
    print("after the stop", closed(pipes[1]))

def stop():
    close_after_events(reactor, os.close, pipes[0])
    reactor.fireSystemEvent("shutdown")
    print("during", closed(pipes[0]))

pipes = os.pipe()
reactor.addSystemEventTrigger("during", "shutdown", lambda: print("before", closed(pipes[0])))
reactor.addSystemEventTrigger("after", "shutdown", late)
reactor.callWhenRunning(reactor.callLater, 0, stop)
reactor.run()
print("at the end", closed(pipes[0]))
"""


def test_stop() -> None:
    """What still waits when the reactor stops is closed then, and what comes later is closed at once."""
    done = subprocess.run([sys.executable, "-c", STOP], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["before open", "after the stop closed", "during closed", "at the end closed"]
    assert done.stderr == ""


def test_reactor_that_does_not_run() -> None:
    """A reactor that does not run, or a clock, has no events: what is closed is closed at once."""
    closed: list[str] = []
    close_after_events(Clock(), closed.append, "x")
    assert closed == ["x"]


@asynchronous
async def test_one_that_cannot_be_closed() -> None:
    """What cannot be closed keeps nothing else open."""
    reading, writing = os.pipe()
    close_after_events(reactor, os.close, reading)
    close_after_events(reactor, lambda: 1 / 0)
    close_after_events(reactor, os.close, writing)
    await turns()
    for fd in (reading, writing):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
