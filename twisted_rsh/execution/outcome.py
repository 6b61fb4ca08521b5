"""What the end of a process means: from what Twisted tells a process protocol to an ending."""

from __future__ import annotations

import os
import signal

from twisted.internet.error import ProcessDone, ProcessTerminated

from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, Signalled
from twisted_rsh.core.signals import SIGNAL_NAMES

__all__ = ["ending_of"]

_SIGNAL_BY_NUMBER = {
    int(signal.Signals[f"SIG{name}"]): name for name in sorted(SIGNAL_NAMES) if hasattr(signal, f"SIG{name}")
}
"""The signals that can travel and that this system has; ``IO`` comes before ``POLL`` and ``CHLD`` is no ``CLD``."""


def ending_of(reason: BaseException | None) -> Ending:
    """Put what a process protocol is told into an ending.

    :param reason: the value of the failure that `processExited` and `processEnded` get.
    :returns: the ending; :class:`OutcomeUnknown` for a status that was lost, and for a signal without a name.
    """
    if isinstance(reason, ProcessDone):
        return Exited(0)
    if not isinstance(reason, ProcessTerminated):
        return OutcomeUnknown(str(reason))
    if reason.signal is None:
        return Exited(reason.exitCode)
    name = _SIGNAL_BY_NUMBER.get(reason.signal)
    if name is None:
        return OutcomeUnknown(f"a signal without a name, number {reason.signal}, ended the job")
    return Signalled(name, os.WCOREDUMP(reason.status))
