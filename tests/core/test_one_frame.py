"""RUN and REPLY: a short command in one frame each way, which means what the messages mean that it stands for."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tests.core.pair import TRUE, Pair, log_in
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.codec import Decoder, encode_control
from twisted_rsh.core.endings import Exited, JobEnd, RefusalReason, Refused, ResourceUsage, Signalled
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelFreed,
    ChannelOpened,
    ChannelRequested,
    DataReceived,
    JobEnded,
    RoomGained,
    SignalReceived,
    StreamStopped,
)
from twisted_rsh.core.limits import (
    MAX_CWD_BYTES,
    MAX_REPLY_OUTPUT_BYTES,
    MAX_TIMEOUT_MS,
    MAX_UNACKNOWLEDGED,
    SessionLimits,
)
from twisted_rsh.core.messages import Close, Data, End, Exit, Open, Opened, Reply, Run
from twisted_rsh.core.requests import KILL, JobRequest, Terminal
from twisted_rsh.core.roles import Phase, Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDOUT, STDERR = Stream.STDOUT, Stream.STDERR
USAGE = ResourceUsage(wall=0.5, user=0.25, system=0.125, peak_memory=4096)
END = JobEnd(Exited(3), usage=USAGE, folder="/srv")
SIGNALLED = JobEnd(Signalled("KILL"))


def run(pair: Pair, request: JobRequest = TRUE) -> int:
    """Let a request without input arrive at the server."""
    channel = pair.client.open(request, has_no_input=True)
    pair.pass_on(CLIENT)
    return channel


def test_one_frame_each_way() -> None:
    """A short command is one frame from the client and one from the server, and its next one carries the CLOSE."""
    pair = Pair()
    for number in (1, 2, 3):
        assert pair.client.open(TRUE, has_no_input=True) == number
        requested = ChannelRequested(number, TRUE, has_no_input=True)
        freed = [ChannelFreed(number - 1)] if number > 1 else []
        assert pair.flush(CLIENT) == 1
        assert pair.deliver(SERVER) == [*freed, requested]
        assert pair.server.takes_reply(number)
        pair.server.report_run(number, "utf-8", END, b"out", b"errors")
        assert not pair.server.takes_reply(number)
        assert pair.server.unread_output(number) == len(b"outerrors")
        assert pair.flush(SERVER) == 1
        assert pair.deliver(CLIENT) == [JobEnded(number, END, 3, 6, "utf-8", b"out", b"errors")]
    assert pair.written(CLIENT) == [Close(3)]


def test_what_they_stand_for() -> None:
    """RUN is CLOSE, OPEN and END; REPLY is OPENED, DATA and EXIT: both sides come to the same."""
    pair, plain = Pair(), Pair()
    for each in (pair, plain):
        each.client.open(TRUE)
        each.settle()
        each.server.report_exit(1, SIGNALLED)
        each.pass_on(SERVER)
    packed = [Run(channel=2, request=TRUE, closes=1)]
    assert pair.client.open(TRUE, has_no_input=True) == 2
    assert pair.written(CLIENT) == packed
    pair.hear(SERVER, packed[0])
    for message in (Close(1), Open(channel=2, request=TRUE), End(2, Stream.STDIN, 0)):
        plain.hear(SERVER, message)
    pair.server.report_run(2, "utf-8", END, b"out", b"")
    plain.server.accept(2, "utf-8")
    plain.server.send_data(2, STDOUT, b"out")
    plain.server.report_exit(2, END)
    assert pair.written(SERVER) == [Reply(channel=2, encoding="utf-8", stdout=b"out", end=END)]
    opened, data, ended = plain.written(SERVER)
    assert opened == Opened(channel=2, encoding="utf-8")
    assert data == Data(2, STDOUT, 0, b"out")
    assert isinstance(ended, Exit)
    channels = [each.server._channels for each in (pair, plain)]
    assert channels[0].keys() == channels[1].keys() == {2}
    assert channels[0][2].state is channels[1][2].state
    assert pair.server.positions().streams == plain.server.positions().streams


@pytest.mark.parametrize(
    "change",
    [
        {"cwd": "/"},
        {"environment": (("A", "b"),)},
        {"terminal": Terminal()},
        {"max_cpu": 1.0},
        {"max_memory": 1},
        {"on_disconnect": KILL},
        {"max_output": 0},
        {"max_output": -1},
        {"max_output": 2**63},
        {"command": ""},
        {"command": "x" * 4097},
        {"command": "\udcc3\udc9f"},
        {"command": "\ud800"},
        {"command": None, "argv": ("true",)},
        {"in_shell": 1, "aside": True},
        {"in_shell": 1, "typed_ahead": b""},
        {"in_shell": 2**32},
        {"in_shell": 0},
    ],
)
def test_requests_that_do_not_fit(change: dict[str, object]) -> None:
    """A request that asks for more than RUN can say goes as OPEN and END."""
    request = dataclasses.replace(TRUE, **change)  # type: ignore[arg-type]  # of the kinds of its fields
    assert not Run.fits(request)
    with pytest.raises(LocalProtocolError):
        encode_control(Run(channel=1, request=request), 0)
    pair = Pair()
    try:
        pair.client.open(request, has_no_input=True)
    except LocalProtocolError:
        assert pair.client.open(TRUE) == 1  # nothing has changed
    else:
        assert pair.written(CLIENT) == [Open(channel=1, request=request), End(1, Stream.STDIN, 0)]


def test_a_server_that_takes_no_run() -> None:
    """A client sends RUN only to a server that has said that it takes it."""
    client = ClientSession(SessionLimits(), 0.0)
    client.open(TRUE, has_no_input=True)
    decoder = Decoder(SERVER, Phase.SESSION)
    sent = [decoder.decode(payload)[1] for payload in client.frames_to_send()]
    assert sent == [Open(channel=1, request=TRUE), End(1, Stream.STDIN, 0)]


@pytest.mark.parametrize(
    "end",
    [
        SIGNALLED,
        JobEnd(Exited(0)),
        dataclasses.replace(END, held_open=True),
        dataclasses.replace(END, typed=0),
        dataclasses.replace(END, unread=b"x"),
        dataclasses.replace(END, usage=dataclasses.replace(USAGE, peak_memory=0)),
        dataclasses.replace(END, folder="/\udcc3\udc9f"),
        dataclasses.replace(END, folder=""),
    ],
)
def test_ends_that_do_not_fit(end: JobEnd) -> None:
    """An end of which REPLY cannot tell all goes as EXIT, behind a REPLY with the output, or behind OPENED."""
    assert not Reply.can_tell(end)
    with pytest.raises(LocalProtocolError):
        encode_control(Reply(channel=1, encoding="utf-8", end=end), 0)
    for output in (b"out", b""):
        pair = Pair()
        run(pair)
        pair.server.report_run(1, "utf-8", end, output, b"")
        answer, ended = pair.written(SERVER)
        opened = Opened(channel=1, encoding="utf-8")
        assert answer == (Reply(channel=1, encoding="utf-8", stdout=output) if output else opened)
        assert isinstance(ended, Exit)
        assert (ended.ending, ended.stdout) == (end.ending, len(output))


@pytest.mark.parametrize(
    ("end", "output"),
    [
        (dataclasses.replace(END, ending=Exited(-1)), b""),
        (dataclasses.replace(END, ending=Exited(2**32)), b""),
        (dataclasses.replace(END, usage=dataclasses.replace(USAGE, peak_memory=2**63)), b""),
        (dataclasses.replace(END, folder="x" * (MAX_CWD_BYTES + 1)), b""),
        (END, bytes(MAX_REPLY_OUTPUT_BYTES + 1)),
    ],
)
def test_values_out_of_their_bounds(end: JobEnd, output: bytes) -> None:
    """A value out of its bounds is refused before anything changes."""
    pair = Pair()
    run(pair)
    with pytest.raises(LocalProtocolError):
        pair.server.report_run(1, "utf-8", end, output, b"")
    assert pair.written(SERVER) == []
    pair.server.report_exit(1, JobEnd(Refused(RefusalReason.NOT_PERMITTED, "no")))


def test_a_folder_that_cannot_travel() -> None:
    """A folder that is neither Unicode text nor escaped bytes is refused, as by EXIT; the request is answered."""
    pair = Pair()
    run(pair)
    with pytest.raises(LocalProtocolError, match="neither Unicode text nor escaped bytes"):
        pair.server.report_run(1, "utf-8", dataclasses.replace(END, folder="\ud800"), b"out", b"")
    assert pair.written(SERVER) == [Reply(channel=1, encoding="utf-8", stdout=b"out")]


def test_texts_out_of_their_bounds() -> None:
    """A code page's name has at most 64 bytes, and a folder as many as in EXIT, at both ends."""
    named = Reply(channel=1, encoding="x" * 64)
    placed = Reply(channel=1, encoding="", end=dataclasses.replace(END, folder="x" * MAX_CWD_BYTES))
    for message in (named, placed):
        (payload,) = encode_control(message, 0)
        assert Decoder(CLIENT, Phase.SESSION).decode(payload) == (0, message)
    with pytest.raises(LocalProtocolError):
        encode_control(Reply(channel=1, encoding="x" * 65), 0)
    with pytest.raises(LocalProtocolError):
        encode_control(Run(channel=0, request=TRUE), 0)


