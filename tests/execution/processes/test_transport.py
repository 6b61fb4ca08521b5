"""The process transport under an ordinary process protocol, as any Twisted application would use it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakSet

import pytest
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReadDescriptor, IReadWriteDescriptor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.execution.owners import asynchronous, lose, open_descriptors, reactor, until
from tests.execution.processes.recorder import ExitRecorder, PipeRecorder, Recorder, end_of, master_pair, shell
from twisted_rsh.core.fast_path import encode_data
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution.processes import exits, pipes, terminal
from twisted_rsh.execution.processes.descriptors import peer_is_gone
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES, READS_AT_ONCE, WIDE_PIPE_BYTES, InputPipe, OutputPipe
from twisted_rsh.execution.processes.transport import ProcessGroups, SpawnedProcess, spawn_process
from twisted_rsh.link.tls import RECORD_BYTES


def start(command: str) -> tuple[Recorder, SpawnedProcess]:
    """Start a command under a recorder."""
    protocol = Recorder()
    return protocol, spawn_process(reactor, protocol, shell(command))


@asynchronous
async def test_life_of_a_process() -> None:
    """A protocol is called in Twisted's order, and the resource usage is known at the end."""
    protocol, process = start("cat; echo e >&2; exit 3")
    assert verifyObject(IProcessTransport, process)
    assert id(protocol.transport) == id(process)
    assert protocol.events == ["made"]
    assert isinstance(process.pid, int)
    process.write(b"a")
    process.writeToChild(0, b"b")
    process.writeSequence([b"c", b"d"])
    process.closeStdin()
    process.closeStdin()
    reason = await end_of(protocol)
    assert (reason.exitCode, reason.signal) == (3, None)
    assert protocol.output == {1: b"abcd", 2: b"e\n"}
    assert protocol.events[0] == "made"
    assert protocol.events[-1] == "ended ProcessTerminated"
    assert sorted(protocol.events[1:-1]) == ["exited ProcessTerminated", "lost 0", "lost 1", "lost 2"]
    assert not process.pid
    assert process.resource_usage is not None
    assert process.resource_usage.ru_maxrss > 0
    process.resume_output(1)
    process._outputs[1].pause()
    assert process.buffered_output(1) == 0
    assert process.is_output_exhausted(1)


@asynchronous
async def test_success() -> None:
    """A process that ends well ends with `ProcessDone`."""
    protocol, process = start("exit 0")
    assert isinstance(await end_of(protocol), ProcessDone)
    assert process.signal_group(0) is False
    assert process.signal_group(signal.SIGKILL) is False


@asynchronous
async def test_signals() -> None:
    """Signals go by name or number to a process that is there; afterwards there is no process to signal."""
    protocol, process = start("exec sleep 60")
    with pytest.raises(ValueError, match="no signal NOSUCH"):
        process.signalProcess("NOSUCH")
    process.signalProcess(0)
    assert process.signal_group(0)
    process.signalProcess("TERM")
    reason = await end_of(protocol)
    assert reason.signal == signal.SIGTERM
    with pytest.raises(ProcessExitedAlready):
        process.signalProcess("TERM")


@asynchronous
async def test_signal_before_the_exit_is_noticed() -> None:
    """A group that is gone before the reactor has noticed counts as an exit."""
    protocol, process = start("exit 0")
    pid = process.pid
    assert pid is not None
    os.waitpid(pid, 0)
    with pytest.raises(ProcessExitedAlready):
        process.signalProcess("TERM")
    process.closeStdin()
    await until(lambda: protocol.ended.called)
    protocol.ended.addErrback(lambda failure: None)
    assert protocol.events[-1] == "ended ProcessStatusLost"


