"""The notices of outages, and the ways to leave during one: on a clock, with a stand-in for the server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.cli.screens import open_pipe, open_terminal, read_bytes
from tests.client.standin import Network, is_connected
from tests.readable import is_readable
from twisted_rsh.cli.outage import NOTICE_SECONDS, Outage
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.client.streams import IInputSource

NOTICE = "[connection lost; trying to resume; Ctrl-C twice to give up]"


@implementer(IInputSource)
class Keys:
    """A reader of keys that counts how often it is resumed."""

    def __init__(self) -> None:
        self.resumed = 0

    def resume(self) -> None:
        """See IInputSource."""
        self.resumed += 1


class Rig:
    """A connection, an outage that follows it, and a terminal that shows the notices."""

    def __init__(self, *, has_prompt: bool = False, escape: str | None = "~") -> None:
        self.network = Network()
        self.connection = self.network.log_in()
        self._pairs = open_pipe(), open_terminal()
        self._outputs = LocalOutputs(self.network.clock, fds=(self._pairs[0][1], self._pairs[1][1]))
        self.outage = Outage(self.network.clock, self._outputs, has_prompt=has_prompt, escape=escape)
        self.outage.follow(self.connection)

    def shows(self, *lines: str) -> None:
        """Check that exactly these lines have been shown since the last call."""
        self.network.advance(0)
        expected = "".join(f"{line}\n" for line in lines).encode()
        terminal = self._pairs[1][0]
        assert read_bytes(terminal, len(expected)) == expected
        assert not is_readable(terminal)

    def close(self) -> None:
        """Close the terminal."""
        self._outputs.stop()
        for fd in (fd for pair in self._pairs for fd in pair):
            os.close(fd)

    def lose(self, seconds: float) -> None:
        """Lose the connection, and let some seconds pass."""
        self.network.is_up = False
        self.network.cut()
        self.network.advance(seconds)

    def find(self) -> None:
        """Let the client find another connection."""
        self.network.is_up = True
        self.network.advance(5)
        assert is_connected(self.connection)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A connection to cut."""
    rig = Rig()
    yield rig
    rig.close()


@pytest.mark.parametrize(("escape", "way_out"), [("%", "Enter %."), ("\x1d", "Enter ^]."), (None, "Ctrl-C twice")])
def test_the_users_own_escape(escape: str | None, way_out: str) -> None:
    """Another escape character leaves in the place of ``~``, and the notice names it; with none, no key leaves."""
    rig = Rig(has_prompt=True, escape=escape)
    rig.outage.watch_keys(Keys())
    rig.lose(NOTICE_SECONDS)
    rig.shows(f"[connection lost; trying to resume; {way_out} to give up]")
    assert not rig.outage.typed(b"\r~.\r")
    assert rig.outage.typed(f"{escape}.".encode()) == (escape is not None)
    rig.close()


def test_short_outages_are_not_worth_a_word(rig: Rig) -> None:
    """An outage that is over within two seconds is not told, and neither is its end."""
    rig.lose(0.2)
    assert not is_connected(rig.connection)
    rig.network.is_up = True
    rig.network.advance(NOTICE_SECONDS - 0.3)
    assert not rig.outage.is_on
    rig.network.advance(10)
    rig.shows()


def test_longer_outages_are_told_with_their_end(rig: Rig) -> None:
    """After two seconds there is one line, and one at the end; the next outage is told anew."""
    for _ in range(2):
        rig.lose(NOTICE_SECONDS - 0.1)
        rig.shows()
        rig.network.advance(10)
        rig.shows(NOTICE)
        rig.find()
        rig.shows("[resumed]")


@pytest.mark.parametrize("has_prompt", [False, True])
def test_way_out_is_the_one_there_is(has_prompt: bool) -> None:
    """C-09: where keys are read, by a command or by a prompt, ``~.`` is the way out."""
    rig, keys = Rig(has_prompt=has_prompt), Keys()
    verifyObject(IInputSource, keys)
    if not has_prompt:
        rig.outage.watch_keys(keys)
    rig.lose(3)
    rig.shows("[connection lost; trying to resume; Enter ~. to give up]")
    rig.close()


def test_keys_are_read_during_an_outage(rig: Rig) -> None:
    """C-09: the reader of keys is resumed when an outage begins, and at once where there is one."""
    keys, later = Keys(), Keys()
    rig.outage.watch_keys(keys)
    assert keys.resumed == 0
    rig.lose(1)
    assert keys.resumed == 1
    rig.outage.watch_keys(later)
    assert (keys.resumed, later.resumed) == (1, 1)


def test_nothing_is_said_after_the_end(rig: Rig) -> None:
    """Once the client is leaving, nothing more is said, and no call is left."""
    rig.lose(1)
    rig.outage.stop()
    rig.outage.stop()
    rig.connection.close()
    assert rig.network.clock.getDelayedCalls() == []
    rig.shows()
    assert not rig.outage.is_on


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
    rig.outage.watch_keys(Keys())
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
