"""DATA, CREDIT and END take the fast path to a listener, and what it does is what the slow one does."""

from __future__ import annotations

import gc
import struct
import weakref

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import encode
from twisted_rsh.core.errors import LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import DataReceived, RoomGained, StreamEnded
from twisted_rsh.core.fast_path import encode_credit, encode_data
from twisted_rsh.core.limits import MAX_DATA_BYTES, MAX_OFFSET
from twisted_rsh.core.messages import Credit, Data, End, Part, Stop
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
WINDOW = SMALL.window


class Listener:
    """A job that notes what reaches it.

    :ivar heard: that, as the events of the long way.
    """

    def __init__(self, channel: int) -> None:
        self.heard: list[object] = []
        self._channel = channel

    def data_received(self, stream: Stream, data: bytes) -> None:
        """Note."""
        self.heard.append(DataReceived(self._channel, stream, data))

    def room_gained(self, stream: Stream) -> None:
        """Note."""
        self.heard.append(RoomGained(self._channel, stream))

    def stream_ended(self, stream: Stream) -> None:
        """Note."""
        self.heard.append(StreamEnded(self._channel, stream))


class Ways:
    """A pair of sessions with one running channel; the client may have a listener on it."""

    def __init__(self, *, is_short: bool) -> None:
        self.pair = Pair()
        self.channel = self.pair.open()
        self.listener = Listener(self.channel)
        if is_short:
            self.pair.client.listen(self.channel, self.listener)

    def hear(self, payload: bytes) -> object:
        """Have the client take a frame; return what it leads to."""
        events: list[object]
        try:
            events = list(self.pair.client.receive_frame(payload, 0.0))
        except RemoteProtocolError as error:
            return str(error)
        heard, self.listener.heard = self.listener.heard, []
        return events + heard

    def state(self) -> object:
        """Return what the client would tell at a resume, and what it has to send."""
        return self.pair.client.positions(), self.pair.client.frames_to_send()


def data(offset: int, size: int, stream: int = STDOUT, channel: int = 1) -> bytes:
    """Return DATA, legal or not."""
    return Data.declaration.number.to_bytes(1, "big") + Data.layout.pack(channel, stream, offset) + bytes(size)


def credit(limit: int, consumed: int = 0, stream: int = STDIN, channel: int = 1) -> bytes:
    """Return CREDIT, legal or not."""
    return struct.pack("!BIBQQ", Credit.declaration.number, channel, stream, limit, consumed)


def end(size: int = 0, stream: int = STDOUT, channel: int = 1, sequence: int = 1) -> bytes:
    """Return END, legal or not."""
    return struct.pack("!BQIBQ", End.declaration.number, sequence, channel, stream, size)


@pytest.mark.parametrize(
    "payload",
    [
        data(0, 1),
        data(0, WINDOW),
        data(0, WINDOW + 1),
        data(0, 0),
        data(0, MAX_DATA_BYTES + 1),
        data(1, 1),
        data(0, 1, STDERR),
        data(0, 1, STDIN),
        data(0, 1, 3),
        data(0, 1, channel=2),
        data(0, 1, channel=0),
        data(2**64 - 1, 1),
        data(0, 1)[:13],
        credit(WINDOW),
        credit(WINDOW + 1),
        credit(WINDOW + 10),
        credit(WINDOW + 11),
        credit(0),
        credit(WINDOW + 1, stream=STDOUT),
        credit(WINDOW + 1, stream=3),
        credit(WINDOW + 1, channel=9),
        credit(MAX_OFFSET + 1),
        credit(WINDOW + 5, 5),
        credit(WINDOW + 11, 11),
        credit(WINDOW + 1, MAX_OFFSET + 1),
        credit(2**30, 5),
        credit(WINDOW + 1) + b"x",
        credit(WINDOW + 1)[:-1],
        end(),
        end(size=1),
        end(stream=STDERR),
        end(stream=STDIN),
        end(stream=3),
        end(channel=9),
        end(sequence=0),
        end(sequence=2),
        end(size=2**64 - 1),
        end() + b"x",
        end()[:-1],
        end()[:9],
        b"",
        b"\xff",
    ],
    ids=range(42),
)
def test_both_ways_lead_to_the_same(payload: bytes) -> None:
    """Any frame has the same effect, or is the same breach, with a listener as without one."""
    ways = [Ways(is_short=is_short) for is_short in (False, True)]
    for way in ways:
        way.pair.client.send_data(way.channel, STDIN, bytes(10))
    one, other = [way.hear(payload) for way in ways]
    assert one == other
    assert ways[0].state() == ways[1].state()


