"""docs/protocol.rst says what the code does: its tables are read and compared."""

from __future__ import annotations

import dataclasses
import re
import struct
from pathlib import Path

import pytest

from tests.core.vectors import BY_NAME, load, wire_name
from twisted_rsh.core import limits
from twisted_rsh.core.bodies import JsonMessage, PackedMessage
from twisted_rsh.core.channel import TRANSITIONS, ChannelInput, ChannelState
from twisted_rsh.core.endings import _KINDS, ENDING, SIGNAL_NAMES, USAGE, Limit, RefusalReason
from twisted_rsh.core.errors import ErrorCode
from twisted_rsh.core.fields import (
    Binary,
    Boolean,
    Choice,
    Integer,
    Kind,
    Name,
    NativeText,
    Nullable,
    Object,
    Pairs,
    Seconds,
    Sequence,
    Text,
)
from twisted_rsh.core.messages import MESSAGES, Data
from twisted_rsh.core.requests import CONTROL_CHARACTERS, MODE_NAMES, TERMINAL
from twisted_rsh.core.roles import Role, Stream
from twisted_rsh.core.shell_state import JOB

SETS = {
    "SIGNAL_NAMES": SIGNAL_NAMES,
    "CONTROL_CHARACTERS": CONTROL_CHARACTERS,
    "MODE_FLAGS": MODE_NAMES - CONTROL_CHARACTERS,
}
"""Names that the text lists."""

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "protocol.rst").read_text("utf-8")
INPUTS = {"from client": ChannelInput.FROM_CLIENT, "from server": ChannelInput.FROM_SERVER}
JSON_KINDS = {
    "text": (Text, Name, Choice),
    "native text": (NativeText,),
    "base64": (Binary,),
    "number": (Integer, Seconds),
    "number or null": (Nullable,),
    "boolean": (Boolean,),
    "object": (type(ENDING), Object),
    "object of numbers": (Pairs,),
    "object of native text": (Pairs,),
    "list of native text": (Sequence,),
    "list of objects": (Sequence,),
}


def table(title: str) -> list[list[str]]:
    """Return the rows of the simple table of this title; a row goes on where its first column is empty."""
    lines = DOCUMENT.split(f".. table:: {title}\n\n", 1)[1].splitlines()
    columns = [match.span() for match in re.finditer("=+", lines[0])]
    columns[-1] = (columns[-1][0], 1000)
    rows: list[list[str]] = []
    for line in lines[3:]:
        if line == lines[0]:
            return rows
        cells = [line[start:end].strip() for start, end in columns]
        if cells[0]:
            rows.append(cells)
        else:
            joint = "" if title == "A session" else " "
            rows[-1] = [
                joint.join([*([before] if before else []), after]) if after else before
                for before, after in zip(rows[-1], cells, strict=True)
            ]
    raise AssertionError(f"the table {title} does not end")


def code(text: str) -> str:
    """Return the text between literal quotes."""
    return text.strip("`")


def substitution(name: str) -> str:
    """Return the text that a substitution stands for."""
    found = re.search(rf"^\.\. \|{name}\| replace:: (.*(?:\n   .*)*)", DOCUMENT, re.MULTILINE)
    assert found, name
    return " ".join(found[1].split())


def agrees(kind: Kind, name: str, meaning: str) -> None:
    """Check a member's kind against the document's word for it, and the bounds in the document against the kind's."""
    assert isinstance(kind, JSON_KINDS[name])
    most = re.search(r"at most (?:\|(\w+)\||(\d+) bytes)", meaning)
    if most:
        bound = getattr(limits, most[1]) if most[1] else int(most[2])
        assert bound in (getattr(kind, "max_bytes", None), getattr(kind, "max_items", None))
    stated = re.search(r"(\d+) to (?:\|(\w+)\||2\\ :sup:`(\d+)` - 1|(\d+))", meaning)
    if stated:
        low, named, power, plain = stated.groups()
        high = getattr(limits, named) if named else 2 ** int(power) - 1 if power else int(plain)
        number = kind.value if isinstance(kind, Pairs) else kind.units if isinstance(kind, Seconds) else kind
        assert number == Integer(int(low), high)


def test_messages() -> None:
    """The table has the type, name, sender, phase, numbering and form of every message, in order."""
    rows = [
        [
            f"0x{message.declaration.number:02x}",
            f"{wire_name(message)}_",
            "both"
            if len(message.declaration.senders) == len(Role)
            else min(r.value for r in message.declaration.senders),
            message.declaration.phase.value,
            "yes" if message.declaration.sequenced else "no",
            "JSON" if issubclass(message, JsonMessage) else "packed",
        ]
        for message in MESSAGES
    ]
    assert table("Messages") == rows


@pytest.mark.parametrize("message", [message for message in MESSAGES if issubclass(message, JsonMessage)])
def test_members(message: type[JsonMessage]) -> None:
    """The table of a JSON message has every member, in order: its kind, and whether it is required."""
    rows = table(wire_name(message))
    members = message.record.listed()
    assert [code(row[0]) for row in rows] == [member.name for member in members]
    for row, member in zip(rows, members, strict=True):
        assert row[2] == ("yes" if member.default is dataclasses.MISSING else "no")
        agrees(member.kind, row[1], row[3])


