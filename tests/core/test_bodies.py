"""Declarations, and the two forms of a body."""

from __future__ import annotations

import json

import pytest

from twisted_rsh.core.bodies import BOTH, CLIENT, SERVER, JsonMessage, Message
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_JSON_COMMAND,
    MAX_JSON_COMMAS,
    MAX_JSON_ESCAPES,
    MAX_NUMBER_CHARACTERS,
)
from twisted_rsh.core.messages import MESSAGES, Close, Goodbye, Open, Opened, Signal
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role

OPENED = b'{"channel":1,"encoding":"utf-8"}'


def test_declarations_do_not_collide() -> None:
    """Every message has a type number of its own, and at least one sender."""
    numbers = [message.declaration.number for message in MESSAGES]
    assert len(set(numbers)) == len(numbers)
    assert all(message.declaration.senders for message in MESSAGES)
    assert CLIENT | SERVER == BOTH == frozenset(Role)


def test_only_the_session_is_sequenced() -> None:
    """No message of the login has a sequence number: a login has one question and one answer."""
    assert not any(message.declaration.sequenced for message in MESSAGES if message.declaration.phase is Phase.LOGIN)


def test_bodies_are_declared_by_subclasses() -> None:
    """The base classes have no body."""
    with pytest.raises(NotImplementedError):
        Message().body()
    with pytest.raises(NotImplementedError):
        Message.parse(b"")


def test_json_is_compact() -> None:
    """A JSON body has no blanks, text as it is, bytes that are no text escaped, and no field at its default."""
    message = Open(channel=7, request=JobRequest(command="echo \N{GREEK SMALL LETTER ALPHA}\udcff\N{GRINNING FACE}"))
    expected = '{"channel":7,"command":"echo \N{GREEK SMALL LETTER ALPHA}\\udcff\N{GRINNING FACE}"}'
    assert message.body() == expected.encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"encoding":"utf-8","channel":1}',
        b' {\n"channel" : 1,\t"encoding":"\\u0075tf-8"}\r\n',
        b'{"channel":1,"encoding":"utf-8","later":{"a":[null,true,-1,"x"]}}',
    ],
    ids=["order", "blanks and escapes", "unknown member"],
)
def test_json_is_read_generously_where_it_is_unambiguous(body: bytes) -> None:
    """Order, blanks, escapes and unknown members make no difference."""
    assert Opened.parse(body) == Opened(channel=1, encoding="utf-8")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"{}",
        OPENED + b"x",
        OPENED + OPENED,
        b"\xef\xbb\xbf" + OPENED,
        b'{"channel":1,"encoding":"\xff"}',
        b'{"channel":1,"encoding":"\xed\xb2\x80"}',
        b'{"channel":1,"encoding":null}',
        b'{"channel":1.0,"encoding":"utf-8"}',
        b'{"channel":1e0,"encoding":"utf-8"}',
        b'{"channel":true,"encoding":"utf-8"}',
        b'{"channel":"1","encoding":"utf-8"}',
        b'{"channel":0,"encoding":"utf-8"}',
        b'{"channel":4294967296,"encoding":"utf-8"}',
        b'{"channel":1,"channel":1,"encoding":"utf-8"}',
        b'{"channel":1,"encoding":"utf-8","later":NaN}',
        b'{"channel":1,"encoding":"utf-8","later":-Infinity}',
        b'{"channel":1,"encoding":"utf-8","later":0.5}',
        b'{"channel":1,"encoding":"utf-8","later":{"a":1,"a":1}}',
        b'{"channel":1,"encoding":"utf-8","later":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"channel":1,"encoding":"utf-8","later":' + b"9" * 10_000 + b"}",
        "{}".encode("utf-16"),
    ],
)
def test_json_is_refused_where_it_is_not(body: bytes) -> None:
    """F-10: a body that is not one object with the right members is a ``FieldError``, never another exception."""
    with pytest.raises(FieldError):
        Opened.parse(body)


HEAD = b'{"channel":1,"encoding":"utf-8","later":'
"""The beginning of an OPENED with a member that no version knows."""


@pytest.mark.parametrize(
    ("at_the_bound", "beyond"),
    [
        (b"[" * 63 + b"]" * 63, b"[" * 64 + b"]" * 64),
        (b"[" + b",".join([b"{}"] * 62) + b"]", b"[" + b",".join([b"{}"] * 63) + b"]"),
        (b"[" + b"0," * (MAX_JSON_COMMAS - 2) + b"0]", b"[" + b"0," * (MAX_JSON_COMMAS - 1) + b"0]"),
        (b'["' + b'","' * (MAX_JSON_COMMAS - 2) + b'"]', b'["' + b'","' * (MAX_JSON_COMMAS - 1) + b'"]'),
        (b"1" * MAX_NUMBER_CHARACTERS, b"1" * (MAX_NUMBER_CHARACTERS + 1)),
        (b'"' + rb"\n" * MAX_JSON_ESCAPES + b'"', b'"' + rb"\n" * (MAX_JSON_ESCAPES + 1) + b'"'),
        (b'"' + rb"\\" * MAX_JSON_ESCAPES + b'"', b'"' + rb"\\" * (MAX_JSON_ESCAPES + 1) + b'"'),
    ],
    ids=["depth", "objects", "items", "texts", "digits", "escapes", "backslashes"],
)
def test_what_json_may_cost(at_the_bound: bytes, beyond: bytes) -> None:
    """Size, count and depth of a body are bounded before it is parsed, also in members that are ignored."""
    assert Opened.parse(HEAD + at_the_bound + b"}") == Opened(channel=1, encoding="utf-8")
    with pytest.raises(FieldError):
        Opened.parse(HEAD + beyond + b"}")


