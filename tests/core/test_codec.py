"""Payloads: the messages that each role may receive in each phase, and no others."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.samples import SAMPLES
from tests.core.strategies import OF_EACH
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_CONTROL_BYTES, MAX_FRAME_BYTES, MAX_JSON_COMMAND, MAX_PART_BYTES
from twisted_rsh.core.messages import MESSAGES, Close, Data, Goodbye, Open, Part, Reply, Run
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role, Stream

STATES = list(itertools.product(Role, Phase))
PROPERTY = settings(derandomize=True, deadline=None, max_examples=300)


def payloads_of(message: Message, sequence: int = 0) -> list[bytes]:
    """Return the payloads of a message."""
    return encode_control(message, sequence) if message.declaration.sequenced else [encode(message)]


def decode_all(decoder: Decoder, payloads: list[bytes]) -> Message:
    """Decode payloads; return the last message."""
    return [decoder.decode(payload)[1] for payload in payloads][-1]


def receivers(message: type[Message]) -> list[tuple[Role, Phase]]:
    """Return where a message may arrive."""
    return [(sender.peer, message.declaration.phase) for sender in Role if sender in message.declaration.senders]


@pytest.mark.parametrize(("role", "phase"), STATES)
def test_an_empty_frame(role: Role, phase: Phase) -> None:
    """F-01: a frame of no bytes is a breach in every state."""
    with pytest.raises(RemoteProtocolError) as error:
        Decoder(role, phase).decode(b"")
    assert error.value.code is ErrorCode.FRAME_SIZE


@pytest.mark.parametrize(("role", "phase"), STATES)
def test_every_type_in_every_state(role: Role, phase: Phase) -> None:
    """F-09: every byte value as type is known in a state by its declaration, or is a breach.

    S-02, S-03, S-04: so it is for every message of the session before the login, for the server's own from a client,
    and for the client's own from a server.
    """
    legal = {message.declaration.number: message for message in MESSAGES if (role, phase) in receivers(message)}
    for number, body in itertools.product(range(256), (b"", b"\0" * 8, b"\0" * 8 + b"{}", b"\xff" * 40)):
        decoder = Decoder(role, phase)
        payload = bytes([number]) + body
        if number not in legal:
            with pytest.raises(RemoteProtocolError) as error:
                decoder.decode(payload)
            assert error.value.code is ErrorCode.UNEXPECTED_MESSAGE
            continue
        try:
            _, message = decoder.decode(payload)
        except RemoteProtocolError as breach:
            assert breach.code is ErrorCode.MALFORMED_MESSAGE
        else:
            assert type(message) is legal[number]


# pytest-twisted wraps a Hypothesis test anew for every parameter, which works only once; hence the inner functions.


@pytest.mark.parametrize("message", MESSAGES)
def test_encode_and_decode_are_inverse(message: type[Message]) -> None:
    """F-11: encode then decode is the identity for every message, wherever it may arrive."""

    @PROPERTY
    @given(value=OF_EACH[message], sequence=st.integers(0, 2**63))
    def check(value: Message, sequence: int) -> None:
        for role, phase in receivers(message):
            payloads = payloads_of(value, sequence)
            assert decode_all(Decoder(role, phase), payloads) == value
            expected = sequence if message.declaration.sequenced else None
            assert Decoder(role, phase).decode(payloads[0])[0] == expected

    check()


@pytest.mark.parametrize(("role", "phase"), STATES)
def test_random_bytes(role: Role, phase: Phase) -> None:
    """F-11: decoding random bytes raises our error and no other."""
    types = st.sampled_from([message.declaration.number for message in MESSAGES])
    typed = st.builds(lambda number, body: bytes([number]) + body, types, st.binary(max_size=80))

    @PROPERTY
    @given(payloads=st.lists(st.one_of(st.binary(max_size=80), typed), max_size=4))
    def check(payloads: list[bytes]) -> None:
        decoder = Decoder(role, phase)
        with contextlib.suppress(RemoteProtocolError):
            for payload in payloads:
                decoder.decode(payload)

    check()


@pytest.mark.parametrize(("role", "phase"), STATES)
def test_mutated_messages(role: Role, phase: Phase) -> None:
    """F-11: decoding a message with some bytes changed, cut off, repeated or added raises our error and no other."""
    arriving = st.one_of(*[values for message, values in OF_EACH.items() if (role, phase) in receivers(message)])
    pieces = st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"{", b"}", b"\\ud800", b"1e9", b"null", b"\\"]))

    @PROPERTY
    @given(message=arriving, data=st.data())
    def check(message: Message, data: st.DataObject) -> None:
        payload = bytearray(payloads_of(message)[-1])
        for _ in range(data.draw(st.integers(1, 4))):
            where = data.draw(st.integers(0, len(payload)))
            payload[where : where + data.draw(st.integers(0, 3))] = data.draw(pieces)
        with contextlib.suppress(RemoteProtocolError):
            Decoder(role, phase).decode(bytes(payload))

    check()


@pytest.mark.parametrize("message", [message for message in MESSAGES if message.declaration.sequenced])
@pytest.mark.parametrize("size", range(8))
def test_a_cut_sequence_number(message: type[Message], size: int) -> None:
    """F-10: a frame that ends within its sequence number is malformed."""
    role, phase = receivers(message)[0]
    with pytest.raises(RemoteProtocolError) as error:
        Decoder(role, phase).decode(bytes([message.declaration.number]) + b"\0" * size)
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE


@pytest.mark.parametrize("message", [message for message in MESSAGES if message not in (Data, Part, Run, Reply)])
def test_trailing_bytes(message: type[Message]) -> None:
    """F-10: one byte behind the last field is a breach, except where the last field is the rest."""
    value = SAMPLES[message]
    role, phase = receivers(message)[0]
    payload = payloads_of(value)[0]
    assert Decoder(role, phase).decode(payload)[1] == value
    for tail in (b"\0", b"x", b"}"):
        with pytest.raises(RemoteProtocolError) as error:
            Decoder(role, phase).decode(payload + tail)
        assert error.value.code is ErrorCode.MALFORMED_MESSAGE


SERVER = (Role.SERVER, Phase.SESSION)


def longest_open(size: int) -> Open:
    """Return an OPEN whose body has this many bytes."""
    command = size - len(Open(channel=1, request=JobRequest(command="")).body())
    if command > MAX_JSON_COMMAND:
        command -= 1  # a zero byte stands before it
    return Open(channel=1, request=JobRequest(command="x" * command))


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (100, 1),
        (MAX_PART_BYTES, 1),
        (MAX_PART_BYTES + 1, 2),
        (2 * MAX_PART_BYTES, 2),
        (2 * MAX_PART_BYTES + 1, 3),
        (MAX_CONTROL_BYTES, 58),
    ],
)
def test_long_messages_travel_in_parts(size: int, count: int) -> None:
    """F-13: a message that no frame can carry is cut, and no frame is too long."""
    message = longest_open(size)
    payloads = encode_control(message, 5)
    assert len(payloads) == count
    assert max(map(len, payloads)) <= MAX_FRAME_BYTES
    decoder = Decoder(*SERVER)
    decoded = [decoder.decode(payload) for payload in payloads]
    assert [sequence for sequence, _ in decoded] == list(range(5, 5 + count))
    assert decoded[-1][1] == message
    assert decoder.decode(encode_control(Close(1), 0)[0])[1] == Close(1)


def test_the_longest_message() -> None:
    """The longest message can be sent, and one of a byte more cannot."""
    with pytest.raises(LocalProtocolError) as error:
        encode_control(longest_open(MAX_CONTROL_BYTES + 1), 0)
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE


def test_the_longest_message_again_and_again() -> None:
    """The bound holds for one message: the messages before it do not count."""
    decoder, message = Decoder(*SERVER), longest_open(MAX_CONTROL_BYTES)
    for _ in range(3):
        assert decode_all(decoder, encode_control(message, 0)) == message


def test_parts_of_too_long_a_message() -> None:
    """Parts are accepted up to the longest message; one byte more is a breach before it is kept."""
    decoder = Decoder(*SERVER)
    for sequence in range(MAX_CONTROL_BYTES // MAX_PART_BYTES):
        decoder.decode(encode_control(Part(b"x" * MAX_PART_BYTES), sequence)[0])
    with pytest.raises(RemoteProtocolError) as error:
        decoder.decode(encode_control(Part(b"x"), 0)[0])
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE


def test_tiny_parts_take_no_more_memory_than_their_bytes() -> None:
    """H-09: a peer makes us hold only as many bytes as it sent, however small it cuts them."""
    decoder, count = Decoder(*SERVER), 50_000
    tracemalloc.start()
    try:
        for sequence in range(count):
            decoder.decode(encode_control(Part(b"xy"), sequence)[0])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 2 * count


def test_parts_may_be_cut_anywhere() -> None:
    """A receiver accepts parts of any size, of any control message, the last piece empty if need be."""
    for message in (Goodbye(text="later"), Close(7)):
        body = message.body()
        decoder = Decoder(*SERVER)
        for sequence, byte in enumerate(body):
            assert decoder.decode(encode_control(Part(bytes([byte])), sequence)[0])[0] == sequence
        last = encode_control(message, len(body))[0][:9]
        assert decoder.decode(last) == (len(body), message)


def test_data_may_come_between_parts() -> None:
    """Data between two parts does not interrupt them."""
    message = Goodbye(text="later")
    decoder = Decoder(*SERVER)
    decoder.decode(encode_control(Part(message.body()), 0)[0])
    data = Data(1, Stream.STDIN, 0, b"x")
    assert decoder.decode(encode(data)) == (None, data)
    assert decoder.decode(encode_control(message, 1)[0][:9])[1] == message


def test_what_cannot_be_encoded_is_our_own_mistake() -> None:
    """A field out of its bounds is reported to our own caller."""
    for call in (lambda: encode(Data(0, Stream.STDIN, 0, b"x")), lambda: encode_control(Close(0), 0)):
        with pytest.raises(LocalProtocolError) as error:
            call()
        assert error.value.code is ErrorCode.MALFORMED_MESSAGE
