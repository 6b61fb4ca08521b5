"""Servers as the command lines of ``twistd rsh`` describe them."""

from __future__ import annotations

from tests.serving import reactor
from twisted_rsh.server import RemoteShellService
from twisted_rsh.tap import Options, makeService

__all__ = ["WAY_OUT", "parsed", "service_of"]

WAY_OUT = "choose another place with --interface, --port or --listen"
"""The end of the line about a port that cannot be had."""


def parsed(*words: str) -> Options:
    """Return the options of a command line."""
    options = Options()
    options.parseOptions(list(words))
    return options


def service_of(*words: str) -> RemoteShellService:
    """Return the service that a command line makes."""
    service = makeService(parsed(*words), reactor)
    assert isinstance(service, RemoteShellService)
    return service