def test_times_beyond_the_longest() -> None:
    """A time that is longer than the longest, or none, is written as EXIT writes it."""
    for wall, written in ((math.inf, MAX_TIMEOUT_MS), (-1.0, 0), (MAX_TIMEOUT_MS / 1e6, MAX_TIMEOUT_MS)):
        end = dataclasses.replace(END, usage=dataclasses.replace(USAGE, wall=wall))
        (payload,) = encode_control(Reply(channel=1, encoding="", end=end), 0)
        _, message = Decoder(CLIENT, Phase.SESSION).decode(payload)
        assert isinstance(message, Reply)
        assert message.end is not None
        assert message.end.usage is not None
        assert message.end.usage.wall == written / 1e6


def test_a_job_that_goes_on() -> None:
    """A job whose first output is told, and not its end, is an ordinary job from then on."""
    pair = Pair()
    run(pair)
    assert pair.server.room(1, STDOUT) == 0
    pair.server.accept(1, "gbk", b"out", b"errors")
    assert pair.pass_on(SERVER) == [ChannelOpened(1, "gbk", b"out", b"errors")]
    assert pair.server.room(1, STDOUT) == 4096 - 3
    pair.client.consumed(1, STDOUT, 3)
    pair.server.send_data(1, STDOUT, bytes(4093))
    pair.client.send_signal(1, "INT")
    assert pair.settle() == {
        CLIENT: [DataReceived(1, STDOUT, bytes(4093))],
        SERVER: [SignalReceived(1, "INT")],
    }
    pair.client.consumed(1, STDOUT, 4093)
    pair.settle()
    assert pair.server.unread_output(1) == 6
    pair.server.report_exit(1, END)
    assert pair.pass_on(SERVER) == [JobEnded(1, END, 4096, 6)]