@pytest.mark.parametrize(("title", "shape"), [("Terminal", TERMINAL), ("Usage", USAGE), ("Background job", JOB)])
def test_objects(title: str, shape: Object) -> None:
    """The table of an object within a body has every member, in order, and its kind."""
    rows = table(title)
    assert [code(row[0]) for row in rows] == list(shape.members)
    for row, (_, kind) in zip(rows, shape.members.values(), strict=True):
        agrees(kind, row[1], row[2])


@pytest.mark.parametrize("message", [message for message in MESSAGES if issubclass(message, PackedMessage | Data)])
def test_layouts(message: type[PackedMessage | Data]) -> None:
    """The table of a packed message has every field, in order, with its size."""
    rows = table(wire_name(message))
    sizes = {"Q": "8", "I": "4", "H": "2", "B": "1"}
    layout = message.layout if isinstance(message.layout, struct.Struct) else message.layout.struct
    expected = [sizes[letter] for letter in layout.format.removeprefix("!")]
    if message is Data:
        expected.append("the rest")
    fields = [field.name for field in dataclasses.fields(message)]  # type: ignore[arg-type]  # each of them is a dataclass
    assert [(code(row[0]), row[1]) for row in rows] == list(zip(fields, expected, strict=True))


def test_the_rest_of_the_bodies() -> None:
    """The document says that PART is one piece, and that AUTH_FAIL is empty."""
    assert [row[:2] for row in table("PART")] == [["``piece``", "the rest"]]
    assert "AUTH_FAIL\n~~~~~~~~~\n\nThe body is empty.\n" in DOCUMENT
    tabled = set(re.findall(r"^\.\. table:: ([A-Z_]+)$", DOCUMENT, re.MULTILINE))
    assert tabled == BY_NAME.keys() - {"AUTH_FAIL"}


def test_channel_states() -> None:
    """Every state and input leads where the table of the code says."""
    rows = table("Channel states")
    head = DOCUMENT.split(".. table:: Channel states\n\n", 1)[1].splitlines()[1]
    inputs = [
        INPUTS[name] if name in INPUTS else ChannelInput(name)
        for name in re.findall(r"from client|from server|[A-Z]+", head.replace("State", ""))
    ]
    assert inputs == list(ChannelInput)
    assert [row[0] for row in rows] == [state.value for state in ChannelState]
    for state, row in zip(ChannelState, rows, strict=True):
        for event, cell in zip(inputs, row[1:], strict=True):
            after = TRANSITIONS.get((state, event))
            assert cell == ("breach" if after is None else after.value)


def test_constants() -> None:
    """The table has every constant, with its value."""
    rows = {code(row[0]): int(row[1]) for row in table("Constants")}
    assert rows == {name: getattr(limits, name) for name in limits.__all__ if name.isupper()}


def test_numbers_in_the_text() -> None:
    """Every number that the text takes from a constant has the constant's value."""
    names = set(re.findall(r"^\.\. \|(\w+)\|", DOCUMENT, re.MULTILINE))
    body = DOCUMENT.split("\n.. |", 1)[0]
    assert set(re.findall(r"\|([A-Z_]+)\|", body)) == names
    for name in names - SETS.keys() - {"KEEPALIVE_INTERVAL", "KEEPALIVE_MISSES"}:
        assert substitution(name).removesuffix(" bytes") == str(getattr(limits, name))
    for name, members in SETS.items():
        assert substitution(name) == ", ".join(sorted(members))
    defaults = limits.SessionLimits()
    assert float(substitution("KEEPALIVE_INTERVAL")) == defaults.keepalive_interval
    assert int(substitution("KEEPALIVE_MISSES")) == defaults.keepalive_misses
    assert f"such intervals, {defaults.keepalive_interval * defaults.keepalive_misses:g} s" in DOCUMENT


def test_errors() -> None:
    """The table has every kind of breach."""
    assert [code(row[0]) for row in table("Error codes")] == [error.value for error in ErrorCode]


def test_endings() -> None:
    """The tables have every kind of ending with its members, every limit, and every reason of a refusal."""
    rows = {code(row[0]): re.findall(r"``(\w+)``", row[1]) for row in table("Endings")}
    assert rows == {kind: list(shape.members) for kind, shape in _KINDS.items()}
    assert [code(row[0]) for row in table("Limits")] == [limit.value for limit in Limit]
    assert [code(row[0]) for row in table("Refusal reasons")] == [reason.value for reason in RefusalReason]


def test_the_session() -> None:
    """The worked example agrees with the vector, row by row."""
    steps = load("session")["steps"]
    for row, step in zip(table("A session"), steps, strict=True):
        payload = step["payload"]
        assert row[:3] == [step["sender"][0].upper(), step["name"], str(len(payload) // 2)]
        start, _, end = row[3].partition("...")
        assert payload == start if not end else payload.startswith(start) and payload.endswith(end)


def test_streams() -> None:
    """The text gives each stream its number."""
    words = {"input": Stream.STDIN, "output": Stream.STDOUT, "error": Stream.STDERR}
    for word, stream in words.items():
        assert f"standard {word} ({int(stream)})" in DOCUMENT
