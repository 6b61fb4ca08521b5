"""What a persistent shell prints while it runs no command: to whom it goes, and what of it is kept."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.pipes import READ_BYTES
from twisted_rsh.interfaces import IJobOwner

__all__ = ["LAST_WORDS_BYTES", "ShellOutput"]

LAST_WORDS_BYTES = 200
"""Bytes of what a shell printed at its start that are kept in case it is all that it ever says."""


class ShellOutput:
    """The outputs of a shell as its own owner sees them.

    :param clock: calls later.
    :param owner: takes the output, until it is closed.
    :ivar last_words: the end of what nobody was meant to see.
    """

    def __init__(self, clock: IReactorTime, owner: IJobOwner) -> None:
        self._clock = clock
        self._owner = owner
        self._closed: set[Stream] = set()
        self._told_ended: set[Stream] = set()
        self.last_words = b""

    def room(self, stream: Stream) -> int:
        """Say how much of an output may be handed over; what nobody wants is read all the same."""
        return READ_BYTES if stream in self._closed else self._owner.output_room(stream)

    def received(self, stream: Stream, data: bytes) -> None:
        """Hand output to the owner."""
        if stream not in self._closed:
            self._owner.output_received(stream, data)

    def overheard(self, data: bytes) -> None:
        """Keep the end of what is nobody's."""
        self.last_words = (self.last_words + data)[-LAST_WORDS_BYTES:]

    def close(self, stream: Stream) -> bool:
        """Throw away what comes from now on; the owner learns, soon, that it has ended.

        :returns: whether it was open.
        """
        if stream in self._closed:
            return False
        self._closed.add(stream)
        self._clock.callLater(0, self._tell_ended, stream)
        return True

    def end(self) -> None:
        """Let the owner know that nothing more comes."""
        for stream in OUTPUTS:
            self._tell_ended(stream)

    def _tell_ended(self, stream: Stream) -> None:
        if stream not in self._told_ended:
            self._told_ended.add(stream)
            self._owner.output_ended(stream)