def test_output_only_for_a_run() -> None:
    """The answer to OPEN takes no output."""
    pair = Pair()
    pair.open(accept=False)
    assert not pair.server.takes_reply(1)
    with pytest.raises(LocalProtocolError):
        pair.server.accept(1, "utf-8", b"out")
    pair.server.report_run(1, "utf-8", END, b"", b"")
    opened, ended = pair.written(SERVER)
    assert (type(opened), type(ended)) == (Opened, Exit)


def test_more_than_the_window_sends() -> None:
    """Nothing is sent with the answer for which a stream has no room."""
    pair = Pair()
    run(pair)
    stream = pair.server._channels[1].sends[STDOUT]
    with pytest.raises(LocalProtocolError):
        stream.count_apart(4097)
    stream.count_apart(4096)


def test_a_refused_run() -> None:
    """A RUN beyond the bound of jobs is refused with EXIT, as OPEN is."""
    pair = Pair()
    for _ in range(2):
        run(pair)
    assert pair.client.open(TRUE, has_no_input=True) == 3
    assert pair.pass_on(CLIENT) == []
    (ended,) = pair.pass_on(SERVER)
    assert isinstance(ended, JobEnded)
    assert isinstance(ended.end.ending, Refused)


def test_a_stopped_output() -> None:
    """Bytes of an output that the client has stopped are dropped, where they are and where they arrive."""
    pair = Pair()
    run(pair)
    pair.client.stop_stream(1, STDOUT)
    assert pair.pass_on(CLIENT) == [StreamStopped(1, STDOUT)]
    pair.server.report_run(1, "utf-8", END, b"out", b"errors")
    assert pair.pass_on(SERVER) == [JobEnded(1, END, 0, 6, "utf-8", b"", b"errors")]
    # They cross.
    run(pair)
    pair.server.accept(2, "utf-8", b"out")
    pair.client.stop_stream(2, STDOUT)
    assert pair.pass_on(SERVER) == [ChannelOpened(2, "utf-8")]


