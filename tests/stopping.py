"""SIGINT and SIGTERM end a run of the tests with one line.

Every test runs inside Twisted's reactor, in a greenlet of its own (see ``pytest_twisted``).  The reactor's own handlers
would stop the reactor, and each test that is left would then fail.  Here the signal ends the run instead: pytest gets
its ``Exit`` where it waits for the test, so that fixtures are still torn down and servers stopped.
"""

from __future__ import annotations

import signal
from types import FrameType

import greenlet
import pytest
import pytest_twisted

__all__ = ["end_run_on_signals", "give_signals_back"]

ENDING = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a run."""

_tests = greenlet.getcurrent()
"""The greenlet in which pytest itself runs: the one that imports this module."""

_is_over = False


def end_run_on_signals() -> None:
    """Install the handlers.  Call this after each moment at which the reactor may have installed its own."""
    for number in ENDING:
        signal.signal(number, _end_run)


def give_signals_back() -> None:
    """Let SIGINT and SIGTERM do again what they do to any Python program.  Call this when the last test is over.

    pytest-xdist sends its workers SIGINT then, and the reactor puts back the handlers that it found.
    """
    global _is_over
    _is_over = True


def _end_run(number: int, frame: FrameType | None) -> None:
    if _is_over:
        signal.default_int_handler(number, frame)
    for each in ENDING:  # a second one during the clean-up would leave servers behind
        signal.signal(each, signal.SIG_IGN)
    name = signal.Signals(number).name
    ending = pytest.exit.Exception(f"{name} ended the run", returncode=128 + number)
    if greenlet.getcurrent() is pytest_twisted._instances.gr_twisted:
        # Raised here, the exception would be the reactor's, which logs it and goes on.
        _tests.throw(ending)
    else:
        raise ending