@asynchronous
async def test_group_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that may not be signalled is there."""
    protocol, process = start("cat")

    def forbidden(group: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", forbidden)
    assert process.signal_group(signal.SIGTERM)
    process.closeStdin()
    await end_of(protocol)


@asynchronous
async def test_closing_everything() -> None:
    """`loseConnection` closes all three pipes; an unknown pipe is closed already, and cannot be written."""
    protocol, process = start("trap '' PIPE; cat; echo x; echo y >&2; exit 4")
    process.closeStdout()
    process.closeStderr()
    process.loseConnection()
    process.closeChildFD(7)
    with pytest.raises(KeyError):
        process.writeToChild(1, b"x")
    process.write(b"dropped")
    reason = await end_of(protocol)
    assert reason.exitCode is not None
    assert protocol.output == {1: b"", 2: b""}
    for address in (process.getHost, process.getPeer):
        with pytest.raises(NotImplementedError):
            address()


@asynchronous
async def test_pause_and_resume() -> None:
    """A paused output is read after it is resumed, to the last byte behind the hang-up."""
    protocol, process = start("head -c 60000 /dev/zero; exit 1")
    process._outputs[1].pause()
    await until(lambda: process.pid is None)
    assert protocol.output[1] == b""
    assert process.buffered_output(1) == 60000
    assert not process.is_output_exhausted(1)
    process.resume_output(1)
    process.closeStdin()
    await end_of(protocol)
    assert len(protocol.output[1]) == 60000


def test_a_read_fills_records() -> None:
    """The frame of a whole read fills four records of TLS."""
    payload = encode_data(1, Stream.STDOUT, 0, bytes(READ_BYTES))
    assert Int32StringReceiver.prefixLength + len(payload) == 4 * RECORD_BYTES


@asynchronous
async def test_protocol_that_fails() -> None:
    """An exception of the protocol's is logged and stops nothing."""

    class Clumsy(Recorder):
        def connectionMade(self) -> None:
            raise RuntimeError("clumsy made")

        def childConnectionLost(self, childFD: int) -> None:
            raise RuntimeError("clumsy lost")

        def processExited(self, reason: Failure) -> None:
            raise RuntimeError("clumsy exited")

    logged: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            logged.append(str(event["log_failure"].value))

    globalLogPublisher.addObserver(observe)
    try:
        protocol = Clumsy()
        process = spawn_process(reactor, protocol, shell("exit 0"))
        process.closeStdin()
        await end_of(protocol)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert sorted(logged) == ["clumsy exited", *["clumsy lost"] * 3, "clumsy made"]


