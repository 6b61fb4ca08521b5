"""The bars of a run on many hosts, on the last lines of the user's terminal."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from twisted_rsh.cli.descriptors import open_nonblocking
from twisted_rsh.cli.job_control import in_foreground, suspend_self
from twisted_rsh.cli.output import IOutputHolder
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.terminal import is_plain_terminal
from twisted_rsh.closing import close_after_events
from twisted_rsh.fleet.progress import progress_lines
from twisted_rsh.fleet.run import HostState

__all__ = ["REDRAW_SECONDS", "ProgressBar"]

REDRAW_SECONDS = 0.1
"""Seconds between two drawings at least: more of them no eye tells apart, and each is some hundred bytes."""

_ERASE = "\r\x1b[J"
"""Back to the first column, and erase what is there and below (ECMA-48 ED)."""


@implementer(IOutputHolder)
class ProgressBar:
    """Draws the bars while the run goes on, and makes place for lines of output.

    The cursor stays on the first line of the bars, so that the next text replaces them.  They are erased before SIGTSTP
    stops the client.

    :param reactor: the reactor, which runs in the program's main thread.
    :param outputs: the client's outputs; there are bars if its standard error is a terminal that knows how.
    :param counts: how many hosts are in each state; looked at for each drawing.
    :param fd: the descriptor of standard error.
    """

    def __init__(self, reactor: Any, outputs: LocalOutputs, counts: Mapping[HostState, int], fd: int = 2) -> None:
        self._reactor = reactor
        self._outputs = outputs
        self._counts = counts
        self._is_drawn = False
        self._drawing: IDelayedCall | None = None
        is_wanted = outputs.stderr.is_terminal and not outputs.quiet and not is_plain_terminal(os.environ)
        self._descriptor = open_nonblocking(fd, os.O_WRONLY) if is_wanted else None
        self._found: Any = None
        # A client that was started with the signal ignored goes on ignoring it.
        if self._descriptor is not None and signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            self._found = signal.signal(signal.SIGTSTP, self._caught)

    def changed(self) -> None:
        """Draw again, soon."""
        if self._descriptor is not None and self._drawing is None:
            self._drawing = self._reactor.callLater(REDRAW_SECONDS, self._draw)

    def output_waits(self) -> None:
        """See IOutputHolder."""
        self._erase()
        self.changed()

    def stop(self) -> None:
        """Leave nothing on the terminal, and draw no more.  May be called more than once."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        self._erase()
        if self._found is not None:
            signal.signal(signal.SIGTSTP, self._found)
            self._found = None
        if self._descriptor is not None:
            close_after_events(self._reactor, self._descriptor.close)
            self._descriptor = None

    def _caught(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._suspend)

    def _suspend(self) -> None:
        if self._descriptor is not None and in_foreground(self._descriptor.fd):
            self._erase()
        suspend_self()
        self.changed()

    def _draw(self) -> None:
        self._drawing = None
        if self._descriptor is None:
            return
        # In the background the terminal is another program's.
        if not in_foreground(self._descriptor.fd) or any(one.is_pending for one in self._shared()):
            self.changed()
            return
        size = os.terminal_size((80, 24))
        with contextlib.suppress(OSError):  # the terminal is gone
            size = os.get_terminal_size(self._descriptor.fd)
        lines = progress_lines(self._counts, size.columns, size.lines)
        up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
        self._is_drawn = True
        self._write(_ERASE + "\r\n".join(lines) + up + "\r")
        for output in self._shared():
            output.hold(self)

    def _erase(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            self._write(_ERASE)
            for output in self._shared():
                output.release()

    def _shared(self) -> list[Any]:
        return [output for output in (self._outputs.stdout, self._outputs.stderr) if output.is_terminal]

    def _write(self, text: str) -> None:
        if self._descriptor is not None:
            # A terminal that takes nothing now, because of Ctrl-S, shows a later drawing.
            with contextlib.suppress(OSError):
                self._descriptor.write(memoryview(text.encode("ascii")))
