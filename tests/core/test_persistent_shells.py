"""Persistent shells and long commands between two cores: a shell has a channel, and so has each of its commands."""

from __future__ import annotations

import pytest

from tests.core.pair import SMALL, Pair
from twisted_rsh.core.endings import Exited, JobEnd, OutcomeUnknown, RefusalReason, Refused, ResourceUsage, Stopped
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelRequested,
    DataReceived,
    Event,
    JobEnded,
    RoomGained,
    SignalReceived,
    StreamEnded,
    TerminalResized,
)
from twisted_rsh.core.limits import (
    ACKNOWLEDGE_EVERY,
    MAX_CHANNEL_ID,
    MAX_CONTROL_BYTES,
    MAX_PART_BYTES,
    MAX_SCRIPT_BYTES,
    MAX_UNACKNOWLEDGED,
    SessionLimits,
)
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
BASH = "bash"
NO_TEXT = "\ud800"
SHELL = JobRequest(shell=BASH, terminal=Terminal(term="xterm", modes=(("VINTR", 3), ("ECHO", 1))))
TOOK = ResourceUsage(wall=2.5, user=0.25, system=0.125, peak_memory=1 << 23)


def in_shell(shell: int, command: str = "true") -> JobRequest:
    """Return a request for a command in a shell."""
    return JobRequest(command=command, in_shell=shell)


@pytest.mark.parametrize(
    "request_",
    [
        SHELL,
        JobRequest(shell=""),
        JobRequest(
            shell=BASH, cwd="/tmp", environment=(("A", "1"),), timeout=3600.0, max_output=0, max_cpu=1.5, max_memory=1
        ),
        JobRequest(command="vi", terminal=Terminal(separate_stderr=True), max_output=2**63 - 1),
        JobRequest(command="", in_shell=MAX_CHANNEL_ID, timeout=0.001, max_output=1),
    ],
    ids=["terminal", "own", "limits", "command", "in a shell"],
)
def test_a_request_arrives_as_it_was(request_: JobRequest) -> None:
    """Every field of a request arrives at the server."""
    pair = Pair()
    channel = pair.client.open(request_)
    assert pair.settle()[SERVER] == [ChannelRequested(channel, request_)]


@pytest.mark.parametrize(
    "request_",
    [
        JobRequest(shell=NO_TEXT),
        JobRequest(command="x", terminal=Terminal(columns=0)),
        JobRequest(command="x", terminal=Terminal(rows=-1)),
        JobRequest(command="x", terminal=Terminal(columns=2**16)),
        JobRequest(command="x", terminal=Terminal(modes=(("CS8", 1),))),
        JobRequest(command="x", max_output=-1),
        JobRequest(command="x", max_memory=2**63),
        JobRequest(command="x", in_shell=0),
    ],
    ids=repr,
)
def test_a_request_that_cannot_travel(request_: JobRequest) -> None:
    """A request that cannot be encoded takes no channel number and no sequence number."""
    pair = Pair()
    with pytest.raises(LocalProtocolError) as error:
        pair.client.open(request_)
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    assert pair.client.frames_to_send() == []
    assert pair.open() == 1


def test_a_shell_and_its_commands() -> None:
    """Each channel has its own streams, signals, sizes and ending; the shell outlives its commands."""
    pair = Pair()
    shell = pair.open(SHELL)
    first = pair.open(in_shell(shell))
    pair.client.send_data(first, STDIN, b"in")
    pair.client.end_stream(first, STDIN)
    pair.client.resize(shell, 132, 43)
    pair.client.send_signal(first, "INT")
    assert sorted(pair.settle()[SERVER], key=repr) == [
        DataReceived(first, STDIN, b"in"),
        SignalReceived(first, "INT"),
        StreamEnded(first, STDIN),
        TerminalResized(shell, 132, 43),
    ]
    pair.server.send_data(first, STDOUT, b"out")
    pair.server.report_exit(first, JobEnd(Stopped("TSTP")))
    pair.server.send_data(shell, STDOUT, b"late")
    assert pair.settle()[CLIENT] == [
        DataReceived(first, STDOUT, b"out"),
        JobEnded(first, JobEnd(Stopped("TSTP")), 3, 0),
        DataReceived(shell, STDOUT, b"late"),
    ]
    second = pair.open(in_shell(shell, "exit 3"))
    pair.server.report_exit(second, JobEnd(Exited(3)))
    pair.server.report_exit(shell, JobEnd(Exited(3), held_open=True, usage=TOOK))
    assert pair.settle()[CLIENT] == [
        JobEnded(second, JobEnd(Exited(3)), 0, 0),
        JobEnded(shell, JobEnd(Exited(3), held_open=True, usage=TOOK), 4, 0),
    ]
    assert pair.client._channels == pair.server._channels == {}


def test_a_refused_command() -> None:
    """A refused command changes nothing for the shell and the command that runs in it."""
    pair = Pair()
    shell = pair.client.open(SHELL)
    pair.settle()
    pair.server.accept(shell, "utf-8")
    refusal = JobEnd(Refused(RefusalReason.SHELL_GONE, "no shell there"))
    channel = pair.open(in_shell(7), accept=False)
    pair.server.report_exit(channel, refusal)
    assert pair.settle()[CLIENT] == [JobEnded(channel, refusal, 0, 0)]
    assert pair.client.room(shell, STDIN) == SMALL.window


