"""The terminal feed of a shell's process, without a running shell."""

from __future__ import annotations

import signal
from typing import cast

from zope.interface import implementer

from twisted_rsh.execution.processes.interfaces import IInputSource
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.process import TYPED_BYTES, TerminalFeed
from twisted_rsh.execution.shells.shell import ShellJob


@implementer(IInputSource)
class Typist:
    """Counts the bytes that the terminal took."""

    def __init__(self) -> None:
        self.taken = 0

    def input_taken(self, size: int) -> None:
        """See :class:`IInputSource`."""
        self.taken += size


class Keyboard:
    """A process that records the typed pieces and takes them when the test says so."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.interrupts: list[int] = []
        self.announced: list[int] = []

    def key_signal(self, keys: bytes) -> int | None:
        """Take Ctrl-C for an interrupt."""
        return signal.SIGINT if b"\x03" in keys else None

    def interrupt_comes(self) -> None:
        """Record that the next piece interrupts, as the shell."""
        self.announced.append(len(self.written))

    def interrupt_typed(self, number: int) -> None:
        """Record an interrupt that was typed, as the shell."""
        self.interrupts.append(number)

    def write(self, data: bytes) -> None:
        """Record a piece."""
        self.written.append(data)

    def end_marker(self) -> bytes:
        """Return no key: every key is the program's own."""
        return b""


def test_terminal_feed() -> None:
    """Nothing is typed before a command has begun, then one piece at a time; dropped bytes are not counted."""
    keyboard, typist = Keyboard(), Typist()
    feed = TerminalFeed(cast("SpawnedProcess", keyboard), cast("ShellJob", keyboard))
    feed.put(b"", typist)
    feed.put(b"x" * (TYPED_BYTES + 1), typist)
    assert keyboard.written == []
    feed.open()
    assert [len(data) for data in keyboard.written] == [TYPED_BYTES]
    feed.taken(TYPED_BYTES)
    assert [len(data) for data in keyboard.written] == [TYPED_BYTES, 1]
    assert typist.taken == TYPED_BYTES
    feed.put(b"more", typist)
    feed.close()
    feed.taken(1)
    feed.open()
    assert typist.taken == TYPED_BYTES
    assert len(keyboard.written) == 2
    assert keyboard.interrupts == []
    feed.put(b"a\x03", typist)
    assert keyboard.interrupts == [signal.SIGINT]
    assert keyboard.announced == [len(keyboard.written) - 1]
