"""Stale events: the reactor reports to a descriptor an event that was for an earlier one of the same number."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.execution.owners import reactor

__all__ = ["EVENTS", "stray_event"]

EVENTS = ("hang-up", "data", "room", "broken")
"""The events: a reading end without a writer, or with data; a writing end with room, or without a reader."""


@implementer(IReadWriteDescriptor)
class _Doomed:
    """One of two that have news in the same look.  Whichever is called first closes both."""

    def __init__(self, fd: int, called: Callable[[_Doomed], None]) -> None:
        self.fd = fd
        self._called = called

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return type(self).__name__

    def doRead(self) -> None:
        self._called(self)

    doWrite = doRead

    def connectionLost(self, reason: Failure) -> None:
        self._called(self)

    def close(self) -> None:
        reactor.removeReader(self)
        reactor.removeWriter(self)
        os.close(self.fd)


def _provoke(event: str, fd: int) -> None:
    """Do at the other end what is to be reported."""
    if event == "data":
        os.write(fd, b"x")
    elif event != "room":
        os.close(fd)


def _occupy(number: int, place: Callable[[int], None]) -> None:
    """Have the next descriptor that is opened get a number, which is free."""
    with contextlib.ExitStack() as below:
        while (free := os.open(os.devnull, os.O_RDONLY)) < number:
            below.callback(os.close, free)
        os.close(free)
        assert free == number
        place(number)


async def stray_event(event: str, place: Callable[[int], None]) -> None:
    """Report an event of a descriptor to what has its number since.

    :param event: one of :data:`EVENTS`.
    :param place: is called from within the reactor's look with a number that is the lowest that is free; what it
        watches at that number is told.  Reactors that do not mix the two up tell it nothing.
    """
    ours = 0 if event in {"hang-up", "data"} else 1
    pairs = [os.pipe() for _ in range(2)]
    placed: Deferred[None] = Deferred()

    def called(first: _Doomed) -> None:
        if placed.called:
            return
        [number] = [each.fd for each in doomed if each is not first]
        for each in doomed:
            each.close()
        _occupy(number, place)
        placed.callback(None)

    doomed = [_Doomed(pair[ours], called) for pair in pairs]
    for one, pair in zip(doomed, pairs, strict=True):
        (reactor.addWriter if ours else reactor.addReader)(one)
        _provoke(event, pair[1 - ours])
    await placed
    await deferLater(reactor, 0)
    if event in {"data", "room"}:
        for pair in pairs:
            os.close(pair[1 - ours])
