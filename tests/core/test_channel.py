"""The channel table: the whole product of states and inputs."""

from __future__ import annotations

import itertools

import pytest

from twisted_rsh.core.channel import TRANSITIONS, Channel, ChannelInput, ChannelState
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.roles import Role, Stream
from twisted_rsh.core.windows import Reserve

PRODUCT = list(itertools.product(ChannelState, ChannelInput))


def channel_in(state: ChannelState, role: Role = Role.SERVER) -> Channel:
    """Return a channel that is in this state."""
    channel = Channel(7, role, 4096, Reserve(0))
    channel.state = state
    return channel


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_the_whole_product(state: ChannelState, event: ChannelInput) -> None:
    """Every pair of state and input leads where the table says, or is a breach and changes nothing."""
    channel = channel_in(state)
    legal = (state, event) in TRANSITIONS
    assert channel.allows(event) is legal
    if legal:
        assert channel.advance(event) is channel.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(RemoteProtocolError) as error:
            channel.advance(event)
        assert error.value.code is ErrorCode.CHANNEL_STATE
        assert channel.state is state


@pytest.mark.parametrize("state", ChannelState)
def test_over(state: ChannelState) -> None:
    """Between one side's last message and the other's, the channel is over."""
    assert channel_in(state).over is (state in (ChannelState.ENDED, ChannelState.ABANDONED))


@pytest.mark.parametrize("role", Role)
def test_streams(role: Role) -> None:
    """Each side sends its own streams and receives the others."""
    channel = Channel(1, role, 4096, Reserve(0))
    assert set(channel.sends) == {stream for stream in Stream if stream.sender is role}
    assert set(channel.receives) == set(Stream) - set(channel.sends)
    assert all(stream.room == 4096 for stream in channel.sends.values())


def test_every_state_is_reached_and_left() -> None:
    """A channel can be freed from every state, and a free one allows no input."""
    reached = {ChannelState.REQUESTED}
    for _ in ChannelState:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(ChannelState)
    freeing = {ChannelState.FREED}
    for _ in ChannelState:
        freeing |= {before for (before, _), after in TRANSITIONS.items() if after in freeing}
    assert freeing == set(ChannelState)
    assert not any(state is ChannelState.FREED for state, _ in TRANSITIONS)


def test_last_words_are_last() -> None:
    """In every state after EXIT the server has no input left, and in every state after CLOSE the client."""
    from_server = {ChannelInput.OPENED, ChannelInput.EXIT, ChannelInput.FROM_SERVER}
    from_client = {ChannelInput.CLOSE, ChannelInput.FROM_CLIENT}
    for last, silent in ((ChannelInput.EXIT, from_server), (ChannelInput.CLOSE, from_client)):
        after = {state for (_, event), state in TRANSITIONS.items() if event is last}
        assert not [pair for pair in TRANSITIONS if pair[0] in after and pair[1] in silent]


def test_crossing_is_symmetric() -> None:
    """EXIT and CLOSE free the channel in whichever order a side learns of them."""
    for first, second in itertools.permutations((ChannelInput.EXIT, ChannelInput.CLOSE)):
        channel = channel_in(ChannelState.RUNNING)
        channel.advance(first)
        assert channel.advance(second) is ChannelState.FREED
