"""Deadlines of the same length share one call of the reactor."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.task import Clock

from tests.server.rig import Rig
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.messages import Goodbye, Open
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.server.deadlines import Deadlines

SECONDS = 0.5


class Noted:
    """Deadlines on a clock, and what they have called."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, SECONDS)
        self.called: list[tuple[str, float]] = []

    def note(self, name: str) -> None:
        """Note a call."""
        self.called.append((name, self.clock.seconds()))

    def fail(self) -> None:
        """Break."""
        raise RuntimeError


def test_each_is_called_after_its_time() -> None:
    """Each is called when its own time has passed, in the order in which they were added, and by one call at a time."""
    noted = Noted()
    noted.deadlines.add(partial(noted.note, "first"))
    noted.clock.advance(SECONDS / 2)
    noted.deadlines.add(partial(noted.note, "second"))
    noted.deadlines.add(partial(noted.note, "third"))
    assert len(noted.clock.getDelayedCalls()) == 1
    noted.clock.advance(SECONDS / 2 - 0.125)
    assert noted.called == []
    noted.clock.advance(0.125)
    assert noted.called == [("first", SECONDS)]
    assert len(noted.clock.getDelayedCalls()) == 1
    noted.clock.advance(SECONDS / 2)
    assert noted.called[1:] == [("second", 1.5 * SECONDS), ("third", 1.5 * SECONDS)]
    assert noted.clock.getDelayedCalls() == []


def test_cancelled() -> None:
    """One that is cancelled is not called, and the clock is not asked for one that waits behind it too early."""
    noted = Noted()
    first = noted.deadlines.add(partial(noted.note, "first"))
    noted.clock.advance(SECONDS / 2)
    last = noted.deadlines.add(partial(noted.note, "last"))
    first.cancel()
    noted.clock.advance(SECONDS / 2)
    assert noted.called == []
    [call] = noted.clock.getDelayedCalls()
    assert call.getTime() == 1.5 * SECONDS
    last.cancel()
    last.cancel()
    noted.clock.advance(SECONDS)
    assert (noted.called, noted.clock.getDelayedCalls()) == ([], [])


def test_one_that_breaks() -> None:
    """One that breaks keeps no other from its call."""
    noted = Noted()
    noted.deadlines.add(noted.fail)
    noted.deadlines.add(partial(noted.note, "other"))
    with pytest.raises(RuntimeError):
        noted.clock.advance(SECONDS)
    noted.clock.advance(0)
    assert noted.called == [("other", SECONDS)]


def test_one_that_adds_another() -> None:
    """One that is added by another has its whole time."""
    noted = Noted()
    noted.deadlines.add(lambda: noted.deadlines.add(partial(noted.note, "other")))
    noted.clock.advance(SECONDS)
    assert noted.called == []
    noted.clock.advance(SECONDS)
    assert noted.called == [("other", 2 * SECONDS)]


def test_a_clock_that_is_set_back() -> None:
    """However far a clock is set back, the next look comes after the time of one."""
    noted = Noted()
    noted.deadlines.add(partial(noted.note, "first"))
    noted.clock.advance(SECONDS / 2)
    noted.deadlines.add(partial(noted.note, "second"))
    noted.clock.advance(SECONDS / 2)
    noted.clock.rightNow -= 3600
    noted.deadlines.add(partial(noted.note, "third"))
    noted.deadlines._timer_fired()  # as when the call comes, of a clock that goes on otherwise
    assert min(call.getTime() for call in noted.clock.getDelayedCalls()) - noted.clock.seconds() <= SECONDS


def test_rest() -> None:
    """At rest, there is no call unless one waits for it."""
    noted = Noted()
    noted.deadlines.rest()
    one = noted.deadlines.add(partial(noted.note, "one"))
    noted.deadlines.rest()
    assert len(noted.clock.getDelayedCalls()) == 1
    one.cancel()
    noted.deadlines.rest()
    assert noted.clock.getDelayedCalls() == []
    noted.deadlines.add(partial(noted.note, "other"))
    noted.clock.advance(SECONDS)
    assert noted.called == [("other", SECONDS)]


def test_no_call_is_left_without_sessions(rig: Rig) -> None:
    """A server whose last session has ended has no call left that its jobs shared."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    rig.user.jobs[0].end(Exited(0))
    assert any("Deadlines" in str(call) for call in rig.clock.getDelayedCalls())
    client.say(Goodbye(text=""))
    client.exchange()
    assert not rig.sessions
    assert not any("Deadlines" in str(call) for call in rig.clock.getDelayedCalls())
