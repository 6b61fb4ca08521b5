"""Fixtures of the tests of the fault transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.conftest import async_fixture
from tests.testing.loopback import Loopback


@async_fixture
async def loopback() -> AsyncIterator[Loopback]:
    """A server of recorders, and a proxy in front of it."""
    loopback = Loopback()
    await loopback.start()
    yield loopback
    await loopback.stop()
