"""Two ways for a caller to learn of an event: wait for one that happens once, or watch for each that happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

__all__ = ["Once", "Watchers", "is_dropped"]

Value = TypeVar("Value")


def is_dropped(error: type[BaseException] | None, reactor: object) -> bool:
    """Tell whether a block is left because the program ends, and its coroutine with it: nothing can be awaited there.

    So it is when the reactor is stopped while a coroutine waits, as by Ctrl-C.  An asynchronous generator that is
    closed while the reactor runs leaves its blocks with the same exception, and can await.

    :param error: the type of the exception with which the block is left; ``None`` for no exception.
    :param reactor: the reactor, or a clock that is in its place.
    """
    return error is GeneratorExit and not getattr(reactor, "running", True)


class Once(Generic[Value]):
    """An event that happens once and has a value; any number of Deferreds wait for it."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._waiting: list[Deferred[Value]] = []

    def happen(self, value: Value) -> None:
        """Fire every Deferred that waits; nothing happens the second time.

        :param value: the value of the event.
        """
        if self._values:
            return
        self._values.append(value)
        while self._waiting:  # a callback may cancel the Deferreds after it
            self._waiting.pop(0).callback(value)

    @property
    def value(self) -> Value | None:
        """The value of the event; ``None`` while it has not happened."""
        return self._values[0] if self._values else None

    def wait(self, on_cancel: Callable[[], object] | None = None) -> Deferred[Value]:
        """Wait for the event.

        :param on_cancel: called when the returned Deferred is cancelled.
        :returns: fires with the value, now if the event has happened; never fails but by being cancelled.
        """
        if self._values:
            return succeed(self._values[0])

        def cancel(waiting: Deferred[Value]) -> None:
            self._waiting.remove(waiting)
            if on_cancel is not None:
                on_cancel()

        waiting: Deferred[Value] = Deferred(cancel)
        self._waiting.append(waiting)
        return waiting


class Watchers(Generic[Value]):
    """Functions that are called with each value of a repeated event."""

    _log = Logger()

    def __init__(self) -> None:
        self._watchers: list[Callable[[Value], object]] = []

    def add(self, watcher: Callable[[Value], object]) -> Callable[[], None]:
        """Call a function from now on.

        :param watcher: the function.  An exception that it raises is logged.
        :returns: a function that ends that; it may be called more than once.
        """
        self._watchers.append(watcher)

        def stop() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return stop

    def tell(self, value: Value) -> None:
        """Call every function with one value; a function may add or end others."""
        for watcher in list(self._watchers):
            try:
                watcher(value)
            except Exception:  # noqa: BLE001, PERF203 - an application's mistake must not keep the others uninformed
                self._log.failure("a watcher raised an exception")
