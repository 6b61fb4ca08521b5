"""Every message, at its bounds and one past them: logging in, resuming, jobs, streams and upkeep."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.strategies import positions
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import encode
from twisted_rsh.core.endings import Exited, Limit, LimitReached, ResourceUsage, Stopped
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_CHANNELS,
    MAX_CWD_BYTES,
    MAX_DATA_BYTES,
    MAX_DETACH_SECONDS,
    MAX_JOB_COMMAND_BYTES,
    MAX_LISTED_JOBS,
    MAX_LOGIN_FRAME_BYTES,
    MAX_OFFSET,
    MAX_PART_BYTES,
    MAX_REFUSED_CHANNELS,
    MAX_SUBSYSTEM_BYTES,
    MAX_TERM_BYTES,
    MAX_TERMINAL_MODES,
    MAX_TERMINAL_SIZE,
    MAX_TEXT_BYTES,
    MAX_TIMEOUT_MS,
    MAX_USER_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    SESSION_ID_BYTES,
)
from twisted_rsh.core.messages import (
    Ack,
    Auth,
    AuthFail,
    AuthOk,
    Close,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Inspect,
    Inspected,
    Open,
    Opened,
    Part,
    Ping,
    Pong,
    Positions,
    Resize,
    Resume,
    ResumeFail,
    ResumeOk,
    Signal,
    Stop,
    Suspended,
)
from twisted_rsh.core.requests import MODE_NAMES, Grace, JobRequest, Keep, Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import BackgroundJob, JobState, ShellState

PROPERTY = settings(derandomize=True, deadline=None, max_examples=300)
MOST_CHANNELS = MAX_CHANNELS + MAX_REFUSED_CHANNELS
OUT = Stream.STDOUT
BASH = "bash"
NO_TEXT = "\ud800"
ALL_MODES = tuple((name, 255) for name in sorted(MODE_NAMES))
NOTHING = ResourceUsage(wall=0, user=0, system=0, peak_memory=0)
LONGEST_JOB = BackgroundJob(2**31 - 1, JobState.STOPPED, "\udcff" * MAX_JOB_COMMAND_BYTES)


# Logging in.


def auth(**fields: Any) -> Auth:
    """Return an AUTH with some fields changed."""
    return Auth(**{"user": "alice", "algorithm": "ssh-ed25519", "key": b"k", "signature": b"s", **fields})


def auth_ok(**fields: Any) -> AuthOk:
    """Return an AUTH_OK with some fields changed."""
    facts = {"session": bytes(SESSION_ID_BYTES), "instance": "i", "window": MIN_WINDOW, "max_channels": 1}
    return AuthOk(**{**facts, **fields})


@pytest.mark.parametrize(
    "message",
    [
        auth(user="x" * MAX_USER_BYTES),
        auth(algorithm="x" * 64),
        auth(key=bytes(MAX_LOGIN_FRAME_BYTES)),
        auth(signature=bytes(MAX_LOGIN_FRAME_BYTES)),
        auth_ok(),
        auth_ok(window=MAX_WINDOW, max_channels=MAX_CHANNELS, detach_seconds=MAX_DETACH_SECONDS, instance="x" * 64),
        AuthFail(),
    ],
)
def test_a_login_at_the_bound(message: Auth | AuthOk | AuthFail) -> None:
    """A message of the login at its bounds travels."""
    assert type(message).parse(message.body()) == message


@pytest.mark.parametrize(
    "message",
    [
        auth(user="x" * (MAX_USER_BYTES + 1)),
        auth(user="\udcff"),
        auth(algorithm="x" * 65),
        auth(key=bytes(MAX_LOGIN_FRAME_BYTES + 1)),
        auth(signature=bytes(MAX_LOGIN_FRAME_BYTES + 1)),
        auth_ok(session=bytes(SESSION_ID_BYTES - 1)),
        auth_ok(session=bytes(SESSION_ID_BYTES + 1)),
        auth_ok(instance="x" * 65),
        auth_ok(window=MIN_WINDOW - 1),
        auth_ok(window=MAX_WINDOW + 1),
        auth_ok(max_channels=0),
        auth_ok(detach_seconds=-1),
        auth_ok(detach_seconds=MAX_DETACH_SECONDS + 1),
        auth_ok(max_channels=MAX_CHANNELS + 1),
    ],
)
def test_a_login_one_past_the_bound(message: Auth | AuthOk) -> None:
    """A message of the login one past its bounds cannot be sent."""
    with pytest.raises(FieldError):
        message.body()


def test_a_refusal_has_no_body() -> None:
    """A-09: every refusal is the same single byte, so it gives nothing away."""
    assert encode(AuthFail()) == b"\x03"
    with pytest.raises(FieldError):
        AuthFail.parse(b"\0")


def test_the_largest_key_that_is_accepted_fits() -> None:
    """An AUTH with RSA of 8192 bits (key blob 1,049 bytes, signature 1,044) and the longest user name fits a frame."""
    longest = auth(user="x" * MAX_USER_BYTES, algorithm="rsa-sha2-512", key=bytes(1049), signature=bytes(1044))
    assert len(encode(longest)) <= MAX_LOGIN_FRAME_BYTES


def test_the_answer_always_fits() -> None:
    """F-13: no AUTH_OK is longer than a login frame may be."""
    longest = auth_ok(window=MAX_WINDOW, max_channels=MAX_CHANNELS, instance="\0" * 64)
    assert len(encode(longest)) <= MAX_LOGIN_FRAME_BYTES


# Resuming.


def listed(count: int, streams: int) -> Positions:
    """Return positions of so many channels."""
    return Positions(0, tuple((number, (MAX_OFFSET,) * streams) for number in range(1, count + 1)))


def resume(**fields: Any) -> Resume:
    """Return a RESUME with some fields changed."""
    return Resume(**{"session": bytes(16), "attempt": 1, "proof": bytes(32), "positions": Positions(0), **fields})


@pytest.mark.parametrize(
    "said",
    [
        Positions(0),
        Positions(MAX_OFFSET, ((1, (0, 0)),)),
        Positions(1, ((MAX_CHANNEL_ID - 1, (1, 2)), (MAX_CHANNEL_ID, (0, MAX_OFFSET)))),
        listed(MOST_CHANNELS, 2),
    ],
)
def test_positions_at_the_bound(said: Positions) -> None:
    """Positions at their bounds travel."""
    assert Positions.unpack(said.pack(), 2) == said


@pytest.mark.parametrize(
    "said",
    [
        Positions(-1),
        Positions(MAX_OFFSET + 1),
        Positions(0, ((0, (0, 0)),)),
        Positions(0, ((MAX_CHANNEL_ID + 1, (0, 0)),)),
        Positions(0, ((1, (0, -1)),)),
        Positions(0, ((1, (MAX_OFFSET + 1, 0)),)),
        Positions(0, ((2, (0, 0)), (1, (0, 0)))),
        Positions(0, ((1, (0, 0)), (1, (0, 0)))),
        listed(MOST_CHANNELS + 1, 2),
    ],
)
def test_positions_one_past_the_bound(said: Positions) -> None:
    """Positions one past their bounds cannot be packed."""
    with pytest.raises(FieldError):
        said.pack()


@pytest.mark.parametrize("size", [0, 7, 9, 27, 29])
def test_no_whole_number_of_channels(size: int) -> None:
    """F-10: packed positions have a count and whole rows, or are a ``FieldError``."""
    with pytest.raises(FieldError):
        Positions.unpack(bytes(size), 2)


@pytest.mark.parametrize("streams", [1, 2])
def test_packed_positions_are_reversible(streams: int) -> None:
    """F-11: packing and unpacking are inverse, also for bytes that a peer made up."""

    @PROPERTY
    @given(said=positions(streams), noise=st.binary(max_size=70))
    def check(said: Positions, noise: bytes) -> None:
        assert Positions.unpack(said.pack(), streams) == said
        with contextlib.suppress(FieldError):
            assert Positions.unpack(noise, streams).pack() == noise

    check()


@pytest.mark.parametrize(
    "message",
    [
        resume(session=bytes(15)),
        resume(proof=bytes(31)),
        resume(attempt=0),
        resume(attempt=MAX_OFFSET + 1),
        resume(positions=Positions(0, ((1, (0,)),))),
        ResumeOk(proof=bytes(33), positions=Positions(0)),
        ResumeOk(proof=bytes(32), positions=Positions(0, ((1, (0, 0)),))),
        ResumeFail(instance="x" * 65),
    ],
)
def test_a_resume_one_past_the_bound(message: Resume | ResumeOk | ResumeFail) -> None:
    """F-13: a message of a resume one past its bounds cannot be sent."""
    with pytest.raises(LocalProtocolError):
        encode(message)


@pytest.mark.parametrize(
    "message",
    [
        resume(attempt=MAX_OFFSET),
        resume(positions=listed(MOST_CHANNELS, 2)),
        ResumeOk(proof=bytes(32), positions=listed(MOST_CHANNELS, 1)),
        ResumeFail(instance="x" * 64),
    ],
)
def test_the_longest_resume_fits_a_login_frame(message: Resume | ResumeOk | ResumeFail) -> None:
    """F-02, F-13: the messages of a resume travel and fit a frame with as many channels as a session can have."""
    payload = encode(message)
    assert len(payload) <= MAX_LOGIN_FRAME_BYTES
    assert type(message).parse(payload[1:]) == message


@pytest.mark.parametrize("message", [resume(positions=listed(2, 2)), ResumeOk(proof=bytes(32), positions=listed(2, 1))])
def test_a_cut_resume(message: Resume | ResumeOk) -> None:
    """F-10: a message of a resume that is cut can be read only where a channel ends."""
    body = message.body()
    whole = {
        len(body) - len(message.positions.pack()) + 8 + n * (4 + 8 * len(message.positions.streams[0][1]))
        for n in (0, 1)
    }
    for size in range(len(body)):
        if size not in whole:
            with pytest.raises(FieldError):
                type(message).parse(body[:size])


# Jobs, streams and upkeep.

AT_THE_BOUND: list[Message] = [
    Data(1, OUT, 0, b"x"),
    Data(MAX_CHANNEL_ID, Stream.STDERR, MAX_OFFSET, b"x" * MAX_DATA_BYTES),
    Credit(1, Stream.STDIN, 0, 0),
    Credit(MAX_CHANNEL_ID, Stream.STDERR, MAX_OFFSET, MAX_OFFSET),
    Ack(0),
    Ack(MAX_OFFSET),
    Ping(0),
    Ping(MAX_OFFSET),
    Pong(0),
    Pong(MAX_OFFSET),
    Part(b"x"),
    Part(b"x" * MAX_PART_BYTES),
    Open(channel=1, request=JobRequest(command="")),
    Open(channel=MAX_CHANNEL_ID, request=JobRequest(argv=("",), cwd="", environment=(("", ""),), timeout=0.001)),
    Open(channel=1, request=JobRequest(command="x", timeout=MAX_TIMEOUT_MS / 1000)),
    Open(channel=1, request=JobRequest(shell="", terminal=Terminal(columns=1, rows=1))),
    Open(
        channel=1,
        request=JobRequest(argv=("x",), terminal=Terminal(term="", columns=MAX_TERMINAL_SIZE, rows=MAX_TERMINAL_SIZE)),
    ),
    Open(
        channel=1,
        request=JobRequest(
            command="x", terminal=Terminal(term="x" * MAX_TERM_BYTES, modes=ALL_MODES, separate_stderr=True)
        ),
    ),
    Open(channel=2, request=JobRequest(command="", in_shell=1, timeout=0.001, max_output=0)),
    Open(channel=MAX_CHANNEL_ID, request=JobRequest(command="x", in_shell=MAX_CHANNEL_ID, max_output=MAX_OFFSET)),
    Open(channel=1, request=JobRequest(command="x", max_output=0, max_cpu=0.001, max_memory=0)),
    Open(
        channel=1,
        request=JobRequest(shell=BASH, max_output=MAX_OFFSET, max_cpu=MAX_TIMEOUT_MS / 1000, max_memory=MAX_OFFSET),
    ),
    Open(channel=1, request=JobRequest(command="x", on_disconnect=Grace(0.0))),
    Open(channel=1, request=JobRequest(shell="", on_disconnect=Grace(MAX_TIMEOUT_MS / 1000))),
    Open(channel=1, request=JobRequest(argv=("x",), on_disconnect=Keep())),
    Open(channel=1, request=JobRequest(subsystem="x" * MAX_SUBSYSTEM_BYTES)),
    Opened(channel=1, encoding="x" * 64),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=MAX_OFFSET, held_open=True),
    Exit(channel=1, ending=LimitReached(Limit.MEMORY, MAX_OFFSET), stdout=0, stderr=0, held_open=False, usage=NOTHING),
    Exit(channel=1, ending=Stopped("TSTP"), stdout=0, stderr=0, held_open=False),
    End(1, OUT, 0),
    End(MAX_CHANNEL_ID, OUT, MAX_OFFSET),
    Stop(1, Stream.STDIN),
    Stop(MAX_CHANNEL_ID, Stream.STDERR),
    Signal(channel=1, signal="HUP"),
    Close(1),
    Close(MAX_CHANNEL_ID),
    Goodbye(text="x" * MAX_TEXT_BYTES),
    Resize(1, 1, 1),
    Resize(MAX_CHANNEL_ID, MAX_TERMINAL_SIZE, MAX_TERMINAL_SIZE),
    Suspended(channel=1),
    Suspended(channel=MAX_CHANNEL_ID, signal="TTOU"),
    Open(channel=1, request=JobRequest(shell="", startup_files=True)),
    Open(channel=1, request=JobRequest(command="x", in_shell=1, aside=True)),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=False, folder="x" * MAX_CWD_BYTES),
    Inspect(1),
    Inspect(MAX_CHANNEL_ID),
    Inspected(channel=1, state=ShellState()),
    Inspected(channel=1, state=ShellState(folder="x" * MAX_CWD_BYTES, jobs=(), unlisted=MAX_OFFSET)),
    Inspected(channel=1, state=ShellState(jobs=(LONGEST_JOB,) * MAX_LISTED_JOBS)),
]


@pytest.mark.parametrize("message", AT_THE_BOUND, ids=lambda message: repr(message)[:60])
def test_at_the_bound(message: Message) -> None:
    """A message of a session at its bounds travels."""
    assert type(message).parse(message.body()) == message


ONE_PAST: list[Message] = [
    Data(0, OUT, 0, b"x"),
    Data(MAX_CHANNEL_ID + 1, OUT, 0, b"x"),
    Data(1, 3, 0, b"x"),  # type: ignore[arg-type]  # no such stream
    Data(1, OUT, -1, b"x"),
    Data(1, OUT, MAX_OFFSET + 1, b"x"),
    Data(1, OUT, 0, b""),
    Data(1, OUT, 0, b"x" * (MAX_DATA_BYTES + 1)),
    Credit(0, OUT, 0, 0),
    Credit(MAX_CHANNEL_ID + 1, OUT, 0, 0),
    Credit(1, 3, 0, 0),  # type: ignore[arg-type]  # no such stream
    Credit(1, OUT, MAX_OFFSET + 1, 0),
    Credit(1, OUT, -1, 0),
    Credit(1, OUT, 0, MAX_OFFSET + 1),
    Credit(1, OUT, 0, -1),
    Ack(-1),
    Ack(MAX_OFFSET + 1),
    Ping(MAX_OFFSET + 1),
    Pong(MAX_OFFSET + 1),
    Part(b""),
    Part(b"x" * (MAX_PART_BYTES + 1)),
    Opened(channel=1, encoding="x" * 65),
    Opened(channel=0, encoding="x"),
    Opened(channel=MAX_CHANNEL_ID + 1, encoding="x"),
    Exit(channel=1, ending=Exited(0), stdout=MAX_OFFSET + 1, stderr=0, held_open=False),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=-1, held_open=False),
    Open(channel=1, request=JobRequest(command="\ud800")),
    Open(channel=1, request=JobRequest(shell=NO_TEXT)),
    Open(channel=1, request=JobRequest(command="x", in_shell=0)),
    Open(channel=1, request=JobRequest(command="x", in_shell=MAX_CHANNEL_ID + 1)),
    Open(channel=1, request=JobRequest(command="x", max_output=-1)),
    Open(channel=1, request=JobRequest(command="x", max_output=MAX_OFFSET + 1)),
    Open(channel=1, request=JobRequest(command="x", max_memory=-1)),
    Open(channel=1, request=JobRequest(command="x", on_disconnect=Grace((-1) / 1000))),
    Open(channel=1, request=JobRequest(command="x", max_memory=MAX_OFFSET + 1)),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(columns=0))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(columns=MAX_TERMINAL_SIZE + 1))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(rows=-1))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(rows=MAX_TERMINAL_SIZE + 1))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(term="x" * (MAX_TERM_BYTES + 1)))),
    Open(channel=1, request=JobRequest(subsystem="x" * (MAX_SUBSYSTEM_BYTES + 1))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(term="\udcff"))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(modes=(("B9600", 1),)))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(modes=(("VINTR", 256),)))),
    Open(channel=1, request=JobRequest(command="x", terminal=Terminal(modes=(("VINTR", -1),)))),
    Open(
        channel=1, request=JobRequest(command="x", terminal=Terminal(modes=(("ECHO", 1),) * (MAX_TERMINAL_MODES + 1)))
    ),
    Exit(channel=1, ending=Stopped("RTMIN"), stdout=0, stderr=0, held_open=False),
    Exit(channel=1, ending=LimitReached(Limit.CPU, -1), stdout=0, stderr=0, held_open=False),
    Exit(channel=1, ending=LimitReached(Limit.CPU, MAX_OFFSET + 1), stdout=0, stderr=0, held_open=False),
    Exit(
        channel=1,
        ending=Exited(0),
        stdout=0,
        stderr=0,
        held_open=False,
        usage=ResourceUsage(wall=0, user=0, system=0, peak_memory=-1),
    ),
    Resize(0, 80, 24),
    Resize(MAX_CHANNEL_ID + 1, 80, 24),
    Resize(1, 0, 24),
    Resize(1, 80, 0),
    Resize(1, -80, 24),
    Resize(1, 80, -24),
    Resize(1, MAX_TERMINAL_SIZE + 1, 24),
    Resize(1, 80, MAX_TERMINAL_SIZE + 1),
    End(0, OUT, 0),
    End(1, 3, 0),  # type: ignore[arg-type]  # no such stream
    End(1, OUT, MAX_OFFSET + 1),
    Stop(0, OUT),
    Stop(1, 3),  # type: ignore[arg-type]  # no such stream
    Signal(channel=1, signal="SIGHUP"),
    Suspended(channel=0, signal="STOP"),
    Suspended(channel=MAX_CHANNEL_ID + 1),
    Suspended(channel=1, signal="SIGSTOP"),
    Suspended(channel=1, signal=""),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=False, folder="x" * (MAX_CWD_BYTES + 1)),
    Inspect(0),
    Inspect(MAX_CHANNEL_ID + 1),
    Inspected(channel=0, state=ShellState()),
    Inspected(channel=1, state=ShellState(folder="x" * (MAX_CWD_BYTES + 1))),
    Inspected(channel=1, state=ShellState(jobs=(LONGEST_JOB,) * (MAX_LISTED_JOBS + 1))),
    Inspected(channel=1, state=ShellState(jobs=(replace(LONGEST_JOB, pid=0),))),
    Inspected(channel=1, state=ShellState(jobs=(replace(LONGEST_JOB, pid=2**31),))),
    Inspected(channel=1, state=ShellState(jobs=(replace(LONGEST_JOB, command="x" * (MAX_JOB_COMMAND_BYTES + 1)),))),
    Inspected(channel=1, state=ShellState(unlisted=-1)),
    Close(0),
    Close(MAX_CHANNEL_ID + 1),
    Goodbye(text="x" * (MAX_TEXT_BYTES + 1)),
]


@pytest.mark.parametrize("message", ONE_PAST, ids=lambda message: repr(message)[:60])
def test_one_past_the_bound_is_not_written(message: Message) -> None:
    """F-13: a message of a session one past its bounds cannot be sent."""
    with pytest.raises(FieldError):
        message.body()


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (Data, Data.layout.pack(0, 1, 0) + b"x"),
        (Data, Data.layout.pack(1, 3, 0) + b"x"),
        (Data, Data.layout.pack(1, 1, MAX_OFFSET + 1) + b"x"),
        (Data, Data.layout.pack(1, 1, 2**64 - 1) + b"x"),
        (Data, Data.layout.pack(1, 1, 0)),
        (Data, Data.layout.pack(1, 1, 0)[:-1]),
        (Data, b""),
        (Data, Data.layout.pack(1, 1, 0) + b"x" * (MAX_DATA_BYTES + 1)),
        (Credit, Credit.layout.struct.pack(1, 255, 0, 0)),
        (Credit, Credit.layout.struct.pack(1, 1, 2**64 - 1, 0)),
        (Credit, Credit.layout.struct.pack(1, 1, 0, 2**64 - 1)),
        (Ack, Ack.layout.struct.pack(MAX_OFFSET + 1)),
        (Ping, Ping.layout.struct.pack(MAX_OFFSET + 1)),
        (Pong, Pong.layout.struct.pack(2**64 - 1)),
        (Part, b""),
        (Part, b"x" * (MAX_PART_BYTES + 1)),
        (End, End.layout.struct.pack(1, 1, MAX_OFFSET + 1)),
        (Stop, Stop.layout.struct.pack(1, 3)),
        (Close, Close.layout.struct.pack(0)),
        (Resize, Resize.layout.struct.pack(0, 80, 24)),
        (Resize, Resize.layout.struct.pack(1, 0, 24)),
        (Resize, Resize.layout.struct.pack(1, 80, 0)),
        (Resize, Resize.layout.struct.pack(1, 80, 24)[:-1]),
        (Resize, Resize.layout.struct.pack(1, 80, 24) + b"\0"),
        (Suspended, b"{}"),
        (Suspended, b'{"signal":"STOP"}'),
        (Suspended, b'{"channel":1,"signal":null}'),
        (Suspended, b'{"channel":1,"signal":19}'),
        (Suspended, b'{"channel":1,"signal":"SIGSTOP"}'),
        (Inspect, Inspect.layout.struct.pack(0)),
        (Inspect, Inspect.layout.struct.pack(1) + b"\0"),
        (Inspected, b"{}"),
        (Inspected, b'{"channel":1,"folder":null}'),
        (Inspected, b'{"channel":1,"waits_for_input":0}'),
        (Inspected, b'{"channel":1,"jobs":[{"pid":1,"state":"running"}]}'),
        (Inspected, b'{"channel":1,"jobs":[{"pid":1,"state":"asleep","command":""}]}'),
        (Inspected, b'{"channel":1,"jobs":{}}'),
        (Inspected, b'{"channel":1,"unlisted":true}'),
        (Open, b'{"channel":1,"command":"x","startup_files":true}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"startup_files":true}'),
        (Open, b'{"channel":1,"command":"x","aside":true}'),
        (Open, b'{"channel":1,"shell":"","aside":true}'),
        (Open, b'{"channel":1,"shell":"","startup_files":1}'),
        (Open, b'{"channel":1}'),
        (Open, b'{"channel":1,"command":"x","shell":""}'),
        (Open, b'{"channel":1,"argv":["x"],"in_shell":1}'),
        (Open, b'{"channel":1,"shell":"x","in_shell":1}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"cwd":""}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"environment":{"A":"1"}}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"max_cpu_ms":1}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"max_memory":0}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"grace_ms":0}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"keep":true}'),
        (Open, b'{"channel":1,"command":"x","grace_ms":0,"keep":true}'),
        (Open, b'{"channel":1,"command":"x","keep":1}'),
        (Open, b'{"channel":1,"command":"x","terminal":{}}'),
        (Open, b'{"channel":1,"argv":[]}'),
        (Open, b'{"channel":1,"argv":["x"],"command":"x"}'),
        (Open, b'{"channel":1,"command":"x","timeout_ms":0}'),
        (Open, b'{"channel":1,"command":"x","timeout_ms":%d}' % (MAX_TIMEOUT_MS + 1)),
        (Open, b'{"channel":1,"command":"x","max_cpu_ms":0}'),
        (Open, b'{"channel":1,"command":"x","max_cpu_ms":%d}' % (MAX_TIMEOUT_MS + 1)),
        (Open, b'{"channel":1,"command":"x","grace_ms":-1}'),
        (Open, b'{"channel":1,"command":"x","grace_ms":%d}' % (MAX_TIMEOUT_MS + 1)),
        (Open, b'{"channel":1,"command":"x","environment":{"A":1}}'),
        (Open, b'{"channel":1,"command":"x","environment":{"A":"1","A":"2"}}'),
        (Signal, b'{"channel":1,"signal":"KIL"}'),
    ],
)
def test_one_past_the_bound_is_not_read(message: type[Message], body: bytes) -> None:
    """F-10: a body one past its bounds, from a peer, is a ``FieldError`` and nothing else."""
    with pytest.raises(FieldError):
        message.parse(body)


def test_a_terminal_has_room_for_more() -> None:
    """Members that a later version adds to a terminal, a usage or an ending are ignored."""
    terminal = '{"later":[null,{"a":-1}],"term":"x","columns":1,"rows":2,"modes":{"ECHO":0},"separate_stderr":true}'
    body = f'{{"channel":1,"command":"x","terminal":{terminal}}}'.encode()
    expected = Terminal(term="x", columns=1, rows=2, modes=(("ECHO", 0),), separate_stderr=True)
    assert Open.parse(body) == Open(channel=1, request=JobRequest(command="x", terminal=expected))
    usage = '{"wall_us":1500000,"user_us":1,"system_us":0,"peak_memory":4096,"later":"x"}'
    ending = '{"kind":"stopped","signal":"TSTP","later":1}'
    body = f'{{"channel":1,"ending":{ending},"stdout":0,"stderr":0,"held_open":false,"usage":{usage}}}'.encode()
    took = ResourceUsage(wall=1.5, user=0.000001, system=0.0, peak_memory=4096)
    assert Exit.parse(body) == Exit(channel=1, ending=Stopped("TSTP"), stdout=0, stderr=0, held_open=False, usage=took)