class FailingReactor:
    """The reactor, except that it can watch only so many readers."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def addReader(self, reader: IReadDescriptor) -> None:
        """Watch, or fail as epoll does at its limit."""
        if not self.allowed:
            raise OSError(28, "No space left on device")
        self.allowed -= 1
        reactor.addReader(reader)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@pytest.mark.parametrize("allowed", [0, 1, 2])
@asynchronous
async def test_reactor_that_is_full(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """A process that cannot be watched is killed at once, and nothing stays open."""
    before = open_descriptors()
    killed: list[int] = []
    real = os.killpg

    def kill(group: int, number: int) -> None:
        killed.append(group)
        real(group, number)

    monkeypatch.setattr(os, "killpg", kill)
    protocol = Recorder()
    with pytest.raises(OSError, match="No space left"):
        spawn_process(cast("IJobReactor", FailingReactor(allowed)), protocol, shell("sleep 60"))
    await deferLater(reactor, 0)  # the turn in which descriptors are closed
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(killed[0], 0)
    assert protocol.events == []
    protocol.ended.addErrback(lambda failure: None)
    protocol.ended.cancel()


@asynchronous
async def test_pidfd_that_cannot_be_watched() -> None:
    """Where the reactor has no room for the pidfd, SIGCHLD tells of the exit."""
    protocol = Recorder()
    process = spawn_process(cast("IJobReactor", FailingReactor(3)), protocol, shell("exit 6"))
    process.closeStdin()
    assert (await end_of(protocol)).exitCode == 6


def spawn_exit() -> int:
    """Start a process that exits by itself."""
    return os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], {})


def test_exit_while_being_registered() -> None:
    """When Twisted itself waits for a process that exits while it is registered, its status is used."""
    recorder = ExitRecorder()
    watch = exits.SigchldWatch(1, recorder)
    watch.processEnded(5 << 8)
    assert recorder.reports == [exits.ExitReport(5 << 8)]


def test_exit_before_the_watch() -> None:
    """A process that has exited before it is watched is noticed at once."""
    recorder = ExitRecorder()
    pid = spawn_exit()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    exits.SigchldWatch(pid, recorder).start()
    assert recorder.reports[0].status == 5 << 8


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfd")
@asynchronous
async def test_pidfd_watch() -> None:
    """A look too early finds nothing, and the reactor may take the watch away."""
    before = open_descriptors()
    recorder = ExitRecorder()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    watch = exits.PidfdWatch(reactor, pid, recorder)
    assert verifyObject(IReadDescriptor, watch)
    assert watch.logPrefix() == "PidfdWatch"
    watch.doRead()
    assert not recorder.reports
    for _ in range(2):
        lose(watch, RuntimeError("what was called has failed"))
    assert watch.fileno() == -1
    await deferLater(reactor, 0)  # the turn in which descriptors are closed
    assert open_descriptors() == before
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def pipe_pair(side: Callable[[int], Any], ours: int) -> tuple[Any, int]:
    """Make one of our pipes; the other end is returned beside it."""
    ends = os.pipe()
    return side(ends[ours]), ends[1 - ours]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfd")
@asynchronous
async def test_one_event_of_a_process_that_is_gone() -> None:
    """The event of one output finds the ends of the other output and of the process, if they are there."""
    protocol, process = start("exit 3")
    assert process.pid is not None
    process.closeStdin()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # the reactor does not run meanwhile
    lose(process._outputs[1], ConnectionDone())
    assert protocol.events[1:] == ["lost 0", "lost 1", "lost 2", "exited ProcessTerminated", "ended ProcessTerminated"]
    await end_of(protocol)


@asynchronous
async def test_an_end_of_one_output_alone() -> None:
    """The end of one output ends neither the other nor the process."""
    protocol, process = start("exec >&-; read line; echo late >&2; exit 3")
    await protocol.when(lambda: "lost 1" in protocol.events)
    assert protocol.events == ["made", "lost 1"]
    process.closeStdin()
    assert protocol.events == ["made", "lost 1", "lost 0"]
    await end_of(protocol)
    assert protocol.output[2] == b"late\n"


@asynchronous
async def test_an_output_without_room_stays_unread() -> None:
    """The end of one output reads nothing of the other for which there is no room."""
    protocol, process = start("echo more >&2; exec >&-; read line")
    protocol.room = 0
    await protocol.when(lambda: "lost 1" in protocol.events)
    assert protocol.output[2] == b""
    protocol.room = READ_BYTES
    process.resume_output(2)
    process.closeStdin()
    await end_of(protocol)
    assert protocol.output[2] == b"more\n"


def test_output_pipe_without_data() -> None:
    """A read that finds nothing after all is no end; one that finds the end closes."""
    recorder = PipeRecorder(10)
    pipe, other = pipe_pair(lambda fd: OutputPipe(reactor, fd, 1, recorder, recorder), 0)
    assert verifyObject(IReadDescriptor, pipe)
    assert pipe.logPrefix() == "OutputPipe"
    pipe.doRead()
    assert not pipe.is_exhausted()
    os.write(other, b"0123456789abc")
    os.close(other)
    assert not pipe.is_exhausted()
    pipe.doRead()
    pipe.doRead()
    assert pipe.is_exhausted()
    pipe.doRead()
    assert recorder.received == [b"0123456789", b"abc"]
    assert recorder.closed == [1]
    assert pipe.is_closed


def test_input_pipe_that_breaks() -> None:
    """A reader that goes away is noticed by a look and by a write; what was taken before counts."""
    recorder = PipeRecorder()

    def make(fd: int) -> InputPipe:
        return InputPipe(reactor, fd, 0, recorder, recorder)

    pipe, other = pipe_pair(make, 1)
    assert verifyObject(IReadWriteDescriptor, pipe)
    pipe.doRead()
    assert not recorder.closed
    os.close(other)
    pipe.doRead()
    assert recorder.closed == [0]

    pipe, other = pipe_pair(make, 1)
    pipe.write(bytes(1 << 20))
    pipe.doWrite()
    [first] = recorder.taken
    assert 0 < first < 1 << 20
    os.close(other)
    pipe.doWrite()
    assert (recorder.taken, recorder.closed) == ([first], [0, 0])
    pipe.write(b"dropped")
    pipe.doWrite()
    assert recorder.taken == [first]


def test_hang_up_with_data() -> None:
    """A hang-up that the reactor reports without data is no end while there is data."""
    recorder = PipeRecorder(3)
    pipe, other = pipe_pair(lambda fd: OutputPipe(reactor, fd, 1, recorder), 0)
    pipe.resume()
    os.write(other, b"abcd")
    os.close(other)
    lose(pipe, ConnectionDone())
    assert (recorder.received, pipe.is_closed) == ([b"abc"], False)
    assert pipe in reactor.getReaders()
    lose(pipe, ConnectionDone())
    lose(pipe, ConnectionDone())
    assert (recorder.received, pipe.is_closed) == ([b"abc", b"d"], True)


def test_hang_up_without_room() -> None:
    """An end needs no room; data does."""
    recorder = PipeRecorder(1)
    pipe, other = pipe_pair(lambda fd: OutputPipe(reactor, fd, 1, recorder), 0)
    os.write(other, b"ab")
    pipe.doRead()
    recorder.room = 0
    os.close(other)
    lose(pipe, ConnectionDone())
    assert not pipe.is_closed
    recorder.room = 1
    pipe.doRead()
    recorder.room = 0
    lose(pipe, ConnectionDone())
    assert (recorder.received, pipe.is_closed) == ([b"a", b"b"], True)


def test_write_that_fails_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails for another reason than a missing reader is the reactor's to log."""
    pipe, other = pipe_pair(lambda fd: InputPipe(reactor, fd, 0), 1)

    def fail(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    pipe.write(b"x")
    assert pipe in reactor.getWriters()
    with pytest.raises(OSError, match="No space left"):
        pipe.doWrite()
    pipe.close()
    os.close(other)


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="this system's pipes have one size")
@pytest.mark.parametrize("refused", [False, True])
def test_busy_output_is_widened(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    """The pipe of an output that fills a whole read is made wider, once, and stays as it is where that is refused."""
    pipe, other = pipe_pair(lambda fd: OutputPipe(reactor, fd, 1, PipeRecorder(1 << 30)), 0)
    before = fcntl.fcntl(other, fcntl.F_GETPIPE_SZ)
    os.write(other, bytes(READ_BYTES - 1))
    pipe.doRead()
    assert fcntl.fcntl(other, fcntl.F_GETPIPE_SZ) == before
    calls: list[int] = []
    real = fcntl.fcntl

    def call(fd: int, command: int, argument: int = 0) -> int:
        calls.append(command)
        if refused:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return real(fd, command, argument)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "fcntl", call)
        for _ in range(2):
            os.write(other, bytes(READ_BYTES))
            pipe.doRead()
    assert calls == [fcntl.F_SETPIPE_SZ]
    assert fcntl.fcntl(other, fcntl.F_GETPIPE_SZ) == (before if refused else WIDE_PIPE_BYTES)
    pipe.close()
    os.close(other)


