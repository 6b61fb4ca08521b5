"""A session that loses its connections, on a clock: what its caller sees of that, and when waiting has no point."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client.standin import Network, is_connected
from tests.link.wire import MALLORY
from twisted_rsh import Connection, Job
from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.jobs import FAREWELL_SECONDS, IDLE_SECONDS
from twisted_rsh.client.reconnecting import JUMP_SECONDS, TICK_SECONDS
from twisted_rsh.client.streams import TYPING_SECONDS
from twisted_rsh.core.codec import encode
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown
from twisted_rsh.core.events import ChannelRequested, DataReceived, SessionClosed, SignalReceived, StreamEnded
from twisted_rsh.core.limits import MAX_DETACH_SECONDS, SessionLimits
from twisted_rsh.core.messages import Credit, Pong, Positions, ResumeOk
from twisted_rsh.core.requests import (
    COMMAND_GRACE_SECONDS,
    KILL,
    SHELL_GRACE_SECONDS,
    Disconnection,
    Grace,
    JobRequest,
    Keep,
    Terminal,
)
from twisted_rsh.core.roles import Stream
from twisted_rsh.link.framed_link import CLOSE_SECONDS


@pytest.fixture
def network() -> Network:
    """A server that can be reached."""
    return Network()


def endings(job: Job) -> list[Ending]:
    """Collect how a job ends."""
    found: list[Ending] = []
    job.wait().addCallback(lambda end: found.append(end.ending))
    return found


def output(job: Job) -> list[bytes]:
    """Collect what a job writes, and consume it."""
    pieces: list[bytes] = []

    def take(data: bytes) -> None:
        pieces.append(data)
        job.stdout.consumed(len(data))

    job.stdout.forward(take)
    return pieces


def running(network: Network, connection: Connection, on_disconnect: Disconnection | None = None) -> Job:
    """Start a command that the server has accepted."""
    job = connection.start("cat", on_disconnect=on_disconnect)
    network.advance()
    network.server.only.opened(job.channel)
    network.advance()
    return job


def told(connection: Connection) -> list[str | None]:
    """Collect what a connection tells its watchers."""
    words: list[str | None] = []
    connection.watch_link(words.append)
    return words


def loss(connection: Connection) -> tuple[LossReason | None, str | None]:
    """Why the session is over."""
    return connection.loss, connection.lost


# What an outage looks like.


def test_a_job_goes_on_over_another_connection(network: Network) -> None:
    """C-08: what was written and typed during the outage arrives, once and in order, and neither side sees an end."""
    connection = network.log_in()
    words, job = told(connection), running(network, connection)
    pieces, ends = output(job), endings(job)
    network.server.only.say(b"one ")
    network.advance()
    job.stdin.write(b"first ")
    network.server.only.say(b"two ")
    network.is_up = False
    network.cut()
    assert (is_connected(connection), connection.lost, connection.loss) == (False, None, None)
    job.stdin.write(b"second")
    job.stdin.end()
    job.send_signal("USR1")
    network.advance(3)
    network.is_up = True
    network.advance(10)
    assert is_connected(connection)
    assert words == ["Connection to the other side was lost in a non-clean fashion: Connection lost", None]
    kept = network.server.only
    kept.say(b"three")
    network.advance()
    assert b"".join(pieces) == b"one two three"
    typed = [event.data for event in kept.events if isinstance(event, DataReceived)]
    assert b"".join(typed) == b"first second"
    assert sum(isinstance(event, SignalReceived) for event in kept.events) == 1
    assert sum(isinstance(event, StreamEnded) for event in kept.events) == 1
    kept.end()
    network.advance()
    assert ends == [Exited(0)]


def test_commands_of_an_outage_start_behind_it(network: Network) -> None:
    """M-04: what is started without a connection is asked for once, when there is one."""
    connection = network.log_in()
    network.is_up = False
    network.cut()
    job = connection.start("echo late")
    ends = endings(job)
    network.advance(1)
    network.is_up = True
    network.advance(2)
    network.cut()
    network.advance(1)
    kept = network.server.only
    requested = [event for event in kept.events if isinstance(event, ChannelRequested)]
    assert [event.request.command for event in requested] == ["echo late"]
    kept.opened()
    kept.end()
    network.advance()
    assert ends == [Exited(0)]


def test_an_ending_that_was_lost_is_told_again(network: Network) -> None:
    """M-06: the connection is cut while the command exits: its output comes, and then its status, once."""
    connection = network.log_in()
    job = running(network, connection)
    pieces, ends = output(job), endings(job)
    network.carries = False
    network.server.only.say(b"last words")
    network.server.only.end()
    network.advance()
    assert (pieces, ends) == ([], [])
    network.cut()
    network.carries = True
    network.advance(1)
    assert (pieces, ends) == ([b"last words"], [Exited(0)])


def test_watching_can_be_ended(network: Network) -> None:
    """A watcher that has ended its watch is not called; ending it twice does no harm."""
    connection = network.log_in()
    words: list[str | None] = []
    stop = connection.watch_link(words.append)
    stop()
    stop()
    network.cut()
    network.advance(1)
    assert (is_connected(connection), words) == (True, [])


# How long.


@pytest.mark.parametrize(
    ("policies", "seconds"),
    [
        ([], IDLE_SECONDS),
        ([None], COMMAND_GRACE_SECONDS),
        ([Grace(5.0)], 5.0),
        ([Grace(2.5), KILL], 2.5),
        ([Grace(5.0), Grace(90.0), None], 90.0),
        ([Grace(1e6)], float(SessionLimits().detach_seconds)),
    ],
)
def test_patience_is_that_of_the_jobs(network: Network, policies: list[Disconnection | None], seconds: float) -> None:
    """The longest policy of the jobs counts, up to what the server allows; then the outcome is unknown."""
    connection = network.log_in()
    ends = [endings(running(network, connection, policy)) for policy in policies]
    network.is_up = False
    network.cut()
    left = seconds - 0.1
    while left > 0:
        network.jump(min(left, 20.0))
        left -= 20.0
    assert connection.lost is None
    lost = connection.when_lost()
    network.jump(0.1)
    network.jump(0.001)
    text = f"no connection for {seconds:.0f} s: Connection was refused by other side"
    assert loss(connection) == (LossReason.TIME, text)
    assert lost.called
    assert ends == [[OutcomeUnknown(text)]] * len(policies)
    assert network.clock.getDelayedCalls() == []
    with pytest.raises(SessionLost, match="no connection for") as caught:
        connection.start("true")
    assert caught.value.reason is LossReason.TIME


def test_shells_have_their_commands_patience(network: Network) -> None:
    """A command in a persistent shell lives as long as the shell, and anything on a terminal for an hour."""
    connection = network.log_in()
    remembering = connection.open(JobRequest(shell=""))
    connection.open(JobRequest(command="true", in_shell=remembering.channel))
    assert connection._jobs.patience() == SHELL_GRACE_SECONDS
    other = network.log_in()
    other.start("vi", terminal=Terminal())
    assert other._jobs.patience() == SHELL_GRACE_SECONDS
    third = network.log_in()
    third.open_shell(on_disconnect=Grace(7.0))
    third.open(JobRequest(command="true", in_shell=1))
    assert third._jobs.patience() == 7.0


def test_what_is_kept_is_waited_for(network: Network) -> None:
    """A job that is kept has no end of patience, whatever the server says."""
    connection = network.log_in()
    ends = endings(running(network, connection, Keep()))
    network.is_up = False
    network.cut()
    for _ in range(1000):
        network.jump(29.0)
    assert (connection.lost, ends) == (None, [])
    network.is_up = True
    network.advance(11)
    assert is_connected(connection)


def test_killed_at_once_is_not_waited_for(network: Network) -> None:
    """A session whose jobs are all killed without a connection leaves nothing to come back to."""
    connection = network.log_in()
    ends = endings(running(network, connection, KILL))
    network.cut()
    assert loss(connection) == (
        LossReason.LINK,
        "the connection was lost: Connection to the other side was lost in a non-clean fashion: Connection lost",
    )
    assert len(ends) == 1
    network.advance(60)
    assert network.dialled_at == []
    assert network.clock.getDelayedCalls() == []


@pytest.mark.parametrize("refused_by", ["client", "server"])
def test_sessions_that_end_with_their_connection(refused_by: str) -> None:
    """Where either side wants it so, the client does not dial again; its jobs are killed at once."""
    network = Network(limits=SessionLimits(detach_seconds=0 if refused_by == "server" else 60))
    connection = network.log_in(resume=refused_by == "server")
    running(network, connection)
    running(network, connection, Grace(5.0))
    connection.open(JobRequest(command="true", in_shell=1))
    network.advance()
    requests = [event.request for event in network.server.only.events if isinstance(event, ChannelRequested)]
    assert [request.on_disconnect for request in requests] == [KILL, Grace(5.0), None]
    network.cut()
    assert connection.loss is LossReason.LINK
    network.advance(1)
    assert network.dialled_at == []


# Ends.


@pytest.mark.parametrize(
    ("change", "reason", "text"),
    [
        (lambda network: network.server.restart(), LossReason.RESTARTED, "the server was restarted"),
        (
            lambda network: network.server.sessions.clear(),
            LossReason.EXPIRED,
            "the session has expired on the server",
        ),
    ],
    ids=["M-19", "expired"],
)
def test_server_that_knows_no_session(
    network: Network, change: Callable[[Network], None], reason: LossReason, text: str
) -> None:
    """M-19: a server that was restarted, or has forgotten us: the outcome is unknown, and nothing is run again."""
    connection = network.log_in()
    ends = endings(running(network, connection))
    change(network)
    network.cut()
    network.advance(1)
    assert loss(connection) == (reason, text)
    assert ends == [OutcomeUnknown(text)]
    network.advance(60)
    assert len(network.dialled_at) == 1
    assert network.server.sessions == {}
    assert network.clock.getDelayedCalls() == []


def test_server_with_another_key(network: Network) -> None:
    """M-20: another server at the same address gets no RESUME, and the client does not dial it again."""
    connection = network.log_in()
    ends = endings(running(network, connection))
    network.server.who = MALLORY
    network.cut()
    network.advance(60)
    assert network.server.resumes == []
    assert connection.loss is LossReason.IDENTITY
    assert connection.lost is not None
    assert connection.lost.startswith("the server's identity has changed: 192.0.2.7:50000 is not the expected server")
    assert ends == [OutcomeUnknown(connection.lost)]
    assert len(network.dialled_at) == 1
    assert network.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "answer",
    [
        b"?",
        encode(ResumeOk(proof=bytes(32), positions=Positions(0))),
        encode(Pong(0)),
    ],
    ids=["no message", "no proof", "no answer"],
)
def test_wrong_answers(network: Network, answer: bytes) -> None:
    """C-02: an answer that is none, or that the session's server did not give, ends the session in one line."""
    connection = network.log_in()
    running(network, connection)
    network.server.on_resume = lambda _: answer
    network.cut()
    network.advance(60)
    assert connection.loss is LossReason.PROTOCOL
    assert connection.lost is not None
    assert connection.lost.startswith("the server broke the protocol: ")
    assert len(network.dialled_at) == 1


