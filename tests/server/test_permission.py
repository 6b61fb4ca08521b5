"""What a key may do at a server: from its line in ``authorized_keys`` to its jobs, and when the line changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent, formatEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.link.wire import ALICE, RawClient, client_key, frame, unframe
from tests.server.resuming import FAIL, Resumer, is_alive
from tests.server.rig import Rig, ScriptedUser, exits, shell_of
from tests.trust.test_policy import original
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder
from twisted_rsh.core.endings import Exited, LimitReached, RefusalReason, Refused, Signalled
from twisted_rsh.core.messages import AuthFail, AuthOk, Data, Goodbye, Open, Unavailable
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Phase, Role, Stream
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import ILimitedUser, IShellUser
from twisted_rsh.server.invitations import Invitations
from twisted_rsh.server.key_watch import MAX_TOLD_LINES, KeyLineCheck
from twisted_rsh.server.permission import OBSERVER_SUBSYSTEM, Observer, runner_for
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.server.session import KEY_NARROWED
from twisted_rsh.server.sessions import KEY_REVOKED
from twisted_rsh.trust.cred import AuthorizedKeysChecker, IVerifiedKey
from twisted_rsh.trust.files import ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.policy import KeyPolicy


@dataclass
class Keyed:
    """A server in memory that reads the keys of a folder."""

    rig: Rig
    config: ConfigFolders

    def allow(self, *options: str) -> None:
        """Let the client's key in, with a line for each of these options."""
        lines = [f"{text} {client_key().public_line}\n" for text in options]
        path = Path(self.config.authorized_keys_path)
        path.write_text("".join(lines))
        path.chmod(0o600)

    def connect(self, host: str) -> RawClient:
        """Connect a client from an address."""
        return self.rig.connect(host, address=IPv4Address("TCP", host, 50000))

    def answer(self, host: str = "127.0.0.1") -> type:
        """Log in on a new connection; return the kind of the answer."""
        client = self.connect(host)
        client.send(frame(client.auth(self.rig.pin)))
        *_, payload = unframe(client.received)
        return type(Decoder(Role.CLIENT, Phase.LOGIN).decode(payload)[1])

    def recheck(self) -> int:
        """Have the keys of all sessions checked; return how many sessions ended."""
        counts: list[int] = []
        self.rig.factory.sessions.recheck_keys(self.rig.factory.portal).addCallback(counts.append)
        self.rig.clock.advance(0)
        return counts[0]


@pytest.fixture
def keyed(rig: Rig, config: ConfigFolders) -> Keyed:
    """The server."""
    ensure_private_folder(config.config)
    rig.factory.portal = Portal(SingleUserRealm(rig.user), [AuthorizedKeysChecker(config, ALICE)])
    return Keyed(rig, config)


@pytest.fixture
def config(tmp_path: Path) -> ConfigFolders:
    """The folders of its account."""
    return ConfigFolders.at(str(tmp_path / "rsh"))


def ask(client: RawClient, channel: int, **request: Any) -> list[Message]:
    """Ask for a job; return what the client hears."""
    client.heard()
    client.say(Open(channel=channel, request=JobRequest(**request)))
    return heard(client)


def heard(client: RawClient) -> list[Message]:
    """Return what the server has said by now."""
    client.exchange()
    return client.heard()


def refusal(messages: list[Message]) -> RefusalReason | None:
    """Return why a job was refused; ``None`` if it was not."""
    reasons = [end.ending.reason for end in exits(messages) if isinstance(end.ending, Refused)]
    return reasons[0] if reasons else None


