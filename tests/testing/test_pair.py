"""The pair of a real client and a real server in memory, and the scripted user."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.serving import asynchronous, reactor
from twisted_rsh import Connection, ShellState
from twisted_rsh.client.errors import (
    LoginRefused,
    LossReason,
    NoServer,
    ServerUnavailable,
    SessionLost,
    ShellRefused,
)
from twisted_rsh.core.endings import (
    Exited,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
    TimedOut,
)
from twisted_rsh.core.errors import Error
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.requests import KILL, JobRequest, Keep, Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.interfaces import IJob, IShellJob, IShellUser
from twisted_rsh.server import ServiceOptions
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.testing import Answer, Direction, Faults, InTurn, LaneFaults, MemoryPair, ScriptedUser
from twisted_rsh.trust.client_key import ClientKey
from twisted_rsh.trust.cred import IVerifiedKey


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def user() -> ScriptedUser:
    """A user with answers of some kinds; commands called ``by hand`` are left to the test."""
    return ScriptedUser(
        {
            "hello": Answer(b"hello\n", b"oh\n", Exited(3)),
            "no": Answer(ending=Refused(RefusalReason.NOT_PERMITTED, "not you")),
            "long": Answer(bytes(1_000_000)),
            "at once": Answer(b"yes\n", reads_input=False),
            "by hand": None,
        }
    )


@pytest.fixture
def pair(clock: Clock, user: ScriptedUser) -> Iterator[MemoryPair]:
    """A pair, which leaves nothing on the clock behind."""
    pair = MemoryPair(clock, user)
    yield pair
    pair.run_until_complete(pair.close())
    assert clock.getDelayedCalls() == []


@pytest.fixture
def connection(pair: MemoryPair) -> Connection:
    """A connection of the pair."""
    return pair.run_until_complete(pair.connect())


def test_fault_tools_alone() -> None:
    """An import of the fault tools imports neither the client nor the server, nor anything that they need."""
    program = """
import sys, twisted_rsh.testing
loaded = {name.split(".")[1] for name in sys.modules if name.startswith("twisted_rsh.")}
assert loaded == {"testing", "closing"}, loaded
twisted_rsh.testing.MemoryPair
assert "twisted_rsh.server.factory" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(AttributeError, match="has no attribute 'MemoryPairs'"):
        __import__("twisted_rsh.testing", fromlist=["testing"]).MemoryPairs  # noqa: B018


