"""What a server tells its observers: each event once, in order, and an observer that breaks harms nothing."""

from __future__ import annotations

import os

import pytest
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import TimeoutError as OutOfTime
from twisted.internet.defer import fail
from twisted.logger import LogEvent
from zope.interface import implementer

from tests.link.wire import client_key, failures, frame
from tests.server.resuming import Resumer
from tests.server.rig import NO_RESUME, Rig, exits, shell_of
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh.core.endings import Exited, RefusalReason, Refused, Signalled
from twisted_rsh.core.messages import Data, Exit, Goodbye, Open
from twisted_rsh.core.requests import JobRequest, Keep
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution.account import Account
from twisted_rsh.interfaces import IJobOwner, IServerObserver, JobRefused
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.server.sessions import Sessions
from twisted_rsh.server_events import (
    JobBegan,
    JobFinished,
    LogsRotated,
    Refusal,
    RefusalKind,
    ServerEvent,
    ServerStarted,
    ServerStopped,
    SessionBegan,
    SessionDetached,
    SessionEnded,
    SessionResumed,
)
from twisted_rsh.testing import ScriptedJob, ScriptedUser
from twisted_rsh.trust.cred import AuthorizedKeysChecker
from twisted_rsh.trust.home import ConfigFolders

OPEN = Open(channel=1, request=JobRequest(command="true"))


@implementer(IServerObserver)
class Recorder:
    """Remembers the events.

    :ivar events: the events.
    :ivar error: raised for each job that begins, or ``None``.
    """

    def __init__(self) -> None:
        self.events: list[ServerEvent] = []
        self.error: Exception | None = None

    def happened(self, event: ServerEvent) -> None:
        """Remember it."""
        self.events.append(event)
        if self.error is not None and isinstance(event, JobBegan):
            raise self.error

    def names(self) -> list[str]:
        """Return the kinds of the events."""
        return [type(event).__name__ for event in self.events]


@pytest.fixture
def recorder() -> Recorder:
    """An observer."""
    return Recorder()


@pytest.fixture
def rig(recorder: Recorder) -> Rig:
    """A server with that observer."""
    return Rig(observers=[recorder])


def test_a_session_and_a_job(rig: Rig, recorder: Recorder) -> None:
    """A session begins, detaches, resumes and ends; its job begins and ends, with its bytes; all name the session."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Data(channel=1, stream=Stream.STDIN, offset=0, data=b"12345"))
    (job,) = rig.user.jobs
    job.owner.output_received(Stream.STDOUT, b"abc")
    job.owner.output_received(Stream.STDERR, b"x")
    resumer.lose()
    rig.clock.advance(5)
    resumer.resume()
    job.end(Exited(3))
    resumer.client.say(Goodbye(text=""))
    began, job_began, detached, resumed, job_ended, ended = recorder.events
    assert isinstance(began, SessionBegan)
    assert (began.session.id, began.session.user) == (resumer.session.hex(), "alice")
    assert (began.session.key, began.peer) == (client_key().fingerprint, "192.0.2.7:50000")
    assert isinstance(job_began, JobBegan)
    assert (job_began.channel, job_began.request) == (1, OPEN.request)
    assert isinstance(detached, SessionDetached)
    assert detached.jobs == 1
    assert isinstance(resumed, SessionResumed)
    assert resumed.away == 5
    assert isinstance(job_ended, JobFinished)
    assert (job_ended.end.ending, job_ended.pid) == (Exited(3), None)
    assert (job_ended.stdin, job_ended.stdout, job_ended.stderr, int(job_ended.seconds)) == (5, 3, 1, 5)
    assert isinstance(ended, SessionEnded)
    assert (ended.stdin, ended.stdout, ended.stderr) == (5, 3, 1)
    assert (int(ended.seconds), ended.was_detached, ended.reason) == (5, False, "the client left")
    assert all(event.session == began.session for event in (job_began, detached, resumed, job_ended, ended))


def test_a_resume_without_an_outage(rig: Rig, recorder: Recorder) -> None:
    """A session that goes on elsewhere while it has a link was never detached."""
    resumer = Resumer(rig)
    resumer.resume()
    assert recorder.names() == ["SessionBegan", "SessionResumed"]
    resumed = recorder.events[-1]
    assert isinstance(resumed, SessionResumed)
    assert resumed.away is None


@pytest.mark.parametrize("ending", [Exited(0), Signalled("HUP")], ids=str)
def test_a_client_that_leaves_a_kept_job(rig: Rig, recorder: Recorder, ending: Exited | Signalled) -> None:
    """The session detaches when its client leaves, and ends behind its last job."""
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep())), Goodbye(text=""))
    rig.user.jobs[0].end(ending)
    assert recorder.names() == ["SessionBegan", "JobBegan", "SessionDetached", "JobFinished", "SessionEnded"]
    ended = recorder.events[-1]
    assert isinstance(ended, SessionEnded)
    assert ended.was_detached


def test_a_session_that_ends_with_its_link(recorder: Recorder) -> None:
    """It does not detach; its job finishes behind it, once, however often it is told to end."""
    rig = Rig(NO_RESUME, observers=[recorder])
    client = rig.log_in()
    client.say(OPEN)
    client.wire.lose()
    rig.clock.advance(1)
    rig.user.jobs[0].end(Signalled("HUP"))
    rig.user.jobs[0].end(Signalled("HUP"))
    assert recorder.names() == ["SessionBegan", "JobBegan", "SessionEnded", "JobFinished"]


def test_a_shell_and_its_commands(rig: Rig, recorder: Recorder) -> None:
    """A persistent shell and each command in it are jobs that begin and finish."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="")))
    client.say(Open(channel=2, request=JobRequest(command="cd /", in_shell=1)))
    shell_of(rig).commands.pop().end()
    client.say(Open(channel=3, request=JobRequest(command="no", in_shell=7)))
    shell_of(rig).end()
    jobs = [event for event in recorder.events if isinstance(event, JobBegan | JobFinished)]
    assert [(type(event).__name__, event.channel) for event in jobs] == [
        ("JobBegan", 1),
        ("JobBegan", 2),
        ("JobFinished", 2),
        ("JobBegan", 3),
        ("JobFinished", 3),
        ("JobFinished", 1),
    ]
    refused = jobs[4]
    assert isinstance(refused, JobFinished)
    assert isinstance(refused.end.ending, Refused)


