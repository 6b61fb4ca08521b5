"""The observers of one server, all of which are told of each event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_rsh.interfaces import IServerObserver, JobRefused
from twisted_rsh.limited_log import TRACEBACKS_A_MINUTE, RateLimitedLog
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server_events import JobBegan, ServerEvent

__all__ = ["Observers"]


class Observers:
    """Tells every observer of an event.  One that breaks harms neither the server nor the other observers.

    A server without observers has ``None`` instead, and makes no events.

    :param observers: an application's observers, in the order in which they are told.
    :param clock: tells the time, usually the reactor.
    """

    log: ClassVar[Logger] = Logger(observer=leveled_log)

    def __init__(self, observers: Sequence[IServerObserver], clock: IReactorTime) -> None:
        self._observers = tuple(observers)
        # Strangers cause events.
        self._broken = RateLimitedLog(self.log, clock.seconds, TRACEBACKS_A_MINUTE)

    def report(self, event: ServerEvent) -> JobRefused | None:
        """Tell the observers of an event.

        :param event: the event.
        :returns: the refusal of the first observer that refuses the job, if a job begins; otherwise ``None``.
        """
        refusals = [self._tell(observer, event) for observer in self._observers]
        return next(filter(None, refusals), None)

    def _tell(self, observer: IServerObserver, event: ServerEvent) -> JobRefused | None:
        try:
            observer.happened(event)
        except JobRefused as refusal:
            return refusal if isinstance(event, JobBegan) else None
        except Exception:  # noqa: BLE001 - an application's observer
            self._broken.failure("an observer of the server broke", Failure())
        return None
