"""R-13: the worst legal frame of every type costs little more than to parse its JSON, which takes a millisecond."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.core.pair import CLAIM
from tests.core.samples import SAMPLES
from twisted_rsh.core.bodies import JsonMessage, Message
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.errors import RemoteProtocolError
from twisted_rsh.core.limits import MAX_DATA_BYTES, MAX_FRAME_BYTES, MAX_LOGIN_FRAME_BYTES, MAX_PART_BYTES
from twisted_rsh.core.messages import MESSAGES, Data, Part
from twisted_rsh.core.roles import Phase, Role, Stream

pytestmark = pytest.mark.exhaustive

MAX_RATIO = 60
"""The time that a frame may take, in times of Python's own parser on the same machine at the same moment.  Measured:
4.5, which is 3.3 ms for 64 KiB of empty objects and 0.2 ms before the login, and 20 while coverage is measured.  A
decoder whose time grows with the square of the frame would take a thousand."""

TRIES = 8
"""Measurements of each frame; the quickest counts, so that a busy machine does not matter."""


def padded(message: Message, filler: bytes, limit: int) -> bytes:
    """Return the longest payload of a JSON message, filled up with unknown members."""
    payload = encode_control(message, 0)[0] if message.declaration.sequenced else encode(message)
    head, body = payload[: len(payload) - len(message.body())], message.body()
    opening = body[:-1] + (b"," if len(body) > 2 else b"") + b'"unknown":'
    room = limit - len(head) - len(opening) - 3
    piece = (filler * (room // len(filler)))[:room].rsplit(b",", 1)[0]
    return head + opening + b"[" + piece + b"]}"


FILLERS = {
    "numbers": b"1,",
    "long numbers": b"9" * 1000 + b",",
    "texts": b'"x",',
    "escapes": b'"' + b"\\u0041" * 100 + b'",',
    "objects": b"{},",
    "members": b'{"a":1,"b":2},',
    "lists": b"[],",
}
"""Pieces that a JSON body can be filled with."""


def worst(message: Message) -> list[bytes]:
    """Return the payloads of a message that take longest to read."""
    if isinstance(message, Data):
        return [encode(Data(1, Stream.STDIN, 0, bytes(MAX_DATA_BYTES)))]
    if isinstance(message, Part):
        return [encode_control(Part(bytes(MAX_PART_BYTES)), 0)[0]]
    if not isinstance(message, JsonMessage):
        return [encode_control(message, 0)[0] if message.declaration.sequenced else encode(message)]
    limit = MAX_LOGIN_FRAME_BYTES if message.declaration.phase is Phase.LOGIN else MAX_FRAME_BYTES
    return [padded(message, filler, limit) for filler in FILLERS.values()]


def cost(act: Callable[..., object], *arguments: object) -> float:
    """Return the least number of seconds that a call takes."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.process_time()
        act(*arguments)
        best = min(best, time.process_time() - began)
    return best


BASELINE = json.dumps([1] * (MAX_FRAME_BYTES // 3)).encode()
"""The text whose parsing a frame without JSON is compared with: as long as a frame can be."""


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_frame(kind: type[Message]) -> None:
    """R-13: the worst frame of a type is read in a small multiple of the time that its text alone takes."""
    sender = next(role for role in Role if role in kind.declaration.senders)
    for payload in worst(SAMPLES[kind]):
        decoder = Decoder(sender.peer, kind.declaration.phase)
        text = payload[payload.index(b"{") :] if issubclass(kind, JsonMessage) else BASELINE
        assert cost(is_taken, decoder, payload) < MAX_RATIO * cost(json.loads, text)


def is_taken(decoder: Decoder, payload: bytes) -> bool:
    """Decode a payload; tell whether it is legal."""
    try:
        decoder.decode(payload)
    except RemoteProtocolError:
        return False
    return True


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_nested_frame(opening: bytes) -> None:
    """R-13: a frame that is nested as deep as it is long takes no longer."""
    payload = b"\x21" + bytes(8) + opening * (MAX_FRAME_BYTES // len(opening) - 9)
    assert cost(is_taken, Decoder(Role.SERVER, Phase.SESSION), payload) < MAX_RATIO * cost(json.loads, BASELINE)


def test_the_worst_frames_are_as_long_as_they_may_be() -> None:
    """The measured frames fill a frame."""
    for payload in worst(CLAIM):
        assert MAX_LOGIN_FRAME_BYTES // 2 < len(payload) <= MAX_LOGIN_FRAME_BYTES
        assert isinstance(json.loads(payload[1:]), dict)
