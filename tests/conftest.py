"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.serving import Serving
from twisted_rsh.client import RemoteShell
from twisted_rsh.trust.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The folders of a user who has never run anything."""
    return Home.at(str(tmp_path / "home"))


@pytest_twisted.async_yield_fixture
async def serving(home: Home) -> AsyncIterator[Serving]:
    """A running server."""
    serving = Serving(home)
    await serving.start()
    yield serving
    await serving.stop()


@pytest_twisted.async_yield_fixture
async def shell(serving: Serving) -> AsyncIterator[RemoteShell]:
    """A shell connected to a running server."""
    yield await serving.shell()
