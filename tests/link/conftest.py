"""Fixtures of the tests of links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent

from tests.link.wire import LocalWire, RawPeer, SocketWire, Wire, collecting_log
from tests.server.rig import Rig

IDS = {Wire: "tls", SocketWire: "lane", LocalWire: "unix"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test run over Twisted's TLS, and over a lane, which a link with a session opens on a socket.

    A module whose tests are about more than TLS names its transports in ``TRANSPORTS``.
    """
    marks = metafunc.definition.iter_markers("parametrize")
    if not any(mark.args[0] == "transport" for mark in marks):
        transports = getattr(metafunc.module, "TRANSPORTS", (Wire, SocketWire))
        metafunc.parametrize("transport", transports, ids=IDS.__getitem__, indirect=True)


@pytest.fixture(autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the transport of the raw peers."""
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
