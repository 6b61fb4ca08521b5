"""Fixtures of the tests of links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent

from tests.link.wire import collecting_log
from tests.server.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A server in memory."""
    return Rig()


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """The events that are logged during the test."""
    with collecting_log() as events:
        yield events
