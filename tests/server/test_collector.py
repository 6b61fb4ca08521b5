"""The search for garbage of a server that is a program of its own."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from twisted_rsh.link.turns import Turns
from twisted_rsh.server.collector import (
    DUE_AFTER,
    LATEST_SECONDS,
    LOOK_SECONDS,
    MIDDLE_EVERY,
    QUIET_SECONDS,
    YOUNG_OBJECTS,
    Collector,
)


class Rig:
    """A collector on a clock.

    :ivar count: the searches of the middle generation since the last whole one.
    :ivar collected: the times of whole searches.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.count, self.collected = Clock(), 0, list[float]()
        self.turns = Turns(self.clock)
        self.collector = Collector(self.clock, self.turns)
        monkeypatch.setattr(gc, "get_count", lambda: (0, 0, self.count))
        monkeypatch.setattr(gc, "collect", lambda: self.collected.append(self.clock.seconds()))

    def serve(self) -> None:
        """Serve a client."""
        self.turns.run(self, lambda _: False)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A collector that is started, and this process as it was."""
    before = gc.get_threshold()
    rig = Rig(monkeypatch)
    rig.collector.start()
    yield rig
    rig.collector.stop()
    gc.set_threshold(*before)
    gc.unfreeze()
    assert not rig.clock.getDelayedCalls()


def test_no_whole_search_by_itself(rig: Rig) -> None:
    """Python itself only searches what is young, in small pieces."""
    young, middle, whole = gc.get_threshold()
    assert (young, middle) == (YOUNG_OBJECTS, MIDDLE_EVERY)
    assert whole > 1_000_000
    assert gc.get_freeze_count()


def test_a_search_in_a_quiet_moment(rig: Rig) -> None:
    """A whole search that is due waits until no client was served for a while; one that is not due is not made."""
    rig.count = DUE_AFTER - 1
    rig.clock.advance(LOOK_SECONDS)
    assert rig.collected == []
    rig.count = DUE_AFTER
    rig.clock.advance(LOOK_SECONDS - 0.1)
    rig.serve()
    rig.clock.advance(0.1)
    assert rig.collected == []
    rig.clock.advance(QUIET_SECONDS)
    assert len(rig.collected) == 1
    rig.count = 0
    rig.clock.pump([LOOK_SECONDS] * 3)
    assert len(rig.collected) == 1


def test_a_server_that_is_never_quiet(rig: Rig) -> None:
    """The whole search waits for a limited time."""
    rig.count = DUE_AFTER
    for _ in range(round((LOOK_SECONDS + LATEST_SECONDS) / QUIET_SECONDS) + 1):
        rig.serve()
        rig.clock.advance(QUIET_SECONDS / 2)
        rig.serve()
        rig.clock.advance(QUIET_SECONDS / 2)
    assert len(rig.collected) == 1
    assert rig.collected[0] >= LATEST_SECONDS
