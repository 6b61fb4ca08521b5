"""Keepalive: pings after silence, and giving the link up."""

from __future__ import annotations

import pytest

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.liveness import Liveness, Silence


def test_asks_twice_then_gives_up() -> None:
    """Each of the first two intervals of silence ends with a ping, and the third with the death of the link."""
    liveness = Liveness(15.0, 3, 100.0)
    assert liveness.deadline == 115.0
    assert liveness.check(114.999) is Silence.NONE
    assert liveness.check(115.0) is Silence.ASK
    assert liveness.deadline == 130.0
    assert liveness.check(130.0) is Silence.ASK
    assert liveness.deadline == 145.0
    assert liveness.check(144.999) is Silence.NONE
    assert liveness.check(145.0) is Silence.DEAD


def test_any_frame_counts() -> None:
    """Any frame from the peer restarts the count."""
    liveness = Liveness(15.0, 3, 0.0)
    assert liveness.check(30.0) is Silence.ASK
    liveness.heard(44.0)
    assert liveness.deadline == 59.0
    assert liveness.check(58.0) is Silence.NONE


def test_a_late_check_is_death() -> None:
    """A process that slept through all intervals gives the link up at once."""
    assert Liveness(15.0, 3, 0.0).check(3600.0) is Silence.DEAD


def test_pongs() -> None:
    """Only a ping that was sent can be answered, repeatedly if need be."""
    liveness = Liveness(15.0, 3, 0.0)
    with pytest.raises(RemoteProtocolError) as error:
        liveness.answered(0, 0.0)
    assert error.value.code is ErrorCode.SEQUENCE
    assert [liveness.next_token(0.0), liveness.next_token(0.0)] == [0, 1]
    liveness.answered(1, 0.0)
    liveness.answered(0, 0.0)
    liveness.answered(1, 0.0)
    with pytest.raises(RemoteProtocolError):
        liveness.answered(2, 0.0)


def test_a_hurry() -> None:
    """In a hurry, a ping goes out after half of the time, and the link dies at its end."""
    liveness = Liveness(15.0, 3, 0.0)
    liveness.hurry(5.0, 10.0, 2.0)
    assert liveness.deadline == 7.0
    assert liveness.check(6.9) is Silence.NONE
    assert liveness.check(7.0) is Silence.ASK
    assert liveness.deadline == 12.0
    assert liveness.check(11.9) is Silence.NONE
    assert liveness.check(12.0) is Silence.DEAD


def test_a_hurry_ends_with_any_word() -> None:
    """Any frame from the peer ends the hurry."""
    liveness = Liveness(15.0, 3, 0.0)
    liveness.hurry(5.0, 10.0, 0.0)
    liveness.heard(9.0)
    assert liveness.check(23.9) is Silence.NONE
    assert liveness.check(24.0) is Silence.ASK


def test_a_hurry_never_gives_more_time() -> None:
    """A hurry gives no more time than was left, nor more than a shorter hurry gave."""
    liveness = Liveness(15.0, 3, 0.0)
    liveness.hurry(50.0, 100.0, 0.0)
    assert liveness.deadline == 15.0
    assert liveness.check(45.0) is Silence.DEAD
    liveness = Liveness(15.0, 3, 0.0)
    liveness.hurry(5.0, 10.0, 0.0)
    liveness.hurry(5.0, 10.0, 4.0)
    assert liveness.check(5.0) is Silence.ASK
    assert liveness.check(10.0) is Silence.DEAD


def test_silence() -> None:
    """Silence is the number of seconds since the last frame."""
    liveness = Liveness(15.0, 3, 1.0)
    assert liveness.silence(4.0) == 3.0
    liveness.heard(5.0)
    assert liveness.silence(5.5) == 0.5


def test_another_link() -> None:
    """A new link has all of its time, and pings of its own."""
    liveness = Liveness(15.0, 3, 0.0)
    liveness.next_token(0.0)
    liveness.hurry(0.5, 1.0, 10.0)
    liveness.restart(100.0)
    assert liveness.deadline == 115.0
    assert liveness.silence(101.0) == 1.0
    with pytest.raises(RemoteProtocolError):
        liveness.answered(0, 0.0)
    assert liveness.next_token(0.0) == 0
