"""This package's own server and client over the endpoint in memory: real TLS, real sessions, no sockets."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.link.wire import ALICE, client_key
from tests.server.rig import Rig, ScriptedJob
from twisted_rsh import Connection, Result, connect_to_endpoint
from twisted_rsh.client.errors import Error
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.roles import OUTPUTS
from twisted_rsh.server.job import OPENED_HELD_SECONDS
from twisted_rsh.testing import NO_FAULTS, Direction, End, Faults, InTurn, LaneFaults, MemoryEndpoint, Schedule


class Dialled:
    """A server in memory, and what came of connecting to it.

    :ivar shell: the shell, or ``None``.
    :ivar failure: why there is none, or ``None``.
    """

    def __init__(self, schedule: Schedule = NO_FAULTS) -> None:
        self.rig = Rig()
        self.rig.user.script = self.run_job
        self.endpoint = MemoryEndpoint(self.rig.clock, self.rig.factory, schedule)
        self.shell: Connection | None = None
        self.failure: Failure | None = None

    def dial(self) -> None:
        """Connect and log in."""
        self.failure = self.shell = None
        connecting = connect_to_endpoint(self.rig.clock, self.endpoint, self.rig.pin, client_key(), ALICE)
        connecting.addCallbacks(self._connected, self._failed)
        self.rig.clock.advance(0)

    def run_job(self, job: ScriptedJob) -> None:
        """Be a job that says something and ends."""
        self.rig.clock.callLater(0, self._end, job)

    def run(self) -> Result:
        """Run a command to its end."""
        assert self.shell is not None
        done: list[Result] = []
        running: Deferred[Result] = self.shell.run("anything")
        running.addCallback(done.append)
        for _ in range(5):
            self.rig.clock.advance(OPENED_HELD_SECONDS)
        [result] = done
        return result

    def failed_properly(self) -> bool:
        """Whether connecting failed in the client's own words."""
        return self.failure is not None and self.failure.check(Error) is not None

    def _connected(self, connection: Connection) -> None:
        self.shell = connection

    def _failed(self, failure: Failure) -> None:
        self.failure = failure

    @staticmethod
    def _end(job: ScriptedJob) -> None:
        for stream in OUTPUTS:
            job.owner.output_received(stream, b"hello")
        job.end()


def test_a_command_in_memory() -> None:
    """Without faults everything works as over sockets."""
    dialled = Dialled()
    dialled.dial()
    result = dialled.run()
    assert (result.stdout, result.stderr, result.ending) == (b"hello", b"hello", Exited(0))
    [connection] = dialled.endpoint.connections
    assert connection.client.getTcpNoDelay()
    assert connection.server.getTcpNoDelay()


def test_login_cut_anywhere() -> None:
    """Wherever a login is cut, in either direction, the client is told in its own words and the server forgets it."""
    whole = Dialled()
    whole.dial()
    assert whole.shell is not None
    [connection] = whole.endpoint.connections
    sizes = {direction: connection.delivered(direction) for direction in Direction}
    dialled = Dialled()
    for direction, size in sizes.items():
        assert size > 500
        for cut_after in range(0, size, 13):
            plan = Faults.going(direction, LaneFaults(cut_after=cut_after))
            dialled.endpoint = MemoryEndpoint(dialled.rig.clock, dialled.rig.factory, InTurn((plan,)))
            dialled.dial()
            assert dialled.shell is not None or dialled.failed_properly(), plan
            assert dialled.rig.waiting == 0
            assert not dialled.rig.links


def test_command_cut() -> None:
    """A command whose connection dies goes on over the next."""
    dialled = Dialled(InTurn((Faults(client_end=End.CLOSED),)))
    dialled.dial()
    [connection] = dialled.endpoint.connections
    assert dialled.shell is not None
    done: list[Result] = []
    running: Deferred[Result] = dialled.shell.run("anything")
    running.addCallback(done.append)
    connection.cut()
    dialled.rig.clock.advance(0)
    [result] = done
    assert (result.stdout, result.stderr, result.ending) == (b"hello", b"hello", Exited(0))
    assert dialled.endpoint.dials == 2


def test_refused() -> None:
    """A plan that refuses the dial is a server that is not there."""
    dialled = Dialled(InTurn((Faults(refuse=True),)))
    dialled.dial()
    assert dialled.failed_properly()