def kinds(recorder: Recorder) -> list[RefusalKind]:
    """Return the kinds of the refusals."""
    return [event.kind for event in recorder.events if isinstance(event, Refusal)]


def test_refused_logins(rig: Rig, recorder: Recorder) -> None:
    """Each way in which a login fails has its own reason for the operator."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, exporter=bytes(32))))
    client.send(frame(client.auth(rig.pin, which=5)))
    rig.checker.answer = lambda: fail(ValueError("a bug"))
    client.send(frame(client.auth(rig.pin)))
    assert kinds(recorder) == [RefusalKind.SIGNATURE, RefusalKind.KEY, RefusalKind.PORTAL]
    rig.checker.answer = None
    rig.realm.avatar = lambda: "nobody"
    other = rig.connect()
    other.send(frame(other.auth(rig.pin)))
    assert kinds(recorder)[-1] is RefusalKind.PORTAL
    last = recorder.events[-1]
    assert isinstance(last, Refusal)
    assert (last.peer, "no user" in last.detail) == ("192.0.2.7:50000", True)


def test_refused_connections(recorder: Recorder) -> None:
    """So has each connection that never logs in."""
    rig = Rig(observers=[recorder], max_unauthenticated=1, max_sessions=1)
    waiting = rig.connect()
    rig.protocol("192.0.2.1")
    assert rig.answer_at_once() is not None
    waiting.wire.lose()
    silent = rig.connect()
    rig.clock.advance(LOGIN_SECONDS + 1)
    silent.wire.lose()
    broken = rig.connect()
    broken.send(b"\xff" * 8)
    broken.wire.lose()
    resumer = Resumer(rig)
    late = rig.connect()
    late.send(frame(late.auth(rig.pin)))
    late.wire.lose()
    resumer.client.say(Goodbye(text=""))
    assert resumer.client.closed
    resumer.lose()
    resumer.ask(rig.connect())
    assert kinds(recorder) == [
        RefusalKind.BUSY,
        RefusalKind.NO_LOGIN,
        RefusalKind.DEADLINE,
        RefusalKind.PROTOCOL,
        RefusalKind.UNAVAILABLE,
        RefusalKind.RESUME,
    ]


def test_a_source_with_a_penalty(rig: Rig, recorder: Recorder) -> None:
    """A connection of a source that is refused for a while has that reason."""
    for _ in range(3):
        client = rig.connect("198.51.100.7")
        client.send(frame(client.auth(rig.pin, which=5)))
        client.wire.lose()
    assert rig.answer_at_once(IPv4Address("TCP", "198.51.100.7", 50000)) is not None
    assert kinds(recorder)[-1] is RefusalKind.PENALTY


def test_an_observer_that_breaks(recorder: Recorder, logged: list[LogEvent]) -> None:
    """Its error is logged, the other observers learn of the event, and the job runs."""
    recorder.error = RuntimeError("a bug")
    other = Recorder()
    rig = Rig(observers=[recorder, other])
    client = rig.log_in()
    client.say(OPEN)
    rig.user.jobs[0].end()
    client.exchange()
    assert [event["log_failure"].type for event in failures(logged)] == [RuntimeError]
    assert other.names() == recorder.names() == ["SessionBegan", "JobBegan", "JobFinished"]
    assert [end.ending for end in exits(client.heard())] == [Exited(0)]


def test_an_observer_that_refuses_a_job(rig: Rig, recorder: Recorder, logged: list[LogEvent]) -> None:
    """The job does not start, and its client learns the reason; the next one runs."""
    recorder.error = JobRefused(RefusalReason.RESOURCES, "not now")
    client = rig.log_in()
    client.say(OPEN)
    assert rig.user.jobs == []
    (end,) = exits(client.heard())
    assert isinstance(end, Exit)
    assert end.ending == Refused(RefusalReason.RESOURCES, "not now")
    recorder.error = None
    client.say(Open(channel=2, request=JobRequest(command="true")))
    assert len(rig.user.jobs) == 1
    assert failures(logged) == []
    assert recorder.names() == ["SessionBegan", "JobBegan", "JobFinished", "JobBegan"]


@implementer(IServerObserver)
class Guard:
    """Ends every session in which a job begins.

    :ivar sessions: the sessions of the server.
    """

    def __init__(self) -> None:
        self.sessions: Sessions | None = None

    def happened(self, event: ServerEvent) -> None:
        """End them."""
        if self.sessions is not None and isinstance(event, JobBegan):
            self.sessions.end_all("what the guard has seen", "you may not do that")


def test_an_observer_that_ends_the_session_of_a_job() -> None:
    """A job is not started if its session is over by then, as when an observer takes the key's right away."""
    guard, recorder = Guard(), Recorder()
    rig = Rig(observers=[guard, recorder])
    guard.sessions = rig.factory.sessions
    client = rig.log_in()
    client.say(OPEN)
    assert rig.user.jobs == []
    assert recorder.names() == ["SessionBegan", "SessionEnded", "JobBegan", "JobFinished"]
    assert client.heard() == [Goodbye(text="you may not do that")]
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    rig.clock.advance(LOGIN_SECONDS)
    assert len(stopped) == 1


