"""The channel table in a session: each side follows it, whatever it receives and whatever it is asked to send."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.core.pair import SMALL, Pair
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.channel import TRANSITIONS, ChannelInput, ChannelState
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.messages import Close, Credit, Data, End, Exit, Opened, Resize, Signal, Stop, Suspended
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
WINDOW = SMALL.window

HEARD: dict[ChannelInput, tuple[Role, list[Message]]] = {
    ChannelInput.OPENED: (CLIENT, [Opened(channel=1, encoding="utf-8")]),
    ChannelInput.EXIT: (CLIENT, [Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=False)]),
    ChannelInput.CLOSE: (SERVER, [Close(1)]),
    ChannelInput.FROM_CLIENT: (
        SERVER,
        [
            Data(1, STDIN, 0, b"x"),
            End(1, STDIN, 0),
            Credit(1, STDOUT, 0, 0),
            Stop(1, STDERR),
            Signal(channel=1, signal="INT"),
            Resize(1, 80, 24),
        ],
    ),
    ChannelInput.FROM_SERVER: (
        CLIENT,
        [
            Data(1, STDOUT, 0, b"x"),
            End(1, STDERR, 0),
            Credit(1, STDIN, 0, 0),
            Stop(1, STDIN),
            Suspended(channel=1, signal="STOP"),
        ],
    ),
}
SAID: dict[ChannelInput, tuple[Role, list[Callable[[Pair], object]]]] = {
    ChannelInput.OPENED: (SERVER, [lambda pair: pair.server.accept(1, "utf-8")]),
    ChannelInput.EXIT: (SERVER, [lambda pair: pair.server.report_exit(1, JobEnd(Exited(0)))]),
    ChannelInput.CLOSE: (CLIENT, [lambda pair: pair.client.close(1)]),
    ChannelInput.FROM_CLIENT: (
        CLIENT,
        [
            lambda pair: pair.client.send_data(1, STDIN, b"x"),
            lambda pair: pair.client.end_stream(1, STDIN),
            lambda pair: pair.client.stop_stream(1, STDOUT),
            lambda pair: pair.client.send_signal(1, "INT"),
            lambda pair: pair.client.resize(1, 80, 24),
        ],
    ),
    ChannelInput.FROM_SERVER: (
        SERVER,
        [
            lambda pair: pair.server.send_data(1, STDOUT, b"x"),
            lambda pair: pair.server.end_stream(1, STDERR),
            lambda pair: pair.server.stop_stream(1, STDIN),
            lambda pair: pair.server.report_suspension(1, "STOP"),
        ],
    ),
}


def pair_in(role: Role, state: ChannelState) -> Pair:
    """Return a pair in which one side's channel 1 is in this state."""
    pair = Pair()
    pair.open(accept=False)
    if state is ChannelState.FREED:
        del pair.side(role)._channels[1]
    else:
        pair.side(role)._channels[1].state = state
    return pair


def state_of(pair: Pair, role: Role) -> ChannelState:
    """Return the state of one side's channel 1."""
    channel = pair.side(role)._channels.get(1)
    return ChannelState.FREED if channel is None else channel.state


PRODUCT = list(itertools.product(ChannelState, ChannelInput))


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_hearing_in_every_state(state: ChannelState, event: ChannelInput) -> None:
    """H-13, S-12: a message that the table does not allow is a breach, and one that it allows is none."""
    role, kinds = HEARD[event]
    for message in kinds:
        pair = pair_in(role, state)
        after = TRANSITIONS.get((state, event))
        if after is None:
            assert pair.breach(role, message) is ErrorCode.CHANNEL_STATE
            continue
        pair.hear(role, message)
        if role is CLIENT and after is ChannelState.ENDED:
            after = ChannelState.FREED  # a client answers EXIT with CLOSE at once
        assert state_of(pair, role) is after


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_saying_in_every_state(state: ChannelState, event: ChannelInput) -> None:
    """We cannot send a message that the table does not allow, and trying has no effect."""
    role, calls = SAID[event]
    for call in calls:
        pair = pair_in(role, state)
        after = TRANSITIONS.get((state, event))
        if after is not None:
            call(pair)
            assert state_of(pair, role) is after
            continue
        with pytest.raises(LocalProtocolError):
            call(pair)
        assert state_of(pair, role) is state
        assert pair.side(role).frames_to_send() == []


@pytest.mark.parametrize("state", ChannelState)
def test_room_in_every_state(state: ChannelState) -> None:
    """There is room exactly in the states that allow data."""
    for role, stream, event in (
        (CLIENT, STDIN, ChannelInput.FROM_CLIENT),
        (SERVER, STDOUT, ChannelInput.FROM_SERVER),
    ):
        room = pair_in(role, state).side(role).room(1, stream)
        assert room == (WINDOW if (state, event) in TRANSITIONS else 0)


def test_unknown_channels() -> None:
    """H-13: any message on a channel that never existed is a breach."""
    for role, kinds in HEARD.values():
        for message in kinds:
            assert Pair().breach(role, message) is ErrorCode.CHANNEL_STATE
