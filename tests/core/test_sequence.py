"""Control messages: numbered, held back, acknowledged."""

from __future__ import annotations

import itertools

import pytest

from twisted_rsh.core.codec import Decoder
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import ACKNOWLEDGE_EVERY, MAX_CONTROL_BYTES, MAX_PART_BYTES, MAX_UNACKNOWLEDGED
from twisted_rsh.core.messages import Close, Open
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.core.sequence import ControlInbox, ControlOutbox


def new_outbox() -> ControlOutbox:
    """Return an outbox that has numbered nothing."""
    return ControlOutbox(itertools.count())


def fill(outbox: ControlOutbox, count: int) -> list[bytes]:
    """Put `count` messages in; return what may be sent."""
    return [payload for number in range(count) for payload in outbox.put(Close(number + 1))]


def numbers(payloads: list[bytes]) -> list[int | None]:
    """Return the sequence numbers of payloads."""
    decoder = Decoder(Role.SERVER, Phase.SESSION)
    return [decoder.decode(payload)[0] for payload in payloads]


def test_numbers_start_at_zero_and_grow_by_one() -> None:
    """Every payload has the next number."""
    assert numbers(fill(new_outbox(), 3)) == [0, 1, 2]


def test_the_bound_and_one_past_it() -> None:
    """64 messages may be under way; the 65th waits for an acknowledgement and then goes out."""
    outbox = new_outbox()
    assert len(fill(outbox, MAX_UNACKNOWLEDGED)) == MAX_UNACKNOWLEDGED
    assert outbox.waiting == 0
    assert outbox.put(Close(1)) == []
    assert outbox.blocked
    assert outbox.waiting == 1
    assert len(outbox.log) == MAX_UNACKNOWLEDGED
    assert numbers(outbox.acknowledge(1)) == [64]
    assert outbox.waiting == 0
    assert len(outbox.log) == MAX_UNACKNOWLEDGED


def test_messages_never_overtake_each_other() -> None:
    """While some messages wait, a new one waits behind them even if there is room for it."""
    outbox = new_outbox()
    fill(outbox, MAX_UNACKNOWLEDGED + 3)
    released = outbox.acknowledge(2)
    assert numbers(released) == [64, 65]
    assert outbox.put(Close(1)) == []
    assert numbers(outbox.acknowledge(MAX_UNACKNOWLEDGED)) == [66, 67]


def test_acknowledgements_are_cumulative() -> None:
    """An acknowledgement that is repeated or late changes nothing; one of a message never sent is a breach."""
    outbox = new_outbox()
    fill(outbox, 10)
    assert outbox.acknowledge(7) == []
    assert len(outbox.log) == 3
    assert outbox.acknowledge(7) == outbox.acknowledge(3) == outbox.acknowledge(0) == []
    assert len(outbox.log) == 3
    with pytest.raises(RemoteProtocolError) as error:
        outbox.acknowledge(11)
    assert error.value.code is ErrorCode.SEQUENCE
    outbox.acknowledge(10)
    assert not outbox.log


def test_a_message_that_waits_cannot_be_acknowledged() -> None:
    """An acknowledgement of a message that waits is a breach, because it was never sent."""
    outbox = new_outbox()
    fill(outbox, MAX_UNACKNOWLEDGED + 1)
    with pytest.raises(RemoteProtocolError) as error:
        outbox.acknowledge(MAX_UNACKNOWLEDGED + 1)
    assert error.value.code is ErrorCode.SEQUENCE


def test_a_message_that_cannot_travel_takes_no_number() -> None:
    """The message after one that cannot be encoded has the number that the latter would have had."""
    outbox = new_outbox()
    with pytest.raises(LocalProtocolError):
        outbox.put(Close(0))
    assert numbers(outbox.put(Close(1))) == [0]