def test_a_close_that_crosses() -> None:
    """CLOSE and REPLY may cross: what the job wrote is dropped, and its end is told."""
    for end in (END, None):
        pair = Pair()
        run(pair)
        if end is None:
            pair.server.accept(1, "utf-8", b"out")
        else:
            pair.server.report_run(1, "utf-8", end, b"out", b"")
        pair.client.close(1)
        told = [JobEnded(1, END, 3, 0, "utf-8")] if end else []
        assert pair.pass_on(SERVER) == told
        assert pair.pass_on(CLIENT) == ([ChannelFreed(1)] if end else [ChannelAbandoned(1)])


def test_a_close_before_the_reply() -> None:
    """A job that was closed before it was answered still has its end."""
    pair = Pair()
    run(pair)
    pair.client.close(1)
    assert pair.pass_on(CLIENT) == [ChannelAbandoned(1)]
    pair.server.report_run(1, "utf-8", END, b"", b"")
    assert pair.pass_on(SERVER) == [JobEnded(1, END, 0, 0, "utf-8")]
    assert not pair.server.has_channels


def test_run_closes_a_channel_that_goes_on() -> None:
    """The channel that RUN closes may be one whose job has not ended, as with CLOSE."""
    pair = Pair()
    run(pair)
    assert pair.hear(SERVER, Run(channel=2, request=TRUE, closes=1)) == [
        ChannelAbandoned(1),
        ChannelRequested(2, TRUE, has_no_input=True),
    ]


def test_behind_messages_that_wait() -> None:
    """What is told while messages wait for an acknowledgement waits with them, and arrives once, in order."""
    pair = Pair(SessionLimits(window=4096, max_channels=MAX_UNACKNOWLEDGED + 2))
    for _ in range(MAX_UNACKNOWLEDGED + 2):
        run(pair)
        pair.settle()
    for channel in range(1, MAX_UNACKNOWLEDGED + 1):
        pair.server.report_run(channel, "utf-8", END, b"x", b"")
    pair.server.accept(MAX_UNACKNOWLEDGED + 1, "utf-8", b"out")
    assert pair.server._outbox.blocked
    assert pair.server.room(MAX_UNACKNOWLEDGED + 1, STDOUT) == 0
    pair.server.report_run(MAX_UNACKNOWLEDGED + 2, "utf-8", SIGNALLED, b"out", b"")
    assert len(pair.pass_on(SERVER)) == MAX_UNACKNOWLEDGED
    pair.pass_on(CLIENT)
    assert [event for event in pair.pass_on(SERVER) if not isinstance(event, RoomGained)] == [
        ChannelOpened(MAX_UNACKNOWLEDGED + 1, "utf-8", b"out"),
        ChannelOpened(MAX_UNACKNOWLEDGED + 2, "utf-8", b"out"),
        JobEnded(MAX_UNACKNOWLEDGED + 2, SIGNALLED, 3, 0),
    ]