def test_forced_command(keyed: Keyed) -> None:
    """A key with a forced command runs that and nothing else, with no shell, terminal or variable of the client's."""
    keyed.allow('restrict,command="rrsync /srv"')
    client = keyed.rig.log_in()
    ask(client, 1, command="rsync --server", cwd="/etc", environment=(("LD_PRELOAD", "x"),))
    ask(client, 2, argv=("cat", "/etc/passwd"))
    ask(client, 3, subsystem="sftp")
    assert refusal(ask(client, 4, shell="")) is RefusalReason.NOT_PERMITTED
    assert refusal(ask(client, 5, command="x", terminal=Terminal())) is RefusalReason.NO_TERMINAL
    assert refusal(ask(client, 6, command="x", in_shell=1)) is RefusalReason.SHELL_GONE
    requests = [job.request for job in keyed.rig.user.jobs]
    assert [dict(request.environment) for request in requests] == [
        original("rsync --server"),
        original("cat /etc/passwd"),
        original("sftp"),
    ]
    assert {(request.command, request.cwd) for request in requests} == {("rrsync /srv", None)}


def test_a_shell_of_a_key(keyed: Keyed) -> None:
    """A persistent shell of a key has its variables, and its commands the limit of output."""
    keyed.allow('no-pty,environment="A=1",max-output="3"')
    client = keyed.rig.log_in()
    assert refusal(ask(client, 1, shell="", terminal=Terminal())) is RefusalReason.NO_TERMINAL
    ask(client, 2, shell="")
    ask(client, 3, command="x", in_shell=2)
    assert keyed.rig.user.jobs[0].request.environment == (("A", "1"),)
    (command,) = shell_of(keyed.rig).commands
    command.owner.output_received(Stream.STDOUT, b"123")
    command.owner.output_received(Stream.STDOUT, b"4")
    command.end()
    (end,) = exits(heard(client))
    assert (end.channel, end.stdout) == (3, 3)
    assert isinstance(end.ending, LimitReached)


def test_jobs_of_a_key(keyed: Keyed) -> None:
    """R-10: all sessions of a key share its jobs, shells count with what runs in them, and an end makes room."""
    keyed.allow('max-jobs="2"')
    one, other = keyed.rig.log_in(), keyed.rig.log_in()
    assert refusal(ask(one, 1, shell="")) is None
    assert refusal(ask(one, 2, command="x", in_shell=1)) is None
    assert refusal(ask(other, 1, command="x")) is None
    assert refusal(ask(one, 3, command="x")) is RefusalReason.RESOURCES
    assert refusal(ask(other, 2, command="x")) is RefusalReason.RESOURCES
    keyed.rig.user.jobs[-1].end()
    assert refusal(ask(one, 4, command="x")) is None
    assert refusal(ask(one, 5, command="x")) is RefusalReason.RESOURCES


def test_jobs_of_a_session_that_is_gone(keyed: Keyed) -> None:
    """R-10: a job counts until it has ended, also when its client has left."""
    keyed.allow('max-jobs="1"')
    one = keyed.rig.log_in()
    ask(one, 1, command="x")
    one.say(Goodbye(text=""))
    other = keyed.rig.log_in()
    assert refusal(ask(other, 1, command="x")) is RefusalReason.RESOURCES
    keyed.rig.user.jobs[0].end(Signalled("HUP"))
    assert refusal(ask(other, 2, command="x")) is None


def test_a_refused_job_does_not_count(keyed: Keyed) -> None:
    """R-10: a job that was refused for another reason leaves room."""
    keyed.allow('no-pty,max-jobs="1"')
    client = keyed.rig.log_in()
    assert refusal(ask(client, 1, command="x", terminal=Terminal())) is RefusalReason.NO_TERMINAL
    assert refusal(ask(client, 2, command="x", in_shell=9)) is RefusalReason.SHELL_GONE
    assert refusal(ask(client, 3, command="x")) is None


@pytest.mark.parametrize(("options", "most"), [('max-sessions="2"', 2), ("pty", 3)])
def test_sessions_of_a_key(config: ConfigFolders, options: str, most: int) -> None:
    """R-10: a key has as many sessions as its line and the server both allow."""
    rig = Rig(max_sessions_per_key=3)
    ensure_private_folder(config.config)
    rig.factory.portal = Portal(SingleUserRealm(rig.user), [AuthorizedKeysChecker(config, ALICE)])
    keyed = Keyed(rig, config)
    keyed.allow(options)
    assert [keyed.answer() for _ in range(most + 1)] == [AuthOk] * most + [Unavailable]