@pytest.mark.parametrize("kind", [End, Stop])
def test_behind_the_end_of_a_stream(kind: type[End | Stop]) -> None:
    """Data behind the end of its stream is a breach, and data that is not wanted is dropped, with a listener too."""
    outcomes = []
    for is_short in (False, True):
        way = Ways(is_short=is_short)
        if kind is End:
            way.pair.hear(CLIENT, End(way.channel, STDOUT, 0))
        else:
            way.pair.client.stop_stream(way.channel, STDOUT)
        outcomes.append((way.hear(data(0, 5)), way.state()))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == ([] if kind is Stop else "stream-state: data after the end of its stream")


def test_nothing_is_an_event_on_the_fast_path() -> None:
    """A listener gets what is usual, and no event tells it again."""
    way = Ways(is_short=True)
    way.pair.client.send_data(way.channel, STDIN, bytes(10))
    assert way.pair.client.receive_frame(data(0, 3), 0.0) == []
    assert way.pair.client.receive_frame(credit(WINDOW + 1), 0.0) == []
    assert way.pair.client.receive_frame(end(3), 0.0) == []
    assert way.listener.heard == [
        DataReceived(way.channel, STDOUT, bytes(3)),
        RoomGained(way.channel, STDIN),
        StreamEnded(way.channel, STDOUT),
    ]
    assert way.pair.client.positions().controls == 2


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_second_end(is_wanted: bool) -> None:
    """A second END is a breach, and END of a stream that is not wanted is dropped, with a listener too."""
    outcomes = []
    for is_short in (False, True):
        way = Ways(is_short=is_short)
        if not is_wanted:
            way.pair.client.stop_stream(way.channel, STDOUT)
        outcomes.append([way.hear(end()), way.hear(end(sequence=2)), way.state()])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][:2] == [
        [StreamEnded(1, STDOUT)] if is_wanted else [],
        "stream-state: a second end of one stream",
    ]


def test_an_end_behind_parts() -> None:
    """END that completes the body of PARTs goes the long way."""
    way = Ways(is_short=True)
    way.pair.hear(CLIENT, Part(b"x"))
    assert "malformed" in str(way.hear(end(sequence=2)))


def test_input_before_the_answer() -> None:
    """Input that comes before the server has answered takes the fast path too."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.pass_on(CLIENT)
    listener = Listener(channel)
    pair.server.listen(channel, listener)
    pair.client.send_data(channel, STDIN, b"in")
    pair.client.end_stream(channel, STDIN)
    assert pair.pass_on(CLIENT) == []
    assert listener.heard == [DataReceived(channel, STDIN, b"in"), StreamEnded(channel, STDIN)]


def test_behind_a_goodbye() -> None:
    """Nothing goes to a listener when one side has left."""
    way = Ways(is_short=True)
    way.pair.client.goodbye("")
    assert way.hear(data(0, 1)) == []
    other = Ways(is_short=True)
    other.pair.server.goodbye("")
    other.pair.settle()
    assert "after GOODBYE" in str(other.hear(data(0, 1)))


def test_a_listener_is_forgotten() -> None:
    """The session keeps no job whose channel is over, nor any behind `listen_no_more`."""
    closed, lost = Ways(is_short=True), Ways(is_short=True)
    closed.pair.client.close(closed.channel)
    lost.pair.client.listen_no_more()
    for way in (closed, lost):
        reference = weakref.ref(way.listener)
        del way.listener
        gc.collect()
        assert reference() is None


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        (Data(7, STDERR, 5, b"x"), encode_data(7, STDERR, 5, b"x")),
        (Data(1, STDIN, MAX_OFFSET, bytes(9)), encode_data(1, STDIN, MAX_OFFSET, bytes(9))),
        (Credit(2**32 - 1, STDOUT, MAX_OFFSET, 5), encode_credit(2**32 - 1, STDOUT, MAX_OFFSET, 5)),
    ],
)
def test_the_bytes_are_the_messages(message: Message, payload: bytes) -> None:
    """The fast path writes what the declared message writes."""
    assert payload == encode(message)


def test_what_cannot_be_said() -> None:
    """An offset that the protocol has no number for is not sent."""
    with pytest.raises(LocalProtocolError):
        encode_data(1, STDIN, MAX_OFFSET + 1, b"x")
    with pytest.raises(LocalProtocolError):
        encode_credit(1, STDIN, MAX_OFFSET + 1, 0)
