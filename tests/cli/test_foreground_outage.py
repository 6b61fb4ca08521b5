"""A command in the foreground while its connection is cut: real servers, proxies and terminals."""

from __future__ import annotations

import os
import termios
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint

from tests.cli.screens import Screen, open_pipe, open_terminal, read_bytes
from tests.conftest import async_fixture
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import Connection, connect
from twisted_rsh.cli.foreground import Interrupted
from twisted_rsh.cli.outage import NOTICE_SECONDS, GaveUp
from twisted_rsh.cli.terminal import LocalTerminal
from twisted_rsh.core.endings import Ending, Exited, Signalled
from twisted_rsh.testing import NO_FAULTS, FaultProxy, Faults, InTurn

pytestmark = pytest.mark.uncut("makes its own outages, at the moments that it is about")


class Road:
    """The way to a server, and a connection that took it."""

    def __init__(self, proxy: FaultProxy, connection: Connection) -> None:
        self.connection = connection
        self._proxy = proxy

    async def close(self) -> None:
        """Cut the connection, and refuse new ones."""
        lost: Deferred[None] = Deferred()
        stop = self.connection.watch_link(lambda _: lost.callback(None))
        self._proxy.schedule = InTurn(afterwards=Faults(refuse=True))
        self._proxy.cut_all()
        await lost
        stop()

    async def open(self) -> None:
        """Accept connections again, and wait until there is one."""
        found: Deferred[None] = Deferred()
        stop = self.connection.watch_link(lambda reason: found.callback(None) if reason is None else None)
        self._proxy.schedule = NO_FAULTS
        await found
        stop()


@async_fixture
async def road(serving: Serving) -> AsyncIterator[Road]:
    """A connection to a server behind a proxy."""
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", serving.port))
    await proxy.start()
    fingerprint = serving.service.fingerprint
    connection = await connect(reactor, "127.0.0.1", proxy.port, config=serving.config, fingerprint=fingerprint)
    yield Road(proxy, connection)
    await connection.close()
    await proxy.stop()


@pytest.fixture
def pipes() -> Iterator[Screen]:
    """A foreground on pipes."""
    screen = Screen(open_pipe(), open_pipe())
    yield screen
    screen.close()


@pytest.fixture
def keyboard() -> Iterator[tuple[int, int]]:
    """A terminal: where keys are pressed, and where they are read."""
    pair = os.openpty()
    yield pair
    for fd in pair:
        os.close(fd)


def following(screen: Screen, road: Road) -> Screen:
    """Let a foreground follow the connection, as the program does."""
    screen.foreground.outage.follow(road.connection)
    return screen


async def shown(screen: Screen, wanted: bytes) -> None:
    """Wait until something stands on stdout."""
    text = b""
    while wanted not in text:
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.01, turn.callback, None)
        await turn
        text += (await screen.written())[0]


def run(screen: Screen, *arguments: Any) -> Deferred[Ending]:
    """Run a job in the foreground."""
    return Deferred.fromCoroutine(screen.foreground.run(*arguments))


@asynchronous
async def test_escape_leaves_a_lent_terminal(road: Road, pipes: Screen, keyboard: tuple[int, int]) -> None:
    """C-09: ``~.`` during an outage ends the client at once, and the terminal is what it was."""
    following(pipes, road)
    keys, terminal = keyboard
    before = termios.tcgetattr(terminal)
    local = LocalTerminal(reactor, terminal)
    job = road.connection.start("printf ready; cat", terminal=local.describe({"TERM": "vt100"}))
    running = run(pipes, job, terminal, local)
    await shown(pipes, b"ready")
    os.write(keys, b"~.\r")
    await shown(pipes, b"~.")
    await road.close()
    os.write(keys, b"x\r~.")
    with pytest.raises(GaveUp, match="unknown outcome"):
        await running
    assert termios.tcgetattr(terminal) == before