def test_breach_of_the_protocol(network: Network) -> None:
    """C-02: what breaks the protocol would break it again over another connection: the session is over."""
    for cuts in (0, 1):
        connection = network.log_in()
        kept = list(network.server.sessions.values())[-1]
        for _ in range(cuts):
            network.cut()
            network.advance(1)
        link = kept.pump.link
        assert link is not None
        lost = connection.when_lost()
        link.write_frames([encode(Credit(9, Stream.STDIN, 1, 0))])
        network.advance(60)
        assert loss(connection) == (
            LossReason.PROTOCOL,
            "the connection was lost: channel-state: channel 9 does not exist",
        )
        assert lost.called


def test_server_that_says_goodbye(network: Network) -> None:
    """A server that ends the session on purpose is believed: the client does not dial again."""
    connection = network.log_in()
    network.server.only.pump.leave("going away")
    network.advance(60)
    assert loss(connection) == (LossReason.CLOSED, "going away")
    assert network.dialled_at == []
    assert network.clock.getDelayedCalls() == []


# Silence.


def test_half_open_connection(network: Network) -> None:
    """M-17: a connection that carries nothing any more is lost after 45 s, and the session resumed when it heals."""
    connection = network.log_in()
    words, job = told(connection), running(network, connection)
    pieces = output(job)
    network.carries = False
    network.server.only.say(b"unheard")
    network.advance(44)
    assert words == []
    network.advance(2)
    assert [str(word)[:33] for word in words] == ["nothing came from the peer for 45"]
    assert not is_connected(connection)
    network.advance(30)
    assert connection.lost is None
    network.carries = True
    network.advance(21)
    assert is_connected(connection)
    assert pieces == [b"unheard"]


