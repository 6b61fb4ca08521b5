"""The FIFO of a shell's reports, which the shell opens by name, so that it has no descriptor of ours."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES, FlowControlledProtocol, OutputPipe
from twisted_rsh.execution.shells.folder import PrivateFolder

__all__ = ["ReportFifo"]


class ReportFifo(FlowControlledProtocol):
    """A FIFO in the private folder that the server reads for as long as the shell lives.

    It is open for writing here, too, so that it has no end and the shell never waits to open it.

    :param reactor: watches it.
    :param folder: the folder to make it in.
    :param received: takes the bytes, in pieces of any size.
    :ivar path: its absolute path.
    :raises OSError: it cannot be made; no descriptor stays open.
    """

    def __init__(self, reactor: IJobReactor, folder: PrivateFolder, received: Callable[[bytes], None]) -> None:
        self._received = received
        self.path = folder.place("reports")
        os.mkfifo(self.path, 0o600)
        fd = above_child_fds(os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        self._pipe = OutputPipe(reactor, fd, 0, self)
        self._pipe.resume()

    def take(self) -> None:
        """Read what has been written before this call, unless the FIFO is closed."""
        while self._pipe.buffered():
            self._pipe.doRead()

    def close(self) -> None:
        """Close it now; what is unread is lost."""
        self._pipe.close()

    def output_room(self, childFD: int) -> int:
        """See :meth:`FlowControlledProtocol.output_room`: a report always has room."""
        return READ_BYTES

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass the bytes on."""
        self._received(data)