def test_provide_their_interfaces(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """The doubles have all that their interfaces ask for."""
    shell = pair.run_until_complete(connection.open_shell())
    pair.run_until_complete(shell.run("hello"))
    assert verifyObject(IShellUser, user)
    assert verifyObject(IJob, user.jobs[0])
    assert verifyObject(IShellJob, user.shells[0])


def test_answers(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A command writes what its answer says and ends as it says; an unknown one ends as in a shell."""
    result = pair.run_until_complete(connection.run("hello"))
    assert (result.stdout, result.stderr, result.ending) == (b"hello\n", b"oh\n", Exited(3))
    result = pair.run_until_complete(connection.run("no"))
    assert result.ending == Refused(RefusalReason.NOT_PERMITTED, "not you")
    result = pair.run_until_complete(connection.run(["rm", "a b"]))
    assert (result.ending, result.error_text) == (Exited(127), "rm 'a b': this ScriptedUser has no answer to it\n")
    assert user.commands == ["hello", "no", "rm 'a b'"]


def test_callable_answers(clock: Clock) -> None:
    """Answers may come from a callable, which is asked with the text of the command."""
    user = ScriptedUser(lambda command: Answer(command.upper().encode()), name="ada", encoding="gbk")
    pair = MemoryPair(clock, user)
    connection = pair.run_until_complete(pair.connect())
    result = pair.run_until_complete(connection.run("say"))
    assert (result.stdout, result.encoding) == (b"SAY", "gbk")
    pair.run_until_complete(pair.close())


def test_input(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A command reads all of its input, however much that is, before it answers."""
    data = bytes(range(256)) * 8192
    result = pair.run_until_complete(connection.run("hello", stdin=data))
    assert result.ending == Exited(3)
    assert user.jobs[0].input == data
    assert user.jobs[0].input_ended


def test_answer_at_once(pair: MemoryPair, connection: Connection) -> None:
    """A command that does not read its input ends although that has no end."""
    job = connection.start("at once")
    assert pair.run_until_complete(job.stdout.read()) == b"yes\n"
    assert pair.run_until_complete(job.wait()).ending == Exited(0)


def test_much_output(pair: MemoryPair, connection: Connection) -> None:
    """Output that is larger than the window waits for its reader, and all of it arrives."""
    assert pair.run_until_complete(connection.run("long")).stdout == bytes(1_000_000)
    limited = pair.run_until_complete(connection.run("long", max_output=500_000))
    assert (len(limited.stdout), limited.ending) == (500_000, LimitReached(Limit.OUTPUT, 500_000))


def test_by_hand(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A job without an answer does what the test says."""
    job = connection.start("by hand", terminal=Terminal())
    pair.run_until_complete(job.when_started())
    [double] = user.jobs
    double.write(b"a prompt> ")
    assert pair.run_until_complete(job.stdout.read()) == b"a prompt> "
    pair.run_until_complete(job.stdin.write(b"yes\n"))
    job.send_signal("WINCH")
    job.resize(100, 40)
    double.write(b"ouch", Stream.STDERR)
    assert pair.run_until_complete(job.stderr.read()) == b"ouch"
    assert (double.input, double.signals, double.sizes) == (b"yes\n", ["WINCH"], [(100, 40)])
    double.end()
    assert pair.run_until_complete(job.wait()).ending == Exited(0)
    double.write(b"too late")
    assert pair.run_until_complete(job.stdout.read()) == b""


def test_ends_of_jobs(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A signal, a time-out and a lost interest end a job that the test leaves alone."""
    job = connection.start("by hand")
    job.send_signal("INT")
    assert pair.run_until_complete(job.wait()).ending == Signalled("INT")
    assert pair.run_until_complete(connection.run("by hand", timeout=5)).ending == TimedOut(5)
    job = connection.start("by hand")
    job.close()
    pair.run_until_complete(job.wait())
    assert [double.ending for double in user.jobs] == [Signalled("INT"), Signalled("TERM"), Signalled("TERM")]


def test_unwanted_output(pair: MemoryPair, connection: Connection) -> None:
    """A job whose output is not wanted any more ends without it."""
    job = connection.start("long")
    job.stdin.end()
    job.stdout.stop()
    assert pair.run_until_complete(job.wait()).ending == Exited(0)


def test_shell(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A persistent shell answers one command after another, and refuses a second one at a time."""
    shell = pair.run_until_complete(connection.open_shell())
    assert pair.run_until_complete(shell.run("hello")).ending == Exited(3)
    shell.start("by hand")
    busy = pair.run_until_complete(shell.start("hello").wait())
    assert isinstance(busy.ending, Refused)
    assert busy.ending.reason is RefusalReason.SHELL_BUSY
    shell.close()
    pair.run_until_complete(shell.wait())
    assert user.jobs[1].ending == user.shells[0].ending == Signalled("TERM")
    shell = pair.run_until_complete(connection.open_shell("zsh"))
    user.shells[1].end(Exited(2))
    assert pair.run_until_complete(shell.wait()).ending == Exited(2)


def test_state_of_a_shell(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A test says what a look at a shell shows."""
    shell = pair.run_until_complete(connection.open_shell(startup_files=True))
    assert user.shells[0].request.startup_files
    assert pair.run_until_complete(shell.inspect()) == ShellState()
    user.shells[0].state = ShellState(waits_for_input=True)
    assert pair.run_until_complete(Deferred.fromCoroutine(shell.waits_for_input())) is True


def test_shell_closed_while_idle(pair: MemoryPair, connection: Connection) -> None:
    """A shell in which nothing has run can be closed."""
    shell = pair.run_until_complete(connection.open_shell())
    shell.close()
    assert pair.run_until_complete(shell.wait()).ending == Signalled("TERM")


def test_cut(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """Jobs go on through a cut; those of a session without resume are lost."""
    job = connection.start("by hand")
    pair.run_until_complete(job.when_started())
    pair.cut()
    user.jobs[0].write(b"still here")
    assert pair.run_until_complete(job.stdout.read()) == b"still here"
    assert pair.endpoint.dials == 2
    fragile = pair.run_until_complete(pair.connect(resume=False))
    job = fragile.start("by hand")
    pair.run_until_complete(job.when_started())
    pair.cut()
    assert isinstance(pair.run_until_complete(job.wait()).ending, OutcomeUnknown)
    assert fragile.loss is LossReason.LINK


@pytest.mark.exhaustive
def test_login_cut_anywhere(clock: Clock, user: ScriptedUser) -> None:
    """Wherever a login is cut, in either direction, the client has an error of its own and the server forgets it."""
    pair = MemoryPair(clock, user)
    pair.run_until_complete(pair.connect())
    [healthy] = pair.endpoint.connections
    assert healthy.client.getTcpNoDelay()
    assert healthy.server.getTcpNoDelay()
    sizes = {direction: healthy.delivered(direction) for direction in Direction}
    assert min(sizes.values()) > 500
    cuts = [
        Faults.going(direction, LaneFaults(cut_after=size))
        for direction in Direction
        for size in range(0, sizes[direction], 13)
    ]
    pair = MemoryPair(clock, user, schedule=InTurn(tuple(cuts)))
    for cut in cuts:
        with contextlib.suppress(Error):  # behind the last bytes of a login, it may have succeeded
            connection = pair.run_until_complete(pair.connect(resume=False))
            assert isinstance(pair.run_until_complete(connection.run("hello")).ending, OutcomeUnknown), cut
        clock.advance(0)
        assert (pair.server.strangers.admission.count, pair.server.links) == (0, set()), cut
    # Failed logins are not held against the client.
    connection = pair.run_until_complete(pair.connect())
    assert pair.run_until_complete(connection.run("hello")).ending == Exited(3)
    pair.run_until_complete(pair.close())


def test_refused_dial(clock: Clock, user: ScriptedUser) -> None:
    """A plan that refuses the dial is a server that is not there."""
    pair = MemoryPair(clock, user, schedule=InTurn((Faults(refuse=True),)))
    with pytest.raises(NoServer):
        pair.run_until_complete(pair.connect())


def test_restart(pair: MemoryPair, user: ScriptedUser, connection: Connection) -> None:
    """A server that crashed knows no session; its jobs are gone; a new session can begin."""
    job = connection.start("by hand", on_disconnect=Keep())
    pair.run_until_complete(job.when_started())
    pair.restart_server()
    assert isinstance(pair.run_until_complete(job.wait()).ending, OutcomeUnknown)
    assert connection.loss is LossReason.RESTARTED
    assert user.jobs[0].ending == Signalled("TERM")
    with pytest.raises(SessionLost):
        connection.start("hello")
    connection = pair.run_until_complete(pair.connect())
    assert pair.run_until_complete(connection.run("hello")).ending == Exited(3)


def test_options(clock: Clock, user: ScriptedUser) -> None:
    """The options of the server hold: here, one session for each key and one job in it."""
    options = ServiceOptions(limits=SessionLimits(max_channels=1), max_sessions_per_key=1)
    pair = MemoryPair(clock, user, options=options)
    connection = pair.run_until_complete(pair.connect(limits=SessionLimits(keepalive_interval=7)))
    connection.start("by hand", on_disconnect=KILL)
    refused = pair.run_until_complete(connection.run("hello")).ending
    assert isinstance(refused, Refused)
    assert refused.reason is RefusalReason.TOO_MANY_CHANNELS
    with pytest.raises(ServerUnavailable, match="--max-sessions-per-key"):
        pair.run_until_complete(pair.connect())
    pair.run_until_complete(pair.close())


def test_keys(pair: MemoryPair) -> None:
    """A pair lets in its own key alone."""
    with pytest.raises(LoginRefused):
        pair.run_until_complete(pair.connect(key=ClientKey.generate()))


@implementer(ICredentialsChecker)
class Ada:
    """An application's checker, which takes its time and lets Ada in."""

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide a second later."""
        return deferLater(self._clock, 1, self._decide, credentials.user)

    def _decide(self, name: str) -> bytes | tuple[()]:
        if name != "ada":
            raise UnauthorizedLogin
        return name.encode()


def test_own_portal(clock: Clock, user: ScriptedUser) -> None:
    """An application's own portal decides about logins."""
    pair = MemoryPair(clock, Portal(SingleUserRealm(user), [Ada(clock)]))
    with pytest.raises(LoginRefused):
        pair.run_until_complete(pair.connect())
    connection = pair.run_until_complete(pair.connect("ada", key=ClientKey.generate()))
    assert pair.run_until_complete(connection.run("hello")).ending == Exited(3)
    pair.run_until_complete(pair.close())


def test_a_user_without_shells(clock: Clock) -> None:
    """Any user object will do, such as one whose jobs are all refused."""

    @implementer(IShellUser)
    class Nothing:
        name = "nothing"
        encoding = "utf-8"

        def start_job(self, request: JobRequest, owner: object) -> IJob:
            raise ValueError("a bug of the application")

    pair = MemoryPair(clock, Nothing())
    connection = pair.run_until_complete(pair.connect())
    with pytest.raises(ShellRefused):
        pair.run_until_complete(connection.open_shell())
    pair.run_until_complete(pair.close())


def test_run_until_complete(pair: MemoryPair, clock: Clock, connection: Connection) -> None:
    """It returns the result or raises the error, and gives up by the clock, or when nothing is left to happen."""

    async def fail() -> None:
        await deferLater(clock, 5, lambda: None)
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        pair.run_until_complete(fail())
    began = clock.seconds()
    with pytest.raises(TimeoutError, match="within 60 s"):
        pair.run_until_complete(connection.run("by hand"), 60)
    assert clock.seconds() - began <= 60
    idle = MemoryPair(Clock(), ScriptedUser())
    with pytest.raises(TimeoutError):
        idle.run_until_complete(Deferred())
    with pytest.raises(TypeError, match="on a reactor"):
        MemoryPair(reactor, ScriptedUser()).run_until_complete(Deferred())


def test_closing(clock: Clock, user: ScriptedUser) -> None:
    """A closed pair has closed its connections and ended its jobs, also those to keep, and refuses further clients."""
    pair = MemoryPair(clock, user)
    connections = [pair.run_until_complete(pair.connect()) for _ in range(2)]
    connections[0].start("by hand", on_disconnect=Keep())
    job = connections[1].start("by hand")
    pair.run_until_complete(job.when_started())
    pair.cut()
    clock.advance(0)
    for _ in range(2):
        pair.run_until_complete(pair.close())
    assert [connection.loss for connection in connections] == [LossReason.CLOSED] * 2
    assert all(double.ending is not None for double in user.jobs)
    with pytest.raises(Exception, match="ended before it said anything"):
        pair.run_until_complete(pair.connect())
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("turns", range(4))
def test_closing_during_a_login(clock: Clock, user: ScriptedUser, turns: int) -> None:
    """A login that has not succeeded when the pair is closed is cancelled, and leaves nothing on the clock."""
    pair = MemoryPair(clock, user, schedule=InTurn((Faults(to_client=LaneFaults(delay=1.0)),)))
    outcomes: list[object] = []
    pair.connect().addErrback(lambda failure: outcomes.append(failure.type))
    for _ in range(turns):
        clock.advance(0.5)
    pair.run_until_complete(pair.close())
    assert outcomes == [CancelledError]
    assert clock.getDelayedCalls() == []


@asynchronous
async def test_on_a_reactor(user: ScriptedUser) -> None:
    """On the reactor the same happens in real time, and nothing is left behind."""
    before = set(reactor.getDelayedCalls())
    async with MemoryPair(reactor, user) as pair:
        connection = await pair.connect()
        result = await connection.run("hello", stdin=bytes(300_000))
        assert (result.ending, len(user.jobs[0].input)) == (Exited(3), 300_000)
        job = connection.start("by hand")
        await job.when_started()
        pair.cut()
        user.jobs[1].end()
        assert (await job.wait()).ending == Exited(0)
    assert not connection.connected
    assert set(reactor.getDelayedCalls()) <= before