def test_unread_output_is_no_silence(network: Network) -> None:
    """M-18: ten minutes with unread output and no word of the command: the server still answers."""
    connection = network.log_in()
    words, job = told(connection), running(network, connection)
    network.server.only.say(bytes(network.server.limits.window))
    for _ in range(60):
        network.advance(10)
    assert (words, is_connected(connection)) == ([], True)
    assert (job.stdout.read() is not None, network.server.only.pump.link is not None) == (True, True)


@pytest.mark.parametrize("in_shell", [False, True])
def test_unanswered_typing(network: Network, in_shell: bool) -> None:
    """P14: a person who types does not wait for keepalive: ten seconds without an answer are an outage."""
    connection = network.log_in()
    words = told(connection)
    job = connection.open(
        JobRequest(command=None if in_shell else "vi", shell="" if in_shell else None, terminal=Terminal())
    )
    if in_shell:
        job = connection.open(JobRequest(command="vi", in_shell=job.channel))
    network.advance(1)
    network.carries = False
    job.stdin.write(b"x")
    network.advance(TYPING_SECONDS - 0.1)
    assert words == []
    network.advance(0.2)
    assert len(words) == 1


def test_unanswered_input_of_a_pipe(network: Network) -> None:
    """P14: a program that reads a pipe may be busy with it; no person waits for its answer, and keepalive is enough."""
    connection = network.log_in()
    words, job = told(connection), running(network, connection)
    network.carries = False
    job.stdin.write(b"x")
    network.advance(TYPING_SECONDS + 1)
    assert words == []


