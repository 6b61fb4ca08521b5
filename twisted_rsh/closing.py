"""Close descriptors that the reactor has watched, once it has dealt with all events of its last look.

The reactor looks at all descriptors at once and deals with the events one after another, by number.  While events wait,
a number that becomes free may be given to something new: an accepted connection, a file, a pipe.  A waiting event of
the old descriptor would then reach the new one, and a hang-up would end it.  (``EPollReactor.doPoll``, and the same for
poll and kqueue.)  Twisted closes its own sockets by the same rule: within their own event, or in the next turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["close_after_events"]

_Closing = tuple[Callable[..., object], tuple[object, ...]]

_waiting: WeakKeyDictionary[Any, list[_Closing]] = WeakKeyDictionary()
"""What is to be closed, for each reactor: a function, and its arguments."""


def close_after_events(reactor: Any, close: Callable[..., object], *arguments: object) -> None:
    """Close a descriptor in the reactor's next turn; at once when the reactor does not run.

    Until then the number is taken.  What the reactor's stop finds still waiting is closed then.

    :param reactor: has watched the descriptor, and watches it no more.
    :param close: closes it, such as `os.close`.
    :param arguments: the arguments of `close`.
    """
    if not getattr(reactor, "running", False):  # no look is under way
        close(*arguments)
        return
    waiting = _waiting.get(reactor)
    if waiting is None:
        waiting = _waiting[reactor] = []
        reactor.addSystemEventTrigger("after", "shutdown", _close_all, waiting)
    if not waiting:
        reactor.callLater(0, _close_all, waiting)
    waiting.append((close, arguments))


def _close_all(waiting: list[_Closing]) -> None:
    """Close everything; then raise what the last one that could not be closed has raised, for the reactor to log."""
    raised = None
    while waiting:
        close, arguments = waiting.pop()
        try:
            close(*arguments)
        except Exception as error:  # noqa: BLE001 - it must not keep the others open
            raised = error
    if raised is not None:
        raise raised
