"""The run of a command on many hosts, over real clients and servers in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_rsh import Connection, Exited, Job, NoServer, OutcomeUnknown, Signalled, TimedOut
from twisted_rsh.core.endings import RefusalReason, Refused
from twisted_rsh.fleet.run import (
    _FOLLOWERS,
    DEADLINE_SECONDS,
    END_SECONDS,
    LOGIN_SECONDS,
    MAX_LOGINS,
    Fleet,
    HostRun,
    HostState,
    IFleetWatcher,
    Target,
)
from twisted_rsh.testing import Answer, MemoryPair, ScriptedUser

S = HostState


@implementer(IFleetWatcher)
class Watcher:
    """Records what happens, and reads all output.

    :ivar running: the most hosts that were worked on at once.
    """

    def __init__(self) -> None:
        self.output: dict[str, bytes] = {}
        self.states: dict[str, list[HostState]] = {}
        self.running = 0

    def job_started(self, host: HostRun, job: Job) -> None:
        """See IFleetWatcher."""

        def keep(data: bytes) -> None:
            self.output[host.name] = self.output.get(host.name, b"") + data
            job.stdout.consumed(len(data))

        job.stdout.forward(keep)
        job.stderr.forward(lambda data: job.stderr.consumed(len(data)))

    def state_changed(self, host: HostRun) -> None:
        """See IFleetWatcher."""
        self.states.setdefault(host.name, []).append(host.state)
        at_work = sum(states[-1] in {S.CONNECTING, S.RUNNING} for states in self.states.values())
        self.running = max(self.running, at_work)


class Site:
    """A server in memory, and hosts that are all that server.

    :ivar user: answers the command of each host, which is the host's name.
    """

    def __init__(self, answers: dict[str, Answer | None]) -> None:
        self.clock = Clock()
        self.user = ScriptedUser(answers)
        self.pair = MemoryPair(self.clock, self.user)
        self.watcher = Watcher()
        self.outcome: list[object] = []

    def target(self, name: str, timeout: float | None = None) -> Target:
        """Return a host; ``dead`` in its name is one that cannot be reached, ``slow`` one that never answers."""
        connect: Callable[[], Deferred[Connection]] = self.pair.connect
        if "dead" in name:
            connect = lambda: fail(NoServer("nothing answers"))  # noqa: E731
        if "slow" in name:
            connect = Deferred
        return Target(name, connect, lambda connection: connection.start(name, timeout=timeout), timeout)

    def fleet(self, names: str, **options: Any) -> Fleet:
        """Return a fleet of hosts."""
        timeout = options.pop("timeout", None)
        targets = [self.target(name, timeout) for name in names.split()]
        return Fleet(self.clock, targets, self.watcher, **({"parallel": 64} | options))

    def begin(self, fleet: Fleet) -> None:
        """Run a fleet until nothing more happens by itself; :attr:`outcome` has its outcome, if it is over."""
        Deferred.fromCoroutine(fleet.run()).addBoth(self.outcome.append)
        self.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(200):
            self.clock.advance(0)
        self.clock.advance(seconds)
        for _ in range(200):
            self.clock.advance(0)

    def close(self) -> None:
        """Leave nothing behind."""
        self.pair.run_until_complete(self.pair.close())

    def job(self, name: str) -> Any:
        """Return the job of a host."""
        return next(job for job in self.user.jobs if job.command == name)


OK = Answer(b"out\n", reads_input=False)


def states(fleet: Fleet) -> dict[str, HostState]:
    """Return the state of each host."""
    return {host.name: host.state for host in fleet.hosts}


def test_each_ending_is_its_own_state() -> None:
    """Exit, signal, time-out, refusal, a dead host and a success are told apart, each with its ending or its reason."""
    site = Site(
        {
            "good": OK,
            "bad": Answer(ending=Exited(3), reads_input=False),
            "shot": Answer(ending=Signalled("SEGV"), reads_input=False),
            "late": Answer(b"part", ending=TimedOut(2.0), reads_input=False),
            "refused": Answer(ending=Refused(RefusalReason.NOT_FOUND, "no x")),
        }
    )
    fleet = site.fleet("good bad shot late refused dead")
    site.pair.run_until_complete(fleet.run())
    assert states(fleet) == {
        "good": S.OK,
        "bad": S.FAILED,
        "shot": S.FAILED,
        "late": S.TIMED_OUT,
        "refused": S.FAILED,
        "dead": S.UNREACHABLE,
    }
    good, bad, _, _, refused, dead = fleet.hosts
    assert (good.ending, bad.ending, good.encoding) == (Exited(0), Exited(3), "utf-8")
    assert refused.ending == Refused(RefusalReason.NOT_FOUND, "no x")
    assert (dead.ending, dead.error) == (None, "nothing answers")
    assert site.watcher.output == {"good": b"out\n", "late": b"part"}
    assert site.watcher.states["good"] == [S.CONNECTING, S.RUNNING, S.OK]
    assert +fleet.counts == {S.OK: 1, S.FAILED: 3, S.TIMED_OUT: 1, S.UNREACHABLE: 1}
    assert verifyObject(IFleetWatcher, site.watcher)
    site.close()


def test_table_of_states() -> None:
    """Every state but the first can be reached, and those that nothing follows are the ends."""
    assert set.union(*_FOLLOWERS.values()) == set(S) - {S.WAITING}
    assert set(S) - _FOLLOWERS.keys() == {S.OK, S.FAILED, S.UNREACHABLE, S.TIMED_OUT, S.NOT_RUN}


@pytest.mark.parametrize("parallel", [1, 3])
def test_so_many_at_once(parallel: int) -> None:
    """No more hosts than asked for are worked on at once, and each of them has its turn."""
    names = [f"h{number}" for number in range(10)]
    site = Site(dict.fromkeys(names, OK))
    fleet = site.fleet(" ".join(names), parallel=parallel)
    site.pair.run_until_complete(fleet.run())
    assert site.watcher.running == parallel
    assert set(states(fleet).values()) == {S.OK}
    assert site.user.commands == names
    site.close()


def test_logins_at_once() -> None:
    """No more than the bound are dialled at once; those that wait for too long no longer count."""
    site = Site({})
    fleet = site.fleet(" ".join(f"slow{number}" for number in range(2 * MAX_LOGINS + 1)), parallel=200)
    site.begin(fleet)
    assert fleet.counts[S.CONNECTING] == MAX_LOGINS
    site.advance(LOGIN_SECONDS)
    assert fleet.counts[S.CONNECTING] == 2 * MAX_LOGINS
    fleet.stop("enough")
    assert site.outcome == [None]
    assert fleet.counts[S.NOT_RUN] == 2 * MAX_LOGINS + 1
    assert not site.clock.getDelayedCalls()


def test_batches() -> None:
    """The next batch begins when the last host of the one before has ended, not earlier."""
    site = Site({"a": OK, "b": None, "c": OK, "d": OK, "e": OK})
    fleet = site.fleet("a b c d e", batch=2)
    site.begin(fleet)
    assert states(fleet) == {"a": S.OK, "b": S.RUNNING, "c": S.WAITING, "d": S.WAITING, "e": S.WAITING}
    site.job("b").end()
    site.advance(2)
    assert set(states(fleet).values()) == {S.OK}
    assert site.watcher.running == 2
    assert site.outcome == [None]
    site.close()


@pytest.mark.parametrize(("may_fail", "failed"), [(0, 1), (2, 3), (None, 6)])
def test_failures_that_stop_the_run(may_fail: int | None, failed: int) -> None:
    """As many hosts as said may fail; after one more none is begun.  Dead hosts count too."""
    names = "a dead1 b dead2 c dead3"
    site = Site(dict.fromkeys("abc", Answer(ending=Exited(1), reads_input=False)))
    fleet = site.fleet(names, parallel=1, may_fail=may_fail)
    site.pair.run_until_complete(fleet.run())
    found = list(states(fleet).values())
    assert S.NOT_RUN not in found[:failed]
    assert set(found[failed:]) <= {S.NOT_RUN}
    assert {host.error for host in fleet.hosts[failed:]} <= {f"{failed} of 6 hosts had failed"}
    site.close()


def test_hosts_that_run_go_on() -> None:
    """After too many failures the commands that run come to their own end."""
    site = Site({"long": None, "bad": Answer(ending=Exited(1), reads_input=False)})
    fleet = site.fleet("long bad later", parallel=2, may_fail=0)
    site.begin(fleet)
    assert states(fleet) == {"long": S.RUNNING, "bad": S.FAILED, "later": S.NOT_RUN}
    site.job("long").end()
    site.advance(2)
    assert states(fleet) == {"long": S.OK, "bad": S.FAILED, "later": S.NOT_RUN}
    assert not fleet.hosts[0].was_ended
    site.close()


def test_first_failure_ends_the_others() -> None:
    """The first failure sends TERM to the commands that run, if asked for, and ends those that survive it later."""
    site = Site({"long": None, "stubborn": None, "bad": None})
    fleet = site.fleet("long stubborn slow bad later", parallel=4, may_fail=0, ends_others=True)
    site.begin(fleet)
    stubborn = site.job("stubborn")
    stubborn.send_signal = stubborn.signals.append
    site.job("bad").end(Exited(1))
    site.advance(2)
    assert states(fleet) == {
        "long": S.FAILED,
        "stubborn": S.RUNNING,
        "slow": S.NOT_RUN,
        "bad": S.FAILED,
        "later": S.NOT_RUN,
    }
    assert stubborn.signals == ["TERM"]
    assert [host.was_ended for host in fleet.hosts] == [True, True, False, False, False]
    site.advance(END_SECONDS)
    site.advance(2)
    assert site.outcome == [None]
    assert fleet.hosts[1].ending == Signalled("TERM")
    site.close()


def test_signal_to_all() -> None:
    """A signal reaches each command that runs; one that means no end leaves the endings the commands' own."""
    site = Site({"a": None, "b": None})
    fleet = site.fleet("a b")
    site.begin(fleet)
    site.job("a").send_signal = site.job("a").signals.append
    fleet.send_signal("USR1", is_end=False)
    site.advance(2)
    assert [job.signals for job in site.user.jobs] == [["USR1"], ["USR1"]]
    assert states(fleet) == {"a": S.RUNNING, "b": S.FAILED}
    assert not any(host.was_ended for host in fleet.hosts)
    site.job("a").end()
    site.advance(2)
    assert site.outcome == [None]
    site.close()