# Sleep.


def test_sleep_while_connected(network: Network) -> None:
    """M-22: after an hour's sleep the connection is found dead, and the session resumed if the server has kept it."""
    connection = network.log_in()
    job = running(network, connection)
    network.carries = False
    network.jump(3600.0)
    network.carries = True
    network.advance(0)
    assert network.server.only.pump.link is not None
    network.advance(1)
    assert is_connected(connection)
    network.server.only.say(b"morning", job.channel)
    network.advance()
    assert job.stdout.read().called


@pytest.mark.parametrize("expired", [False, True])
def test_sleep_during_an_outage(network: Network, expired: bool) -> None:
    """M-22: on waking up there is one dial at once before anything is given up, and the server has the last word."""
    connection = network.log_in()
    running(network, connection)
    network.is_up = False
    network.cut()
    network.advance(20)
    network.is_up = True
    if expired:
        network.server.sessions.clear()
    dials = len(network.dialled_at)
    network.jump(3600.0)
    assert network.dialled_at[dials:][-1] == pytest.approx(network.clock.seconds())
    network.advance(1)
    assert (is_connected(connection), connection.loss) == ((False, LossReason.EXPIRED) if expired else (True, None))


def test_sleep_that_timers_do_not_see(network: Network) -> None:
    """M-22: where timers stand still while the machine sleeps, the dial does not wait for the one that was due."""
    connection = network.log_in()
    running(network, connection, Keep())
    network.is_up = False
    network.cut()
    network.advance(15.0)
    network.is_up = True
    network.slept = JUMP_SECONDS - 1
    network.advance(TICK_SECONDS)
    assert not is_connected(connection)
    network.slept += JUMP_SECONDS + 1
    network.advance(TICK_SECONDS)
    assert is_connected(connection)


