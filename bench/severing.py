"""A client endpoint whose connections the program itself can sever, and that can be out of reach."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

__all__ = ["Severing"]


@implementer(IStreamClientEndpoint)
class Severing:
    """Connects as another endpoint does.

    :param endpoint: the other endpoint.
    :ivar is_reachable: whether a dial is made at all; otherwise it fails at once.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self.is_reachable = True
        self._endpoint = endpoint
        self._last: Any = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        if not self.is_reachable:
            return fail(Refusal())

        def remember(protocol: IProtocol) -> IProtocol:
            self._last = protocol
            return protocol

        return cast("Deferred[IProtocol]", self._endpoint.connect(protocolFactory).addCallback(remember))

    def sever(self) -> None:
        """Abort the last connection."""
        self._last.transport.abortConnection()
