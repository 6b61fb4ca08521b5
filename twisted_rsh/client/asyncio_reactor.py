"""The reactor of programs that prompt: prompt_toolkit runs on asyncio, and so Twisted does too."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["install_asyncio_reactor"]


def install_asyncio_reactor() -> Any:
    """Install Twisted's asyncio reactor, and return it.

    The loop is made current first: prompt_toolkit looks for it there.

    :raises twisted.internet.error.ReactorAlreadyInstalledError: another reactor was imported before.
    """
    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor

    return reactor