def test_sleep_and_no_network(network: Network) -> None:
    """M-22: if that dial finds no server, the time that passed is up."""
    connection = network.log_in()
    running(network, connection)
    network.is_up = False
    network.cut()
    network.advance(5)
    network.jump(3600.0)
    network.advance(9.9)
    assert connection.lost is None
    network.advance(0.2)
    assert connection.loss is LossReason.TIME


# Leaving.


def test_closing_during_an_outage(network: Network) -> None:
    """Closing ends it at once, and without a trace, whatever was going on; with a connection, GOODBYE says so."""
    connection = network.log_in()
    network.is_up = False
    network.cut()
    network.advance(1)
    ends = endings(connection.start("true"))
    closing: list[None] = []
    connection.close().addCallback(closing.append)
    assert closing == [None]
    assert connection.loss is LossReason.CLOSED
    assert ends == [OutcomeUnknown("the connection was closed")]
    assert network.clock.getDelayedCalls() == []
    network.is_up = True
    other = network.log_in()
    network.cut()
    network.advance(1)
    other.close()
    network.advance(1)
    kept = list(network.server.sessions.values())[-1]
    assert any(isinstance(event, SessionClosed) for event in kept.events)


def heard_goodbye(network: Network) -> bool:
    """Tell whether the server has heard that its only session is over."""
    return any(isinstance(event, SessionClosed) for event in network.server.only.events)


def test_a_goodbye_is_lost(network: Network) -> None:
    """A goodbye that is cut off is said again over another connection, as is the one after it; then nothing is left."""
    connection = network.log_in()
    words = told(connection)
    ends = endings(running(network, connection))
    closing: list[object] = []
    connection.close().addCallback(closing.append)
    network.cut()
    network.is_up = False
    network.advance(2)
    assert ends == [OutcomeUnknown("the connection was closed")]
    assert not heard_goodbye(network)
    connection.when_lost().addCallback(closing.append)
    assert closing == []
    network.is_up = True
    network.advance(2)
    assert heard_goodbye(network)
    network.advance(CLOSE_SECONDS)
    assert closing == [None, "the connection was closed"]
    assert connection.loss is LossReason.CLOSED
    assert words == []
    assert network.clock.getDelayedCalls() == []


def test_a_goodbye_cannot_be_said(network: Network) -> None:
    """For want of another connection it is left unsaid, after five seconds."""
    connection = network.log_in()
    closing: list[None] = []
    connection.close().addCallback(closing.append)
    network.cut()
    network.is_up = False
    network.advance(FAREWELL_SECONDS - 0.1)
    assert closing == []
    network.advance(0.2)
    assert closing == [None]
    assert (connection.loss, connection.lost) == (LossReason.CLOSED, "the connection was closed")
    assert network.clock.getDelayedCalls() == []


def test_longest_time() -> None:
    """A server keeps a session for thirty days at most, and no client waits longer for what it does not keep."""
    network = Network(limits=SessionLimits(detach_seconds=MAX_DETACH_SECONDS))
    connection = network.log_in()
    running(network, connection, Grace(MAX_DETACH_SECONDS + 1))
    assert connection._jobs.patience() == MAX_DETACH_SECONDS
