"""Fuzz targets for logins, resumes and sessions, whose frames are cut out of a fuzzer's bytes."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import ChannelAbandoned, ChannelRequested, DataReceived
from twisted_rsh.core.limits import MIN_WINDOW, SessionLimits
from twisted_rsh.core.login import ClientLogin, ClientResume, ServerLogin
from twisted_rsh.core.messages import (
    MESSAGES,
    Auth,
    AuthOk,
    Close,
    Credit,
    Data,
    End,
    Exit,
    Open,
    Opened,
    Ping,
    Positions,
    Resume,
    ResumeFail,
    ResumeOk,
    Signal,
    Unavailable,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.session import Session

__all__ = [
    "CLIENT_SEEDS",
    "SERVER_SEEDS",
    "client_login",
    "client_resume",
    "client_session",
    "server_login",
    "server_session",
]

LIMITS = SessionLimits(window=MIN_WINDOW, max_channels=2)
"""Limits that a few frames reach."""

_AUTH = Auth(user="alice", algorithm="ssh-ed25519", key=b"key", signature=b"signature")
_RESUME = Resume(session=bytes(16), attempt=1, proof=bytes(32), positions=Positions(1, ((1, (2, 3)),)))
_SEQUENCED = {message.declaration.number for message in MESSAGES if message.declaration.sequenced}
_LENGTH = struct.Struct("!H")
_NUMBER = struct.Struct("!Q")


def joined(*payloads: bytes) -> bytes:
    """Join payloads so that :func:`frames` cuts them apart again."""
    return b"".join(_LENGTH.pack(len(payload)) + payload for payload in payloads)


def frames(data: bytes) -> Iterator[bytes]:
    """Cut bytes into payloads, each after two bytes of length."""
    while len(data) >= _LENGTH.size:
        (size,) = _LENGTH.unpack_from(data)
        yield data[_LENGTH.size : _LENGTH.size + size]
        data = data[_LENGTH.size + size :]


def server_login(data: bytes) -> None:
    """Let a server read the frames of a client that logs in or resumes."""
    login = ServerLogin()
    with contextlib.suppress(RemoteProtocolError):
        for payload in frames(data):
            if isinstance(login.receive_frame(payload), Auth):
                login.refuse()
            else:
                login.refuse_resume("x")


def client_login(data: bytes) -> None:
    """Let a client read the answers of a server."""
    login = ClientLogin(LIMITS)
    with contextlib.suppress(RemoteProtocolError):
        for payload in frames(data):
            login.ask(_AUTH)
            if login.receive_frame(payload, 0.0) is not None:
                return


def client_resume(data: bytes) -> None:
    """Let a client read the answer to its resume."""
    resume = ClientResume()
    resume.ask(_RESUME)
    with contextlib.suppress(RemoteProtocolError):
        for payload in frames(data):
            resume.receive_frame(payload)


def _hear(session: Session, payload: bytes) -> bytes:
    # A fuzzer does not find the next sequence number, without which no frame after the first would be read.
    if payload[:1] and payload[0] in _SEQUENCED and len(payload) >= 1 + _NUMBER.size and payload[1] != 0xFF:
        return payload[:1] + _NUMBER.pack(session.positions().controls) + payload[1 + _NUMBER.size :]
    return payload


def server_session(data: bytes) -> None:
    """Let a server's session read frames; it accepts every job, consumes all input, and ends abandoned jobs."""
    session = ServerSession(LIMITS, 0.0)
    with contextlib.suppress(RemoteProtocolError):
        for payload in frames(data):
            for event in session.receive_frame(_hear(session, payload), 0.0):
                match event:
                    case ChannelRequested(channel=channel):
                        session.accept(channel, "utf-8")
                        session.send_data(channel, Stream.STDOUT, b"x" * session.room(channel, Stream.STDOUT))
                    case DataReceived(channel=channel, stream=stream, data=piece):
                        session.consumed(channel, stream, len(piece))
                    case ChannelAbandoned(channel=channel):
                        session.report_exit(channel, JobEnd(Exited(0)))
            session.frames_to_send()


def client_session(data: bytes) -> None:
    """Let a client's session, which has opened two jobs, read frames."""
    session = ClientSession(LIMITS, 0.0)
    with contextlib.suppress(RemoteProtocolError):
        for _ in range(2):
            channel = session.open(JobRequest(command="true"))
            session.send_data(channel, Stream.STDIN, b"x")
        for payload in frames(data):
            for event in session.receive_frame(_hear(session, payload), 0.0):
                match event:
                    case DataReceived(channel=channel, stream=stream, data=piece):
                        with contextlib.suppress(LocalProtocolError):
                            session.consumed(channel, stream, len(piece))
            session.frames_to_send()


def _control(*messages: Exit | Opened | Open | Signal | Close | End) -> Iterator[bytes]:
    return (encode_control(message, 0)[0] for message in messages)


SERVER_SEEDS = (
    joined(encode(_AUTH)),
    joined(encode(_RESUME)),
    joined(
        *_control(Open(channel=1, request=JobRequest(command="true"))),
        encode(Data(1, Stream.STDIN, 0, b"data")),
        encode(Credit(1, Stream.STDOUT, 8192, 0)),
        encode(Ping(1)),
        *_control(Signal(channel=1, signal="INT"), End(1, Stream.STDIN, 4), Close(1)),
    ),
)
"""Frames of clients."""

CLIENT_SEEDS = (
    joined(encode(AuthOk(session=bytes(16), instance="x", window=4096, max_channels=4))),
    joined(encode(ResumeOk(proof=bytes(32), positions=Positions(1, ((1, (2,)),))))),
    joined(encode(ResumeFail(instance="x"))),
    joined(encode(Unavailable(text="x"))),
    joined(
        *_control(Opened(channel=1, encoding="utf-8")),
        encode(Data(1, Stream.STDOUT, 0, b"data")),
        *_control(
            End(1, Stream.STDOUT, 4),
            End(1, Stream.STDERR, 0),
            Exit(channel=1, ending=Exited(0), stdout=4, stderr=0, held_open=False),
        ),
    ),
)
"""Frames of servers."""
