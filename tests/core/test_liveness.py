"""Asking after silence, and giving up."""

from __future__ import annotations

import pytest

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.liveness import Liveness, Silence


def test_asks_twice_then_gives_up() -> None:
    """Three intervals of silence: a question after each of the first two, death at the third."""
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
    """Whatever arrives restarts the count."""
    liveness = Liveness(15.0, 3, 0.0)
    assert liveness.check(30.0) is Silence.ASK
    liveness.heard(44.0)
    assert liveness.deadline == 59.0
    assert liveness.check(58.0) is Silence.NONE


def test_a_late_check_is_death() -> None:
    """When the process slept through everything, the link is given up at once."""
    assert Liveness(15.0, 3, 0.0).check(3600.0) is Silence.DEAD


def test_pongs() -> None:
    """Only a ping that was sent can be answered, repeatedly if need be."""
    liveness = Liveness(15.0, 3, 0.0)
    with pytest.raises(RemoteProtocolError) as error:
        liveness.answered(0)
    assert error.value.code is ErrorCode.SEQUENCE
    assert [liveness.next_token(), liveness.next_token()] == [0, 1]
    liveness.answered(1)
    liveness.answered(0)
    liveness.answered(1)
    with pytest.raises(RemoteProtocolError):
        liveness.answered(2)