def test_leaving_awaits_no_ending() -> None:
    """Who leaves has all outcomes at once: unknown where a command ran, and not run where none did."""
    site = Site({"a": None, "b": OK})
    fleet = site.fleet("a slow b", parallel=2)
    site.begin(fleet)
    error = RuntimeError("left")
    fleet.leave("enough", error)
    site.advance(2)
    assert states(fleet) == {"a": S.UNREACHABLE, "slow": S.NOT_RUN, "b": S.NOT_RUN}
    assert isinstance(fleet.hosts[0].ending, OutcomeUnknown)
    assert [getattr(outcome, "value", None) for outcome in site.outcome] == [error]
    site.close()


def test_deadline_of_a_silent_host() -> None:
    """A host whose server does not tell the end of a command after its time-out does not hold up the run."""
    site = Site({"a": None})
    fleet = site.fleet("a", timeout=5)
    site.begin(fleet)
    site.job("a").terminate = lambda: None
    for _ in range(int(5 + DEADLINE_SECONDS) - 1):
        site.advance(1)
    assert states(fleet) == {"a": S.RUNNING}
    for _ in range(3):
        site.advance(1)
    assert states(fleet) == {"a": S.TIMED_OUT}
    assert fleet.hosts[0].error == "no word within 15 s after its time was up"
    site.job("a").end()
    site.close()