@pytest.mark.parametrize(
    "text", ["," * 10_000, "[{" * 1000, '"[,' * 5000, '\\"[,' * 5000, '\\[,"\\\\"' * 5000, "\n[,\u4e2d\udcff" * 1000]
)
def test_text_counts_as_text(text: str) -> None:
    """Commas, brackets, quotes and backslashes within a text count for nothing but their escapes."""
    message = Open(channel=1, request=JobRequest(argv=(text, "x" * 5000, text)))
    assert Open.parse(message.body()) == message


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"[]," * 250_000 + b"0}",
        HEAD + b'"' + b'","' * 250_000 + b'"}',
        HEAD + b'"' + rb"\"" * 800_000 + b'"}',
        HEAD + b"[" * 800_000,
        HEAD + b"9" * 800_000 + b"}",
    ],
    ids=["lists", "texts", "escapes", "depth", "digits"],
)
def test_a_costly_body_is_not_parsed(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond a bound is refused by counting alone; a number, by its length."""
    converted: list[str] = []
    monkeypatch.setattr("twisted_rsh.core.bodies.int", converted.append, raising=False)
    if not body.startswith(HEAD + b"9"):
        monkeypatch.setattr("twisted_rsh.core.bodies.json.loads", converted.append)
    with pytest.raises(FieldError):
        Opened.parse(body)
    assert converted in ([], ["1"])


def test_a_sender_keeps_the_bounds() -> None:
    """What a receiver would not take is not sent."""
    for request in (
        JobRequest(argv=("x",) * (MAX_JSON_COMMAS + 2)),
        JobRequest(argv=("\0" * (MAX_JSON_ESCAPES + 1),)),
    ):
        with pytest.raises(FieldError):
            Open(channel=1, request=request).body()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "\n",
        "\0",
        "'\"\\",
        "\N{CJK UNIFIED IDEOGRAPH-4E2D}",
        "\udcff",
        "a\udcff",
        "\udcc3",
        "\udca9\udce2",
        "\xe9\udcff",
        "\udcf4a\udc80",
    ],
)
def test_a_long_command_stands_behind_the_object(text: str) -> None:
    """A command of any text takes as many bytes as it has, and arrives as it is."""
    command = text * (MAX_JSON_COMMAND // len(text) + 1)
    message = Open(channel=1, request=JobRequest(command=command))
    body = message.body()
    assert body == b'{"channel":1,"command":""}\0' + command.encode("utf-8", "surrogateescape")
    assert Open.parse(body) == message


def test_escaped_bytes_that_are_text_together() -> None:
    """A command that would arrive as another one stands in the object."""
    message = Open(channel=1, request=JobRequest(command="\udcc3\udca9" * MAX_JSON_COMMAND))
    assert b"\0" not in message.body()
    assert Open.parse(message.body()) == message


def test_a_long_command_that_is_neither_text_nor_bytes() -> None:
    """A long command with half of a surrogate pair cannot be sent, as a short one cannot."""
    for length in (1, MAX_JSON_COMMAND):
        with pytest.raises(FieldError, match="neither Unicode text nor escaped bytes"):
            Open(channel=1, request=JobRequest(command="\ud800" + "x" * length)).body()


def test_members_with_a_default_may_be_missing_but_not_null() -> None:
    """A member may be left out, but not be ``null`` instead."""
    assert Open.parse(b'{"channel":1,"command":"x"}') == Open(channel=1, request=JobRequest(command="x"))
    with pytest.raises(FieldError):
        Open.parse(b'{"channel":1,"command":"x","cwd":null}')


def test_each_json_message_knows_its_members() -> None:
    """The declaration lists the fields in the order in which they are written."""
    message = Signal(channel=1, signal="HUP")
    assert [member.name for member in Signal.record.listed()] == list(json.loads(message.body()))
    assert all(hasattr(declared, "record") for declared in MESSAGES if issubclass(declared, JsonMessage))


@pytest.mark.parametrize("body", [b"", b"\0\0\1", b"\0\0\0\1\0", b"\0\0\0\0"])
def test_packed_bodies_have_one_size(body: bytes) -> None:
    """F-10: a body that is too short, too long or out of range is a ``FieldError``, never a ``struct.error``."""
    with pytest.raises(FieldError):
        Close.parse(body)


def test_text_may_be_empty() -> None:
    """A goodbye needs no words."""
    assert Goodbye.parse(Goodbye(text="").body()) == Goodbye(text="")
