"""The test vectors, and a session that is made to send their messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted_rsh.core.bodies import JsonMessage, Message
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.endings import Exited, JobEnd, ResourceUsage
from twisted_rsh.core.messages import (
    MESSAGES,
    Ack,
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
    Ping,
    Pong,
    Positions,
    Reply,
    Resize,
    Run,
    Signal,
    Stop,
    Suspended,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.session import Session

__all__ = ["build", "load", "say", "wire_name"]

_HERE = Path(__file__).parent.parent / "vectors"


def load(name: str) -> Any:
    """Return the contents of a file of vectors."""
    return json.loads((_HERE / f"{name}.json").read_text("ascii"))


def wire_name(message: type[Message]) -> str:
    """Return a message's name as the protocol writes it: ``AuthOk`` is ``AUTH_OK``."""
    name = message.__name__
    return "".join(f"_{letter}" if letter.isupper() and at else letter for at, letter in enumerate(name)).upper()


BY_NAME = {wire_name(message): message for message in MESSAGES}


def build(name: str, fields: dict[str, Any]) -> Message:
    """Return the message that a vector describes by its JSON members, or by its fields with bytes in hex."""
    message: Any = BY_NAME[name]
    built: Message
    if issubclass(message, JsonMessage):
        built = message.record.read(fields)
    elif message in _OF_FIELDS:
        built = _OF_FIELDS[message](fields)
    else:
        built = message(**{field: _value(value) for field, value in fields.items()})
    return built


def _run(fields: dict[str, Any]) -> Run:
    request = JobRequest(
        command=bytes.fromhex(fields["command"]).decode("utf-8", "surrogateescape"),
        in_shell=fields["in_shell"] or None,
        timeout=fields["timeout_ms"] / 1000 or None,
        max_output=fields["max_output"] or None,
    )
    return Run(channel=fields["channel"], closes=fields["closes"], request=request)


def _reply(fields: dict[str, Any]) -> Reply:
    end = None
    if fields["has_ended"]:
        usage = ResourceUsage(
            wall=fields["wall_us"] / 1_000_000,
            user=fields["user_us"] / 1_000_000,
            system=fields["system_us"] / 1_000_000,
            peak_memory=fields["peak_memory"] or None,
        )
        folder = bytes.fromhex(fields["folder"]).decode("utf-8", "surrogateescape") or None
        end = JobEnd(Exited(fields["code"]), usage=usage, folder=folder)
    return Reply(
        channel=fields["channel"],
        encoding=bytes.fromhex(fields["encoding"]).decode(),
        stdout=bytes.fromhex(fields["stdout"]),
        stderr=bytes.fromhex(fields["stderr"]),
        end=end,
    )


_OF_FIELDS: dict[type[Message], Callable[[dict[str, Any]], Message]] = {Run: _run, Reply: _reply}
"""Makes a message whose fields are packed, and are not those of its class."""


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        streams = tuple((number, tuple(offsets)) for number, offsets in value["streams"])
        return Positions(value["controls"], streams)
    return bytes.fromhex(value) if isinstance(value, str) else value


def say(session: Session, message: Message, consumed: dict[tuple[int, int], int], now: float) -> None:
    """Let a session send a message.

    :param consumed: bytes that this session has consumed of each stream so far; kept up to date.
    """
    if isinstance(message, Data):
        session.send_data(message.channel, message.stream, message.data)
    elif isinstance(message, End):
        session.end_stream(message.channel, message.stream)
    elif isinstance(message, Stop):
        session.stop_stream(message.channel, message.stream)
    elif isinstance(message, Credit):
        key = message.channel, message.stream
        more = message.consumed - consumed.get(key, 0)
        consumed[key] = message.consumed
        session.consumed(message.channel, message.stream, more)
    elif isinstance(message, Ping):
        session.deadline_reached(now)
    elif isinstance(message, Goodbye):
        session.goodbye(message.text)
    elif isinstance(message, Ack | Pong):
        pass  # a session sends these by itself
    elif isinstance(session, ClientSession):
        _say_as_client(session, message)
    elif isinstance(session, ServerSession):
        _say_as_server(session, message)


def _say_as_client(session: ClientSession, message: Message) -> None:
    if isinstance(message, Open):
        assert session.open(message.request) == message.channel
    elif isinstance(message, Run):
        assert session.open(message.request, has_no_input=True) == message.channel
    elif isinstance(message, Signal):
        session.send_signal(message.channel, message.signal)
    elif isinstance(message, Resize):
        session.resize(message.channel, message.columns, message.rows)
    elif isinstance(message, Inspect):
        session.inspect(message.channel)
    else:
        # A client answers EXIT with CLOSE by itself.
        assert isinstance(message, Close)


def _say_as_server(session: ServerSession, message: Message) -> None:
    if isinstance(message, Opened):
        session.accept(message.channel, message.encoding)
    elif isinstance(message, Suspended):
        session.report_suspension(message.channel, message.signal)
    elif isinstance(message, Inspected):
        session.report_inspection(message.channel, message.state)
    elif isinstance(message, Reply):
        if message.end is None:
            session.accept(message.channel, message.encoding, message.stdout, message.stderr)
        else:
            session.report_run(message.channel, message.encoding, message.end, message.stdout, message.stderr)
    else:
        assert isinstance(message, Exit)
        session.report_exit(
            message.channel, JobEnd(message.ending, message.held_open, message.usage, folder=message.folder)
        )