def test_no_observers() -> None:
    """A server without observers has nothing that makes events."""
    rig = Rig()
    assert rig.factory.observers is None
    assert rig.factory.sessions.observers is None


class Stubborn(ScriptedJob):
    """A job that ends when the test says so, and not before."""

    def terminate(self) -> None:
        """Go on."""


class StubbornUser(ScriptedUser):
    """A user with such jobs."""

    def start_command(self, request: JobRequest, owner: IJobOwner) -> ScriptedJob:
        """Start one."""
        self.jobs.append(Stubborn(request, owner))
        return self.jobs[-1]


@asynchronous
async def test_a_service_whose_stop_is_not_waited_for(config: ConfigFolders) -> None:
    """All has ended when the last job has, and not when somebody has lost patience; it is told once."""
    recorder, user = Recorder(), StubbornUser()
    account = Account.current(os.environ)
    portal = Portal(SingleUserRealm(user), [AuthorizedKeysChecker(config, account.name)])
    serving = Serving(config, portal, observers=[recorder])
    await serving.start()
    connection = await serving.connect()
    await connection.start("by hand").when_started()
    impatient = serving.service.stopService().addTimeout(0.01, reactor)
    with pytest.raises(OutOfTime):
        await impatient
    assert "ServerStopped" not in recorder.names()
    stops = [serving.service.stopService() for _ in range(2)]
    user.jobs[0].end()
    for stop in stops:
        await stop
    await serving.stop()
    assert recorder.names().count("ServerStopped") == 1


@asynchronous
async def test_a_service(config: ConfigFolders) -> None:
    """The service tells when it listens, with its bounds, when logs are rotated, and when all has ended."""
    recorder = Recorder()
    serving = Serving(config, observers=[recorder])
    await serving.start()
    (started,) = recorder.events
    assert isinstance(started, ServerStarted)
    assert (started.instance, started.fingerprint) == (serving.service.instance_id, serving.service.fingerprint)
    assert started.addresses == (f"127.0.0.1:{serving.service.tcp_port}",)
    connection = await serving.connect()
    job = connection.start("exec sleep 1000")
    await job.when_started()
    assert next(bound.used for bound in started.bounds() if bound.option == "--max-sessions") == 1
    serving.service.logs_rotated()
    await serving.service.stopService()
    await serving.stop()
    named = [name for name in recorder.names() if name not in ("SessionDetached", "SessionResumed")]
    assert named == [
        *("ServerStarted", "SessionBegan", "JobBegan", "LogsRotated", "SessionEnded", "JobFinished", "ServerStopped")
    ]
    assert isinstance(recorder.events[-1], ServerStopped)
    assert any(isinstance(event, LogsRotated) for event in recorder.events)
