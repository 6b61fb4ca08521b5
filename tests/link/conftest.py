"""Fixtures of the tests of links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent

from tests.link.wire import RawPeer, SocketWire, Wire, collecting_log
from tests.server.rig import Rig


@pytest.fixture(autouse=True, params=[Wire, SocketWire], ids=["tls", "lane"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each test run over Twisted's TLS, and over a lane, which a link with a session opens on a socket."""
    monkeypatch.setattr(RawPeer, "transport", request.param)


@pytest.fixture
def rig() -> Rig:
    """A server in memory."""
    return Rig()


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """The events that are logged during the test."""
    with collecting_log() as events:
        yield events