def feed(pieces: list[bytes | Exception]) -> Callable[[], AsyncIterator[bytes]]:
    """Return what makes an input of pieces; an exception among them is raised."""

    async def read() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return read


def test_input_for_each_host() -> None:
    """Each command reads the whole input, whenever it is started; without one it reads its end."""
    site = Site({"a": Answer(), "b": Answer()})
    fleet = site.fleet("a b", parallel=1, read_input=feed([b"one ", b"two"]))
    site.pair.run_until_complete(fleet.run())
    assert [job.input for job in site.user.jobs] == [b"one two"] * 2
    assert set(states(fleet).values()) == {S.OK}
    site.close()
    site = Site({"a": Answer()})
    fleet = site.fleet("a")
    site.pair.run_until_complete(fleet.run())
    assert site.job("a").input_ended
    site.close()


def test_input_that_fails() -> None:
    """An input that breaks off ends the run with its error: no command goes on with half of it."""
    site = Site({"a": None, "b": None})
    fleet = site.fleet("a b c", parallel=2, read_input=feed([b"one", OSError("broken")]))
    run: Coroutine[Any, Any, None] = fleet.run()
    with pytest.raises(OSError, match="broken"):
        site.pair.run_until_complete(run)
    assert {host.state for host in fleet.hosts} == {S.UNREACHABLE, S.NOT_RUN}
    site.close()


def test_input_that_nothing_reads() -> None:
    """A command that ends without reading its input is none the worse for it."""
    site = Site({"a": OK})
    fleet = site.fleet("a", read_input=feed([bytes(1024 * 1024)] * 3))
    site.pair.run_until_complete(fleet.run())
    assert states(fleet) == {"a": S.OK}
    site.close()


def test_nothing_is_left() -> None:
    """After a run no call waits on the reactor, whatever happened."""
    site = Site({"a": OK, "b": Answer(ending=Exited(1), reads_input=False), "c": None})
    fleet = site.fleet("a dead c b", may_fail=0, ends_others=True, timeout=60)
    site.begin(fleet)
    site.advance(2)
    assert site.outcome == [None]
    site.close()
    assert not site.clock.getDelayedCalls()
