"""One ordinary value of every message."""

from __future__ import annotations

from tests.core.pair import CLAIM, SESSION_ID
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import Exited, JobEnd, ResourceUsage
from twisted_rsh.core.messages import (
    MESSAGES,
    Ack,
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
    Reply,
    Resize,
    Resume,
    ResumeFail,
    ResumeOk,
    Run,
    Signal,
    Stop,
    Suspended,
    Unavailable,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import ShellState

__all__ = ["SAMPLES"]

_ALL: list[Message] = [
    CLAIM,
    AuthOk(session=SESSION_ID, instance="one run", window=4096, max_channels=2),
    AuthFail(),
    Resume(session=SESSION_ID, attempt=1, proof=bytes(32), positions=Positions(0)),
    ResumeOk(proof=bytes(32), positions=Positions(0)),
    ResumeFail(instance="one run"),
    Unavailable(text="full"),
    Data(1, Stream.STDIN, 0, b"data"),
    Credit(1, Stream.STDOUT, 4096, 1024),
    Ack(0),
    Ping(0),
    Pong(0),
    Part(b"piece"),
    Open(channel=1, request=JobRequest(command="true")),
    Opened(channel=1, encoding="utf-8"),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=False),
    End(1, Stream.STDIN, 0),
    Stop(1, Stream.STDOUT),
    Signal(channel=1, signal="INT"),
    Close(1),
    Goodbye(text=""),
    Resize(1, 80, 24),
    Suspended(channel=1, signal="STOP"),
    Inspect(1),
    Inspected(channel=1, state=ShellState(folder="/", waits_for_input=False, jobs=())),
    Run(channel=1, request=JobRequest(command="true")),
    Reply(
        channel=1,
        encoding="utf-8",
        stdout=b"out",
        end=JobEnd(Exited(0), usage=ResourceUsage(wall=1.0, user=0.0, system=0.0, peak_memory=None)),
    ),
]

SAMPLES: dict[type[Message], Message] = {type(message): message for message in _ALL}
"""One ordinary value of every message."""

assert set(SAMPLES) == set(MESSAGES)
