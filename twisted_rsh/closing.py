"""Close descriptors that the reactor has watched, once it has dealt with all events of its last look.

The reactor looks at all descriptors at once and deals with the events one after another, by number.  While events wait,
a number that becomes free may be given to something new: an accepted connection, a file, a pipe.  A waiting event of
the old descriptor would then reach the new one, and a hang-up would end it.  (``EPollReactor.doPoll``, and the same for
poll and kqueue.)  Twisted closes its own sockets by the same rule: within their own event, or in the next turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["close_after_events"]

_waiting: WeakKeyDictionary[Any, contextlib.ExitStack] = WeakKeyDictionary()
"""What is to be closed, for each reactor."""


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
        waiting = _waiting[reactor] = contextlib.ExitStack()
        reactor.addSystemEventTrigger("after", "shutdown", waiting.close)
    waiting.callback(close, *arguments)
    reactor.callLater(0, waiting.close)
