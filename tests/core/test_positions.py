"""How much has arrived, packed: at its bounds and one past them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.strategies import positions
from twisted_rsh.core.codec import encode
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_CHANNELS,
    MAX_LOGIN_FRAME_BYTES,
    MAX_OFFSET,
    MAX_REFUSED_CHANNELS,
)
from twisted_rsh.core.messages import Positions, Resume, ResumeFail, ResumeOk

PROPERTY = settings(derandomize=True, deadline=None, max_examples=300)
MOST = MAX_CHANNELS + MAX_REFUSED_CHANNELS


def listed(count: int, streams: int) -> Positions:
    """Return positions of so many channels."""
    return Positions(0, tuple((number, (MAX_OFFSET,) * streams) for number in range(1, count + 1)))


def of_resume(**fields: Any) -> Resume:
    """Return a RESUME with some fields changed."""
    return Resume(**{"session": bytes(16), "attempt": 1, "proof": bytes(32), "positions": Positions(0), **fields})


@pytest.mark.parametrize(
    "said",
    [
        Positions(0),
        Positions(MAX_OFFSET, ((1, (0, 0)),)),
        Positions(1, ((MAX_CHANNEL_ID - 1, (1, 2)), (MAX_CHANNEL_ID, (0, MAX_OFFSET)))),
        listed(MOST, 2),
    ],
)
def test_at_the_bound(said: Positions) -> None:
    """What is just allowed travels."""
    assert Positions.unpack(said.pack(), 2) == said


@pytest.mark.parametrize(
    "said",
    [
        Positions(-1),
        Positions(MAX_OFFSET + 1),
        Positions(0, ((0, (0, 0)),)),
        Positions(0, ((MAX_CHANNEL_ID + 1, (0, 0)),)),
        Positions(0, ((1, (0, -1)),)),
        Positions(0, ((1, (MAX_OFFSET + 1, 0)),)),
        Positions(0, ((2, (0, 0)), (1, (0, 0)))),
        Positions(0, ((1, (0, 0)), (1, (0, 0)))),
        listed(MOST + 1, 2),
    ],
)
def test_one_past_the_bound(said: Positions) -> None:
    """What is just not allowed cannot be said."""
    with pytest.raises(FieldError):
        said.pack()


@pytest.mark.parametrize("size", [0, 7, 9, 27, 29])
def test_no_whole_number_of_channels(size: int) -> None:
    """F-10: a count is there, and no row is cut."""
    with pytest.raises(FieldError):
        Positions.unpack(bytes(size), 2)


@pytest.mark.parametrize("streams", [1, 2])
def test_packing_is_reversible(streams: int) -> None:
    """F-11: what can be said is read as it was meant, and what bytes are read are those that would be written."""

    @PROPERTY
    @given(said=positions(streams), noise=st.binary(max_size=70))
    def check(said: Positions, noise: bytes) -> None:
        assert Positions.unpack(said.pack(), streams) == said
        with contextlib.suppress(FieldError):
            assert Positions.unpack(noise, streams).pack() == noise

    check()


@pytest.mark.parametrize(
    "message",
    [
        of_resume(session=bytes(15)),
        of_resume(proof=bytes(31)),
        of_resume(attempt=0),
        of_resume(attempt=MAX_OFFSET + 1),
        of_resume(positions=Positions(0, ((1, (0,)),))),
        ResumeOk(proof=bytes(33), positions=Positions(0)),
        ResumeOk(proof=bytes(32), positions=Positions(0, ((1, (0, 0)),))),
        ResumeFail(instance="x" * 65),
    ],
)
def test_messages_one_past_the_bound(message: Resume | ResumeOk | ResumeFail) -> None:
    """F-13: our own mistake is found before the wire."""
    with pytest.raises(LocalProtocolError):
        encode(message)


@pytest.mark.parametrize(
    "message",
    [
        of_resume(attempt=MAX_OFFSET),
        of_resume(positions=listed(MOST, 2)),
        ResumeOk(proof=bytes(32), positions=listed(MOST, 1)),
        ResumeFail(instance="x" * 64),
    ],
)
def test_the_longest_fit_a_login_frame(message: Resume | ResumeOk | ResumeFail) -> None:
    """F-02, F-13: with as many channels as a session can have, and as they are read."""
    payload = encode(message)
    assert len(payload) <= MAX_LOGIN_FRAME_BYTES
    assert type(message).parse(payload[1:]) == message


@pytest.mark.parametrize(
    "message", [of_resume(positions=listed(2, 2)), ResumeOk(proof=bytes(32), positions=listed(2, 1))]
)
def test_cut_messages(message: Resume | ResumeOk) -> None:
    """F-10: cut anywhere, they are read as less than they are only where a channel ends."""
    body = message.body()
    whole = {
        len(body) - len(message.positions.pack()) + 8 + n * (4 + 8 * len(message.positions.streams[0][1]))
        for n in (0, 1)
    }
    for size in range(len(body)):
        if size not in whole:
            with pytest.raises(FieldError):
                type(message).parse(body[:size])