@pytest.fixture
def no_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without open terminals, whatever other tests have left."""
    terminals: WeakSet[OutputPipe] = WeakSet()
    monkeypatch.setattr(pipes, "open_terminals", terminals)
    monkeypatch.setattr(terminal, "open_terminals", terminals)


class Stopping(PipeRecorder):
    """Stops a pipe after some reads.

    :param reads: after how many.
    :param stop: what to do then.
    """

    def __init__(self, reads: int, stop: Callable[[OutputPipe], object]) -> None:
        super().__init__()
        self.reads = reads
        self.stop = stop
        self.pipe: OutputPipe | None = None

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Record it, and stop."""
        super().childDataReceived(childFD, data)
        if len(self.received) == self.reads:
            assert self.pipe is not None
            self.stop(self.pipe)


@pytest.mark.parametrize(
    ("reads", "stop", "seen"),
    [
        (99, OutputPipe.pause, [READ_BYTES] * READS_AT_ONCE),
        (2, OutputPipe.pause, [READ_BYTES] * 2),
        (2, OutputPipe.close, [READ_BYTES] * 2),
        (2, lambda pipe: setattr(pipe._protocol, "room", 100), [READ_BYTES] * 2 + [100]),
        (2, lambda pipe: setattr(pipe._protocol, "room", 0), [READ_BYTES] * 2),
    ],
)
@pytest.mark.usefixtures("no_terminals")
def test_reads_of_one_event(reads: int, stop: Callable[[OutputPipe], object], seen: list[int]) -> None:
    """A full pipe is read several times in one event, unless the protocol pauses or closes it, or has no more room."""
    ours, other = os.pipe()
    fcntl.fcntl(other, fcntl.F_SETPIPE_SZ, 2 * WIDE_PIPE_BYTES)
    os.write(other, bytes((READS_AT_ONCE + 1) * READ_BYTES))
    recorder = Stopping(reads, stop)
    recorder.pipe = pipe = OutputPipe(reactor, ours, 1, recorder)
    pipe.resume()
    pipe.doRead()
    assert list(map(len, recorder.received)) == seen
    pipe.close()
    os.close(other)