def test_from(keyed: Keyed, logged: list[LogEvent]) -> None:
    """A key logs in from where it may; elsewhere it is refused like an unknown key, and the log says why."""
    keyed.allow('from="192.0.2.0/24,!192.0.2.9"')
    assert keyed.answer("192.0.2.1") is AuthOk
    assert keyed.answer("192.0.2.9") is AuthFail
    assert keyed.answer("192.0.3.1") is AuthFail
    assert any("line 1: from= does not allow 192.0.3.1" in formatEvent(event) for event in logged)


def test_resume_from_elsewhere(keyed: Keyed) -> None:
    """A session goes on only over a connection from where its key may log in; it stays for one that does."""
    keyed.allow('from="192.0.2.7,192.0.2.1"')
    resumer = Resumer(keyed.rig)
    client = keyed.connect("192.0.2.2")
    resumer.ask(client)
    assert client.frames() == [FAIL]
    assert is_alive(resumer.client)
    moved = keyed.connect("192.0.2.1")
    resumer.ask(moved)
    assert FAIL not in moved.frames()
    keyed.allow('from="192.0.2.7"')  # from where it came at first, and is not any more
    assert keyed.recheck() == 1


def test_expiry(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-12: a session ends when the time of its key is over, and a login is refused from then on."""
    keyed.allow('expiry-time="20300101Z"')
    now = [1893455999.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    client = keyed.rig.log_in()
    assert not keyed.rig.factory.sessions.any_expired()
    assert keyed.recheck() == 0
    now[0] += 1.5
    assert keyed.rig.factory.sessions.any_expired()
    assert keyed.recheck() == 1
    assert Goodbye(text=KEY_REVOKED) in heard(client)
    assert keyed.answer() is AuthFail


@pytest.mark.parametrize("how", ["recheck", "resume"])
@pytest.mark.parametrize(
    ("before", "after", "goes_on"),
    [
        ("pty", "no-pty", False),
        ("pty", 'command="x"', False),
        ("pty", "observer", False),
        ('max-jobs="3"', 'max-jobs="2"', False),
        ("restrict", "pty", True),
        ('max-jobs="2"', 'max-jobs="3"', True),
        ("pty", 'from="192.0.2.7",expiry-time="29991231Z"', True),
        ("pty", 'environment="A=1"', True),
        ("pty", "no-such-option", False),
    ],
)
def test_changed_line(keyed: Keyed, before: str, after: str, goes_on: bool, how: str) -> None:
    """A-12: a session whose key may do less ends, at once or at its resume; otherwise it goes on by the new line."""
    keyed.allow(before)
    resumer = Resumer(keyed.rig)
    ask(resumer.client, 1, command="x")
    keyed.allow(after)
    if how == "recheck":
        assert keyed.recheck() == (not goes_on)
    else:
        client = keyed.rig.connect()
        resumer.ask(client)
        assert (FAIL not in client.frames()) is goes_on
    assert bool(keyed.rig.sessions) is goes_on or after == "no-such-option"
    if goes_on:
        assert keyed.rig.user.jobs[0].names().count("terminate") == 0
        policy = keyed.rig.sessions[0].login.credentials.policy
        assert (policy.max_jobs, policy.environment) == (
            3 if "max-jobs" in after else None,
            (("A", "1"),) if "A=1" in after else (),
        )
    elif after != "no-such-option":
        assert "terminate" in keyed.rig.user.jobs[0].names()
        if how == "recheck":
            assert Goodbye(text=KEY_NARROWED) in heard(resumer.client)


def test_wider_line_applies_to_what_starts_next(keyed: Keyed) -> None:
    """A key that may do more has that in the session that it has."""
    keyed.allow("restrict")
    client = keyed.rig.log_in()
    assert refusal(ask(client, 1, command="x", terminal=Terminal())) is RefusalReason.NO_TERMINAL
    keyed.allow("pty")
    assert keyed.recheck() == 0
    assert refusal(ask(client, 2, command="x", terminal=Terminal())) is None


# The limits of what processes use.


@implementer(ILimitedUser)
class LimitedUser(ScriptedUser):
    """A scripted user that keeps limits."""

    def __init__(self, cannot_limit: bool = False) -> None:
        super().__init__()
        self.limits: list[tuple[object, ...]] = []
        self.cannot_limit = cannot_limit

    def limit(self, *, cpu: float | None, memory: int | None, processes: int | None) -> IShellUser:
        """See ILimitedUser."""
        if self.cannot_limit:
            raise ValueError("no /proc")
        self.limits.append((cpu, memory, processes))
        return self


@pytest.mark.parametrize(
    ("user", "answer"),
    [(LimitedUser, AuthOk), (lambda: LimitedUser(cannot_limit=True), Unavailable), (ScriptedUser, Unavailable)],
)
def test_usage_limits(keyed: Keyed, user: Callable[[], ScriptedUser], answer: type) -> None:
    """R-10: limits of processes go to the user object; a user object that cannot keep them lets nobody in."""
    keyed.allow('max-cpu="60",max-memory="1G",max-processes="7"')
    made = user()
    keyed.rig.factory.portal = Portal(SingleUserRealm(made), [AuthorizedKeysChecker(keyed.config, ALICE)])
    assert keyed.answer() is answer
    if isinstance(made, LimitedUser) and answer is AuthOk:
        assert made.limits == [(60, 2**30, 7)]


@pytest.mark.parametrize("how", ["recheck", "resume"])
def test_wider_limits_that_cannot_be_kept(keyed: Keyed, how: str) -> None:
    """R-10: a session ends whose key has limits by now that the user object cannot keep."""
    keyed.allow('max-cpu="60"')
    user = LimitedUser()
    keyed.rig.factory.portal = Portal(SingleUserRealm(user), [AuthorizedKeysChecker(keyed.config, ALICE)])
    resumer = Resumer(keyed.rig)
    keyed.allow('max-cpu="120"')
    user.cannot_limit = True
    if how == "recheck":
        assert keyed.recheck() == 1
        (said,) = [message for message in heard(resumer.client) if isinstance(message, Goodbye)]
        assert said.text == "the server cannot keep the limits of your key; its log says why"
    else:
        client = keyed.rig.connect()
        resumer.ask(client)
        assert FAIL in client.frames()
    assert keyed.rig.sessions == []


def test_limits_of_a_local_user(rig: Rig) -> None:
    """The smaller of the server's limit and the key's holds, and stays for what a job leaves behind."""
    account = Account.current({})
    user = LocalUser(rig.clock, account)
    assert verifyObject(ILimitedUser, user)
    limited = user.limit(cpu=5, memory=None, processes=10).limit(cpu=6, memory=2**20, processes=9)
    bounds = limited._bounds
    assert (bounds.cpu, bounds.memory, bounds.processes, bounds.bounds) == (5, 2**20, 9, None)
    assert not user._bounds.are_set


def test_the_server_s_limits_change(rig: Rig) -> None:
    """Limits that the server gets later hold for the jobs of a key with limits of its own, too."""
    user = LocalUser(rig.clock, Account.current({}))
    limited = user.limit(cpu=5, memory=None, processes=10)
    user.change_choices(UsageLimits(cpu=9, processes=3), "off")
    assert limited._bounds == UsageLimits(cpu=5, processes=3)
    assert limited._choices.sftp == "off"
    user.change_choices(None, "own")
    assert limited._bounds == UsageLimits(cpu=5, processes=10)


# The observer.


def test_observer(keyed: Keyed) -> None:
    """An observer gets a line for each session, and starts nothing."""
    keyed.allow('observer,from="192.0.2.1"', "pty")
    worker = keyed.rig.log_in()
    ask(worker, 1, command="x")
    client = keyed.connect("192.0.2.1")
    client.send(frame(client.auth(keyed.rig.pin)))
    assert len(client.frames()) == 1
    forms: list[dict[str, Any]] = [{"command": "x"}, {"argv": ("x",)}, {"shell": ""}, {"subsystem": "sftp"}]
    for channel, form in enumerate(forms, start=1):
        assert refusal(ask(client, channel, **form)) is RefusalReason.NOT_PERMITTED
    answers = ask(client, 9, subsystem=OBSERVER_SUBSYSTEM)
    keyed.rig.clock.advance(1)
    answers += heard(client)
    text = b"".join(one.data for one in answers if isinstance(one, Data))
    listed = [json.loads(line) for line in text.splitlines()]
    assert [(one["user"], len(one["jobs"])) for one in listed] == [(ALICE, 1), (ALICE, 1)]
    assert [end.ending for end in exits(answers)] == [Exited(0)]
    assert len(keyed.rig.user.jobs) == 1


def test_sessions_is_the_observers_alone(keyed: Keyed) -> None:
    """A client that is no observer gets what the user object has for the subsystem."""
    keyed.allow("pty")
    ask(keyed.rig.log_in(), 1, subsystem=OBSERVER_SUBSYSTEM)
    assert keyed.rig.user.jobs[0].request.subsystem == OBSERVER_SUBSYSTEM


class Owner:
    """An owner with little room.

    :ivar room: bytes that it takes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.data = b""
        self.calls: list[object] = []

    def output_room(self, stream: Stream) -> int:
        """See IJobOwner."""
        return self.room

    def output_received(self, stream: Stream, data: bytes) -> None:
        """See IJobOwner."""
        assert 0 < len(data) <= self.room
        self.room -= len(data)
        self.data += data

    def output_ended(self, stream: Stream) -> None:
        """See IJobOwner."""
        self.calls.append(stream)

    def input_consumed(self, size: int) -> None:
        """See IJobOwner."""
        self.calls.append(size)

    def job_ended(self, end: Any) -> None:
        """See IJobOwner."""
        self.calls.append(end.ending)


def test_list_as_far_as_there_is_room(keyed: Keyed) -> None:
    """The list goes on as its owner has room, loses and repeats nothing, and ends once."""
    keyed.allow("pty")
    for _ in range(5):
        keyed.rig.log_in()
    owner = Owner(100)
    observer = Observer(keyed.rig.user, keyed.rig.factory.sessions)
    assert verifyObject(IShellUser, observer)
    job = observer.start_job(JobRequest(subsystem=OBSERVER_SUBSYSTEM), owner)  # type: ignore[arg-type]  # as far as used
    for _ in range(100):
        keyed.rig.clock.advance(1)
        owner.room = 100
        job.resume_output(Stream.STDERR)
        job.resume_output(Stream.STDOUT)
    assert [json.loads(line)["attached"] for line in owner.data.splitlines()] == [True] * 5
    job.terminate()
    assert owner.calls == [Stream.STDOUT, Stream.STDERR, Exited(0)]


@pytest.mark.parametrize(
    ("act", "ending"),
    [
        (lambda job: job.terminate(), Signalled("HUP")),
        (lambda job: job.send_signal("INT"), Signalled("INT")),
        (lambda job: job.close_output(Stream.STDOUT), Signalled("PIPE")),
    ],
)
def test_end_of_a_list(keyed: Keyed, act: Callable[[Any], None], ending: object) -> None:
    """A list that waits ends as a program would, and takes input until then."""
    keyed.allow("pty")
    keyed.rig.log_in()
    owner = Owner(0)
    runner: Any = runner_for(keyed.rig.user, KeyPolicy(is_observer=True), keyed.rig.factory.sessions)
    job = runner.start_job(JobRequest(subsystem=OBSERVER_SUBSYSTEM), owner)
    job.write_input(b"xy")
    job.end_input()
    job.resize(1, 1)
    job.send_signal("WINCH")
    job.close_output(Stream.STDERR)
    act(job)
    act(job)
    assert owner.calls == [2, Stream.STDOUT, Stream.STDERR, ending]
    assert owner.data == b""


# An application's own portal, and invitations.


def test_policy_of_an_application(rig: Rig) -> None:
    """A checker of an application restricts a key; the realm finds that in its mind; the server keeps it."""
    minds: list[Any] = []

    def check() -> bytes:
        rig.checker.asked[-1].restrict(KeyPolicy(command="mine"))
        return ALICE.encode()

    def avatar(avatar_id: object, mind: object, *interfaces: object) -> Any:
        minds.append(mind)
        return IShellUser, rig.user, lambda: None

    rig.checker.answer = check
    rig.realm.requestAvatar = avatar  # type: ignore[assignment,method-assign]  # an application's own
    ask(rig.log_in(), 1, command="x")
    assert IVerifiedKey.providedBy(minds[0])
    assert minds[0].policy.command == rig.user.jobs[0].request.command == "mine"


def test_expired_policy_of_an_application(rig: Rig) -> None:
    """A policy that is over refuses the login although the portal agrees, and the user object is logged out."""

    def check() -> bytes:
        rig.checker.asked[-1].restrict(KeyPolicy(expires=1.0))
        return ALICE.encode()

    rig.checker.answer = check
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert client.frames()[0][:1] == bytes([AuthFail.declaration.number])
    assert (rig.realm.logouts, rig.sessions) == (1, [])


def test_a_portal_that_refuses(rig: Rig) -> None:
    """A refusal of the portal stays one, whatever the policy says."""

    def check() -> bytes:
        rig.checker.asked[-1].restrict(KeyPolicy())
        raise UnauthorizedLogin

    rig.checker.answer = check
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert rig.sessions == []


def test_invitation_for_a_restricted_key(keyed: Keyed) -> None:
    """An invitation does not free a key of its options."""
    keyed.allow("restrict")
    invitations = Invitations(keyed.rig.clock, keyed.config)
    before = Path(keyed.config.authorized_keys_path).read_bytes()
    invitations.admit(client_key().blob, "somewhere")
    assert Path(keyed.config.authorized_keys_path).read_bytes() == before


# What the log says of wrong lines.


@pytest.mark.parametrize("more", [0, 1])
def test_wrong_lines_are_told(keyed: Keyed, logged: list[LogEvent], more: int) -> None:
    """A-14: the log names each wrong line with its number, and counts those beyond a bound, in turns of the reactor."""
    keyed.allow("pty", *["no-such-option"] * (MAX_TOLD_LINES + more))
    turns = keyed.rig.factory.sessions.turns
    check = KeyLineCheck(keyed.rig.clock, turns, AuthorizedKeysChecker(keyed.config, ALICE).problems())
    check.start()
    lines = [formatEvent(event) for event in logged]
    assert (
        lines[0]
        == f"{keyed.config.authorized_keys_path}: line 2 grants nothing: the option 'no-such-option' is not known"
    )
    assert len(lines) == MAX_TOLD_LINES + more
    assert ("1 more lines" in lines[-1]) is bool(more)


def test_a_check_that_is_stopped(keyed: Keyed, logged: list[LogEvent]) -> None:
    """A check that is stopped tells nothing more."""
    keyed.allow("no-such-option")
    check = KeyLineCheck(
        keyed.rig.clock, keyed.rig.factory.sessions.turns, AuthorizedKeysChecker(keyed.config, ALICE).problems()
    )
    check.stop()
    check.start()
    assert logged == []