@asynchronous
async def test_escape_before_the_command_has_started(road: Road, pipes: Screen, keyboard: tuple[int, int]) -> None:
    """C-09: keys typed before a command has started are its input, or the way out while it waits for a connection."""
    following(pipes, road)
    keys, terminal = keyboard
    local = LocalTerminal(reactor, terminal)
    await road.close()
    running = run(pipes, road.connection.start("stty -echo; read x; echo got $x"), terminal)
    os.write(keys, b"ahead\n\x04")
    await road.open()
    assert await running == Exited(0)
    assert (await pipes.written())[0] == b"got ahead\n"
    await road.close()
    running = run(pipes, road.connection.start("cat", terminal=local.describe({})), terminal, local)
    os.write(keys, b"~.")
    with pytest.raises(GaveUp):
        await running


@asynchronous
async def test_binary_input_has_no_escape(road: Road, pipes: Screen) -> None:
    """C-09: no byte from a pipe is special, also during an outage."""
    following(pipes, road)
    reading, writing = os.pipe()
    running = run(pipes, road.connection.start("printf ready; cat"), reading)
    await shown(pipes, b"ready")
    await road.close()
    os.write(writing, b"\n~.\n")
    os.close(writing)
    await road.open()
    assert await running == Exited(0)
    assert (await pipes.written())[0] == b"\n~.\n"
    os.close(reading)


@asynchronous
async def test_interrupt_waits_for_the_connection(road: Road, pipes: Screen) -> None:
    """Ctrl-C during an outage reaches the command when there is a connection again, once."""
    following(pipes, road)
    job = road.connection.start("trap 'echo got' INT; echo ready; while read x; do :; done; echo over")
    reading, writing = os.pipe()
    running = run(pipes, job, reading)
    await shown(pipes, b"ready\n")
    await road.close()
    assert pipes.foreground.signal_arrived("INT")
    await road.open()
    await shown(pipes, b"got\n")
    os.close(writing)
    assert isinstance(await running, Exited | Signalled)
    assert b"got" not in (await pipes.written())[0]
    os.close(reading)


@asynchronous
async def test_interrupts_escalate_through_outages(road: Road, pipes: Screen) -> None:
    """C-10: an interrupt counts whether or not there is a connection: after INT comes TERM, and after TERM KILL."""
    following(pipes, road)
    running = run(pipes, road.connection.start("trap 'echo got' INT; echo ready; while :; do sleep 0.05; done"), None)
    await shown(pipes, b"ready\n")
    assert pipes.foreground.signal_arrived("INT")
    await shown(pipes, b"got\n")
    await road.close()
    assert pipes.foreground.signal_arrived("INT")
    await road.open()
    assert await running == Signalled("TERM")


@pytest.mark.parametrize("names", [("INT", "INT"), ("USR1", "USR1", "TERM", "HUP")])
@asynchronous
async def test_second_interrupt_leaves(road: Road, pipes: Screen, names: tuple[str, ...]) -> None:
    """Ctrl-C twice during an outage ends the client, however much later the second is."""
    following(pipes, road)
    running = run(pipes, road.connection.start("echo ready; exec sleep 1000"), None)
    await shown(pipes, b"ready\n")
    await road.close()
    for name in names:
        assert not running.called
        assert pipes.foreground.signal_arrived(name)
    with pytest.raises(Interrupted):
        await running


@pytest.mark.parametrize("is_lent", [False, True])
@asynchronous
async def test_notice_is_for_terminals(road: Road, is_lent: bool) -> None:
    """The notice goes to a standard error that is a terminal, in a line of its own, also on a terminal that is lent."""
    terminal = open_terminal()
    screen, silent = Screen(open_pipe(), terminal), Screen(open_pipe(), open_pipe())
    for output in (screen.foreground.outputs.stdout, screen.foreground.outputs.stderr):
        output.begin_command(is_lent)
    for one in (screen, silent):
        following(one, road)
    await road.close()
    waiting: Deferred[None] = Deferred()
    reactor.callLater(NOTICE_SECONDS + 0.1, waiting.callback, None)
    await waiting
    await road.open()
    for one in (screen, silent):
        await one.foreground.outputs.flushed()
    end = "\r\n" if is_lent else "\n"
    notice = f"[connection lost; trying to resume; Ctrl-C twice to give up]{end}[resumed]{end}".encode()
    assert read_bytes(terminal[0], len(notice)) == notice
    assert await silent.written() == (b"", b"")
    screen.close()
    silent.close()