@pytest.mark.usefixtures("no_terminals")
def test_one_read_beside_a_terminal() -> None:
    """While a terminal is open an event is one read; afterwards it is several again."""
    ours, other = os.pipe()
    fcntl.fcntl(other, fcntl.F_SETPIPE_SZ, 2 * WIDE_PIPE_BYTES)
    os.write(other, bytes(3 * READ_BYTES))
    recorder = PipeRecorder()
    pipe = OutputPipe(reactor, ours, 1, recorder)
    pipe.resume()
    master, slave = master_pair()
    output = terminal.TerminalOutput(reactor, master, 1, PipeRecorder())
    pipe.doRead()
    assert len(recorder.received) == 1
    output.close()
    pipe.doRead()
    assert len(recorder.received) == 3
    pipe.close()
    os.close(other)
    os.close(slave)


def test_groups_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group in the foreground counts only in the leader's session; one out of reach hides no other."""
    sent: list[int] = []
    problems: dict[int, type[OSError]] = {}

    def kill(group: int, number: int) -> None:
        if group in problems:
            raise problems[group]
        sent.append(group)

    def session(group: int) -> int:
        if group in problems:
            raise problems[group]
        return {20: 10, 30: 99}[group]

    monkeypatch.setattr(os, "killpg", kill)
    monkeypatch.setattr(os, "getsid", session)
    ours, foreign = ProcessGroups(10), ProcessGroups(10)
    foreign.signal(1, 30)
    assert foreign.reach(1, 30)
    assert sent == [10, 10]
    ours.signal(1, 20)
    assert sent[2:] == [20, 10]
    problems[20] = PermissionError
    ours.signal(1, 20)
    assert sent[4:] == [10]
    assert ours.reach(1, 20)
    problems[10] = ProcessLookupError
    with pytest.raises(PermissionError):
        ours.signal(1, 20)
    problems[20] = ProcessLookupError
    with pytest.raises(ProcessLookupError):
        ours.signal(1, 20)
    assert not ours.reach(1, 20)
    problems.clear()
    assert not ours.reach(1, 20)
    assert sent[5:] == [10]


@pytest.mark.parametrize("ours", [0, 1])
def test_other_end_of_a_pipe(ours: int) -> None:
    """Of either end of a pipe the system says whether there is another, even while it holds data."""
    ends = os.pipe()
    assert not peer_is_gone(ends[ours])
    os.write(ends[1], b"x")
    assert not peer_is_gone(ends[ours])
    os.close(ends[1 - ours])
    assert peer_is_gone(ends[ours])
    os.close(ends[ours])
