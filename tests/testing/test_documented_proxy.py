"""The last part of the example of docs/testing.rst, on the reactor."""

from __future__ import annotations

from tests.serving import asynchronous, reactor
from tests.testing.test_documented_example import ask_through_a_proxy


@asynchronous
async def test_through_a_proxy() -> None:
    """The documented example with the proxy works."""
    await ask_through_a_proxy(reactor)
