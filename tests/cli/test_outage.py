"""What is said about outages, and how a user leaves during one: on a clock, with a server that is none."""

from __future__ import annotations

import pytest

from tests.client.standin import Network, is_connected
from twisted_rsh.cli.outage import NOTICE_SECONDS, Outage

NOTICE = "[connection lost; trying to resume; Ctrl-C twice to give up]"


class Rig:
    """A connection, and what is said about it."""

    def __init__(self) -> None:
        self.network = Network()
        self.said: list[str] = []
        self.shell = self.network.log_in()
        self.outage = Outage(self.network.clock, self.said.append)
        self.outage.follow(self.shell)

    def lose(self, seconds: float) -> None:
        """Have an outage for so long."""
        self.network.is_up = False
        self.network.cut()
        self.network.advance(seconds)

    def find(self) -> None:
        """End it."""
        self.network.is_up = True
        self.network.advance(5)
        assert is_connected(self.shell)


@pytest.fixture
def rig() -> Rig:
    """A connection to cut."""
    return Rig()


def test_short_outages_are_not_worth_a_word(rig: Rig) -> None:
    """An outage that is over within two seconds is not told, and neither is its end."""
    rig.lose(0.2)
    assert not is_connected(rig.shell)
    rig.network.is_up = True
    rig.network.advance(NOTICE_SECONDS - 0.3)
    assert not rig.outage.is_on
    rig.network.advance(10)
    assert rig.said == []


def test_longer_outages_are_told_with_their_end(rig: Rig) -> None:
    """After two seconds there is one line, and one at the end; the next outage is told anew."""
    for _ in range(2):
        rig.lose(NOTICE_SECONDS - 0.1)
        assert rig.said == []
        rig.network.advance(10)
        assert rig.said == [NOTICE]
        rig.find()
        assert rig.said == [NOTICE, "[resumed]"]
        rig.said.clear()


def test_way_out_is_the_one_there_is(rig: Rig) -> None:
    """C-09: where keys are read, ``~.`` is the way out."""
    rig.outage.reads_keys = True
    rig.lose(3)
    assert rig.said == ["[connection lost; trying to resume; Enter ~. to give up]"]


def test_nothing_is_said_behind_the_end(rig: Rig) -> None:
    """Once the client is leaving, nothing more is said, and no call is left."""
    rig.lose(1)
    rig.outage.stop()
    rig.outage.stop()
    rig.shell.close()
    assert rig.network.clock.getDelayedCalls() == []
    assert (rig.said, rig.outage.is_on) == ([], False)


@pytest.mark.parametrize(
    ("pieces", "leaves"),
    [
        (["~."], True),
        (["~", "."], True),
        (["abc\r~."], True),
        (["abc\n~.\n"], True),
        (["\r", "~", "."], True),
        (["abc~."], False),
        (["~a."], False),
        (["~~."], False),
        ([" ~."], False),
        (["~\r."], False),
        ([".~"], False),
    ],
)
def test_escape(rig: Rig, pieces: list[str], leaves: bool) -> None:
    """C-09: ``~.`` at the beginning of a line, however it comes, and only during an outage."""
    assert not any(rig.outage.typed(piece.encode()) for piece in pieces)
    rig.outage.keys_are_read(lambda: None)
    rig.lose(1)
    assert any(rig.outage.typed(piece.encode()) for piece in pieces) is leaves


def test_escape_does_not_reach_over_the_end_of_an_outage(rig: Rig) -> None:
    """C-09: a tilde typed before an outage, or before its end, is the command's."""
    rig.outage.typed(b"~")
    rig.lose(1)
    assert not rig.outage.typed(b".")
    assert not rig.outage.typed(b"\r~")
    rig.find()
    assert not rig.outage.typed(b".")


def test_second_signal_of_an_outage(rig: Rig) -> None:
    """Ctrl-C twice in one outage means that the user will not wait; once in each of two does not."""
    for _ in range(2):
        rig.lose(1)
        assert not rig.outage.signalled()
        rig.find()
    rig.lose(1)
    assert not rig.outage.signalled()
    assert rig.outage.signalled()
