"""The first use of a server: its key is shown, and the user says whether it is the right one.

Keys that were typed before the question are dropped: they cannot be its answer.
"""

from __future__ import annotations

import contextlib
import os
import termios
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_rsh.cli.input import IInputOwner, InputReader
from twisted_rsh.cli.job_control import in_foreground
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.terminal_settings import TerminalMode, TerminalSettings
from twisted_rsh.core.errors import Error

__all__ = ["MAX_ANSWERS", "MAX_ANSWER_BYTES", "FirstUse", "may_ask"]

MAX_ANSWERS = 5
"""Answers that may be neither yes nor no before the client gives up: a program that answers must not go on for ever."""

MAX_ANSWER_BYTES = 256
"""Bytes of an answer at most; a fingerprint has 50."""


def may_ask(options: ClientOptions) -> bool:
    """Tell whether there is a user to ask: a terminal to show the question on and to read the answer from.

    :param options: the command line; ``BatchMode``, ``-n``, ``-f`` and ``StrictHostKeyChecking=yes`` forbid it.
    """
    is_forbidden = options.batch_mode or options.stdin_is_empty or options.strict_host_key
    return not is_forbidden and os.isatty(0) and os.isatty(2)


class FirstUse:
    """Asks the user about the keys of servers.

    :param reactor: the reactor.
    :param outputs: shows the question on standard error.
    :param settings: the owner of the settings of the terminal that is standard input.
    """

    def __init__(self, reactor: Any, outputs: LocalOutputs, settings: TerminalSettings) -> None:
        self._reactor = reactor
        self._outputs = outputs
        self._settings = settings

    async def confirm(self, server: str, fingerprint: str) -> None:
        """Ask whether a key is that of a server.  Cancelling ends the question.

        :param server: names the server, for people.
        :param fingerprint: that of the key which it has shown.
        :raises Error: the user says no, or types another fingerprint, or there is no answer.
        """
        mode = self._settings.mode
        self._settings.use(TerminalMode.FOUND)
        if in_foreground(0):
            with contextlib.suppress(termios.error):
                termios.tcflush(0, termios.TCIFLUSH)
        try:
            self._say(f"The key of {server} is not known.  Its fingerprint is")
            self._say(fingerprint)
            self._say("Compare it with the one that the server's log shows.")
            for _ in range(MAX_ANSWERS):
                self._say("Is it the same?  Type yes, no, or the fingerprint:")
                answer = (await self._read_line()).strip()
                if answer in {"yes", fingerprint}:
                    return
                if answer.startswith("SHA256:"):
                    raise Error(f"the key of {server} is not the one that you typed; nothing was sent there")
                if answer in {"no", ""}:
                    break
        finally:
            self._settings.use(mode)
        raise Error(f"the key of {server} was not accepted; nothing was sent there")

    def _say(self, line: str) -> None:
        self._outputs.stderr.say(line)

    async def _read_line(self) -> str:
        line = _Line()
        reader = InputReader(self._reactor, 0, line)
        reader.resume()
        try:
            return (await line.read).decode("utf-8", "replace")
        finally:
            reader.stop()


@implementer(IInputOwner)
class _Line:
    """One line of a terminal, which gives a reader no byte after it.

    :ivar read: fires with the line, which may be cut short, and is empty at the end of the input.
    """

    def __init__(self) -> None:
        self.read: Deferred[bytes] = Deferred()
        self._line = b""

    def input_room(self) -> int:
        """See IInputOwner."""
        return 0 if self.read.called else MAX_ANSWER_BYTES - len(self._line)

    def input_received(self, data: bytes) -> None:
        """See IInputOwner."""
        self._line += data
        if self._line.endswith(b"\n") or len(self._line) == MAX_ANSWER_BYTES:
            self.read.callback(self._line)

    def input_ended(self, error: OSError | None) -> None:
        """See IInputOwner."""
        if not self.read.called:
            self.read.callback(b"")