def test_a_lost_reply() -> None:
    """A REPLY that was lost with its link comes again, once, and so does a RUN."""
    pair = Pair()
    pair.client.open(TRUE, has_no_input=True)
    pair.client.frames_to_send()  # lost
    resume(pair)
    assert pair.pass_on(CLIENT) == [ChannelRequested(1, TRUE, has_no_input=True)]
    pair.server.accept(1, "utf-8", b"out")
    pair.server.send_data(1, STDOUT, b"put")
    pair.server.frames_to_send()  # lost
    pair.server.link_lost()
    pair.client.link_lost()
    pair.server.report_exit(1, END)
    resume(pair)
    assert pair.pass_on(SERVER) == [
        ChannelOpened(1, "utf-8", b"out"),
        DataReceived(1, STDOUT, b"put"),
        JobEnded(1, END, 6, 0),
    ]
    resume(pair)
    assert pair.pass_on(SERVER) == []
    assert pair.written(CLIENT) == [Close(1)]


def test_output_that_arrived_is_not_repeated() -> None:
    """A resume repeats what lies behind the output in a REPLY that has arrived, and nothing of that."""
    pair = Pair()
    run(pair)
    pair.server.accept(1, "utf-8", b"out")
    pair.pass_on(SERVER)
    pair.server.send_data(1, STDOUT, b"put")
    pair.server.frames_to_send()  # lost
    resume(pair)
    assert pair.pass_on(SERVER) == [DataReceived(1, STDOUT, b"put")]


def resume(pair: Pair) -> None:
    """Resume over another link."""
    client, server = pair.client.positions(), pair.server.positions()
    pair.server.resume(client, 0.0)
    pair.client.resume(server, 0.0)


def test_a_window_that_is_too_small() -> None:
    """A REPLY with more than the window allows is a breach."""
    client, _ = log_in(SessionLimits(window=4096))
    client.open(TRUE, has_no_input=True)
    client._channels[1].receives[STDOUT]._limit = 2
    (payload,) = encode_control(Reply(channel=1, encoding="", stdout=b"out"), 0)
    with pytest.raises(RemoteProtocolError) as error:
        client.receive_frame(payload, 0.0)
    assert error.value.code is ErrorCode.FLOW_CONTROL


def test_closes_wait_for_no_longer_than_the_next_frames() -> None:
    """Each CLOSE that no RUN carries is written with the next frames, before any other control message."""
    pair = Pair()
    for _ in range(2):
        run(pair)
    for channel in (1, 2):
        pair.server.report_run(channel, "utf-8", END, b"", b"")
    pair.pass_on(SERVER)
    pair.client.open(TRUE)
    sent = pair.written(CLIENT)
    assert sent == [Close(1), Close(2), Open(channel=3, request=TRUE)]
    pair = Pair()
    for _ in range(2):
        run(pair)
    for channel in (1, 2):
        pair.server.report_run(channel, "utf-8", END, b"", b"")
    pair.pass_on(SERVER)
    pair.client.open(TRUE, has_no_input=True)
    assert pair.written(CLIENT) == [Close(1), Run(channel=3, request=TRUE, closes=2)]


def test_a_released_session_owes_nothing() -> None:
    """A session that is over has no CLOSE left to send."""
    pair = Pair()
    run(pair)
    pair.server.report_run(1, "utf-8", END, b"", b"")
    pair.pass_on(SERVER)
    pair.client.link_lost()
    pair.client.release()
    assert pair.client.frames_to_send() == []


def test_a_reply_to_open() -> None:
    """REPLY answers RUN alone."""
    pair = Pair()
    pair.open(accept=False)
    assert pair.breach(CLIENT, Reply(channel=1, encoding="utf-8")) is ErrorCode.CHANNEL_STATE
