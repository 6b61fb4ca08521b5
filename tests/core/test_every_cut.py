"""M-01, M-02: a recorded session is cut at every byte, and ends in the same way each time."""

from __future__ import annotations

import pytest

from tests.core.cuts import INPUT, OUTPUT, Conversation
from twisted_rsh.core.roles import Role, Stream

pytestmark = pytest.mark.exhaustive

UNCUT = Conversation()
FIRST = UNCUT.links[0].carried
"""The number of bytes that reach each side when no link is cut."""

STRIDE = 8
"""First cuts on each side that are followed by a second one: enough to be in every part of the conversation."""

SECOND = 260
"""Bytes of the second link at each of which it is cut: RESUME, or its answer, and what is repeated behind it."""


def test_the_uncut_session() -> None:
    """The session has data both ways, a signal, a suspension, a size, a question, a stop, a close and a refusal."""
    assert len(UNCUT.links) == 1
    assert UNCUT.received(Role.SERVER, 1, Stream.STDIN) == INPUT
    assert UNCUT.received(Role.CLIENT, 1, Stream.STDOUT) == INPUT[::-1]
    assert UNCUT.received(Role.CLIENT, 5, Stream.STDOUT) == OUTPUT
    told = {type(event).__name__ for events in UNCUT.story.values() for event in events}
    assert told == {
        *("ChannelRequested", "ChannelOpened", "ChannelAbandoned", "JobEnded", "SessionClosed", "SignalReceived"),
        *("StreamEnded", "StreamStopped", "TerminalResized", "JobSuspended", "ChannelFreed", "tuple"),
        *("InspectionRequested", "ShellInspected"),
    }


@pytest.mark.parametrize("role", Role)
def test_a_cut_at_every_byte(role: Role) -> None:
    """M-01: the link dies after each byte that reaches this side, with all that is under way in either direction."""
    for count in range(FIRST[role] + 1):
        cut = Conversation({role: count})
        assert cut.story == UNCUT.story, f"cut after {count} bytes to the {role.value}"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("again", Role)
def test_two_cuts(role: Role, again: Role) -> None:
    """M-02: the next link dies too, after each byte of the resume itself and of the frames that it repeats."""
    for first in range(0, FIRST[role], FIRST[role] // STRIDE):
        for second in range(SECOND):
            cut = Conversation({role: first}, {again: second})
            assert cut.story == UNCUT.story, f"cut after {first} bytes to the {role.value}, then after {second}"
