"""Coverage is not measured here."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Let these tests run at full speed: they go the same ways thousands of times, which others measure once."""
    measuring = coverage.Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    yield
    measuring.start()