def test_the_parts_of_the_longest_message() -> None:
    """As many parts go out as may be under way, each with its own number; the others follow acknowledgements."""
    frame = len(Open(channel=1, request=JobRequest(command="")).body()) + 1
    longest = Open(channel=1, request=JobRequest(command="x" * (MAX_CONTROL_BYTES - frame)))
    outbox = new_outbox()
    payloads = outbox.put(longest) + outbox.put(longest)
    assert len(payloads) == MAX_UNACKNOWLEDGED
    while outbox.blocked:
        payloads += outbox.acknowledge(len(payloads) - MAX_UNACKNOWLEDGED + ACKNOWLEDGE_EVERY)
        assert len(outbox.log) <= MAX_UNACKNOWLEDGED
    assert numbers(payloads) == list(range(2 * MAX_CONTROL_BYTES // MAX_PART_BYTES))


@pytest.mark.parametrize("sequence", [0, 2, 2**64 - 1])
def test_the_inbox_takes_the_next_only(sequence: int) -> None:
    """A repetition and a gap in the numbers are breaches."""
    inbox = ControlInbox()
    inbox.take(0)
    with pytest.raises(RemoteProtocolError) as error:
        inbox.take(sequence)
    assert error.value.code is ErrorCode.SEQUENCE
    assert inbox.received == 1


def test_acknowledging_is_due_at_sixteen() -> None:
    """Sixteen messages are worth an acknowledgement, fifteen are not."""
    inbox = ControlInbox()
    for sequence in range(ACKNOWLEDGE_EVERY):
        assert not inbox.acknowledgement_due
        inbox.take(sequence)
    assert inbox.acknowledgement_due
    assert inbox.acknowledge() == ACKNOWLEDGE_EVERY
    assert not inbox.acknowledgement_due


def test_too_many_under_way() -> None:
    """The 64th unacknowledged message is accepted, the 65th is a breach."""
    inbox = ControlInbox()
    for sequence in range(MAX_UNACKNOWLEDGED):
        inbox.take(sequence)
    with pytest.raises(RemoteProtocolError) as error:
        inbox.take(MAX_UNACKNOWLEDGED)
    assert error.value.code is ErrorCode.SEQUENCE


def test_a_sender_never_waits_forever() -> None:
    """Whenever the outbox is blocked, an acknowledgement is due or on its way."""
    outbox, inbox = new_outbox(), ControlInbox()
    sent = fill(outbox, 1000)
    while sent:
        for sequence in numbers(sent):
            assert sequence is not None
            inbox.take(sequence)
        sent = outbox.acknowledge(inbox.acknowledge()) if inbox.acknowledgement_due else []
    assert inbox.received == 1000
    assert not outbox.blocked


@pytest.mark.parametrize(("count", "possible"), [(2, False), (3, True), (5, True), (7, True), (8, False)])
def test_what_can_have_arrived(count: int, possible: bool) -> None:
    """M-13: from the acknowledged to the sent messages, any number can have arrived; checking it changes nothing."""
    outbox = new_outbox()
    fill(outbox, 7)
    outbox.acknowledge(3)
    if possible:
        outbox.check_received(count)
    else:
        with pytest.raises(RemoteProtocolError) as error:
            outbox.check_received(count)
        assert error.value.code is ErrorCode.SEQUENCE
    assert len(outbox.log) == 4


def test_places_in_the_order() -> None:
    """A message gets its place in the order when it is sent, not when it has to wait."""
    order = itertools.count(10, 10)
    outbox = ControlOutbox(order)
    assert outbox.acknowledged_order == -1
    fill(outbox, MAX_UNACKNOWLEDGED + 1)
    assert [place for place, _ in outbox.log] == list(range(10, 650, 10))
    next(order)
    outbox.acknowledge(2)
    assert outbox.acknowledged_order == 20
    assert outbox.log[-1][0] == 660


def test_told_in_another_way() -> None:
    """A resume acknowledges: nothing is due until sixteen more messages, and the sender has all of its room."""
    inbox = ControlInbox()
    for sequence in range(ACKNOWLEDGE_EVERY - 1):
        inbox.take(sequence)
    inbox.acknowledge()
    for sequence in range(ACKNOWLEDGE_EVERY - 1, 2 * ACKNOWLEDGE_EVERY - 2):
        inbox.take(sequence)
        assert not inbox.acknowledgement_due