def test_credit_of_a_command_and_of_its_shell() -> None:
    """H-05: unread output of a command does not hold up its shell, nor the other way round."""
    pair = Pair()
    shell = pair.open(SHELL)
    command = pair.open(in_shell(shell))
    pair.server.send_data(command, STDOUT, bytes(SMALL.window))
    pair.settle()
    assert pair.server.room(command, STDOUT) == 0
    for _ in range(10):
        pair.server.send_data(shell, STDOUT, bytes(SMALL.window))
        pair.settle()
        pair.client.consumed(shell, STDOUT, SMALL.window)
        pair.settle()
    assert pair.server.room(command, STDOUT) == 0


def test_a_shell_that_is_closed_while_a_command_runs() -> None:
    """Both endings still come, each on its own channel."""
    pair = Pair()
    shell = pair.open(SHELL)
    command = pair.open(in_shell(shell))
    pair.client.close(shell)
    assert pair.settle()[SERVER] == [ChannelAbandoned(shell)]
    end = JobEnd(OutcomeUnknown("the shell was ended"))
    pair.server.report_exit(command, end)
    pair.server.report_exit(shell, end)
    assert pair.settle()[CLIENT] == [JobEnded(command, end, 0, 0), JobEnded(shell, end, 0, 0)]


@pytest.mark.parametrize(
    "command",
    [
        "x" * MAX_SCRIPT_BYTES,
        "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * (MAX_SCRIPT_BYTES // 3),
        "\udcff" * MAX_SCRIPT_BYTES,
        "\0" * MAX_SCRIPT_BYTES,
    ],
    ids=["ascii", "Chinese", "escaped bytes", "control characters"],
)
def test_the_longest_command(command: str) -> None:
    """A command of 1 MiB travels in as many parts as its bytes take, whatever they are, and holds up nothing once it
    has arrived."""
    pair = Pair()
    shell = pair.open(SHELL)
    pair.server.send_data(shell, STDOUT, b"x")
    sent, log = len(pair.sent[CLIENT]), 0
    channel = pair.client.open(in_shell(shell, command))
    assert not pair.client._outbox.blocked
    events: list[Event] = []
    while not events:
        pair.flush(CLIENT)
        log = max(log, sum(map(len, pair.client._outbox.log)))
        for _ in range(len(pair.wires[SERVER])):
            events += pair.deliver(SERVER, 1)
            assert len(pair.server._decoder.parts) <= MAX_CONTROL_BYTES
        pair.flush(SERVER)
        pair.deliver(CLIENT)
    assert events == [ChannelRequested(channel, in_shell(shell, command))]
    assert len(pair.sent[CLIENT]) - sent == MAX_SCRIPT_BYTES // MAX_PART_BYTES + 1
    assert log <= MAX_UNACKNOWLEDGED * (MAX_PART_BYTES + 9)
    assert len(pair.server._decoder.parts) == 0
    assert len(pair.client._outbox.log) < ACKNOWLEDGE_EVERY
    assert pair.client.room(shell, STDIN) == SMALL.window
    assert pair.client.room(channel, STDIN) == SMALL.window


def test_what_waits_behind_a_long_command() -> None:
    """H-05: output keeps coming while long commands are on their way, and the client learns when it has room again."""
    pair = Pair(SessionLimits(window=SMALL.window, max_channels=3))
    shell = pair.open(SHELL)
    pair.client.open(in_shell(shell, "\0" * MAX_SCRIPT_BYTES))
    channel = pair.client.open(in_shell(shell, "\0" * MAX_SCRIPT_BYTES))
    pair.client.resize(shell, 132, 43)
    with pytest.raises(LocalProtocolError) as error:
        pair.client.send_signal(channel, "INT")
    assert error.value.code is ErrorCode.SEQUENCE
    pair.server.send_data(shell, STDOUT, b"late")
    assert pair.pass_on(SERVER) == [DataReceived(shell, STDOUT, b"late")]
    events = pair.settle()
    assert events[CLIENT] == [RoomGained(None, None)]
    assert [type(event) for event in events[SERVER]] == [ChannelRequested, ChannelRequested, TerminalResized]
    pair.client.send_signal(channel, "INT")
    assert pair.settle()[SERVER] == [SignalReceived(channel, "INT")]


def test_the_longest_command_is_given_up() -> None:
    """CLOSE waits in its turn behind the parts, and arrives."""
    pair = Pair()
    channel = pair.client.open(JobRequest(command="\0" * MAX_SCRIPT_BYTES))
    pair.client.close(channel)
    assert [type(event) for event in pair.settle()[SERVER]] == [ChannelRequested, ChannelAbandoned]


def test_long_commands_one_after_the_other() -> None:
    """No part of a long command is left when the next one comes."""
    pair = Pair()
    for turn in range(5):
        command = f"{turn}" * (MAX_SCRIPT_BYTES // 2)
        channel = pair.client.open(JobRequest(command=command))
        assert pair.settle()[SERVER] == [ChannelRequested(channel, JobRequest(command=command))]
        pair.server.report_exit(channel, JobEnd(Exited(0)))
        assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(Exited(0)), 0, 0)]
    assert len(pair.client._outbox.log) < ACKNOWLEDGE_EVERY
    assert len(pair.server._decoder.parts) == 0
