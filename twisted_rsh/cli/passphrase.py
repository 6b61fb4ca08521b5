"""The passphrase of a key: asked on the terminal, or by the program of ``SSH_ASKPASS``, as ssh does it.

ssh(1), ENVIRONMENT, says which of the two: ``SSH_ASKPASS_REQUIRE`` is ``never``, ``prefer`` or ``force``; without it
the program is run where there is no terminal, and a display for it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import termios
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from twisted_rsh.cli.input import IInputOwner, InputReader
from twisted_rsh.cli.terminal_settings import TerminalMode, TerminalSettings
from twisted_rsh.core.errors import Error
from twisted_rsh.trust.client_key import ClientKey, LockedKey, WrongPassphrase, load_client_key

__all__ = ["MAX_PASSPHRASES", "MAX_PASSPHRASE_BYTES", "PassphrasePrompt"]

MAX_PASSPHRASES = 3
"""Passphrases that are asked for one key, as many as ssh asks by default."""

MAX_PASSPHRASE_BYTES = 1023
"""Bytes of a passphrase at most, as in OpenSSH."""

POLL_SECONDS = 0.02
"""Seconds between two looks at a program that has printed a passphrase and not ended yet."""

_TERMINAL = "/dev/tty"
_DEFAULT_PROGRAM = "/usr/bin/ssh-askpass"


class PassphrasePrompt:
    """Asks the user for the passphrases of keys.

    :param reactor: the reactor.
    :param settings: the settings of the client's terminal, where that is its standard input; ``None`` where no other
        object changes them.
    """

    def __init__(self, reactor: Any, settings: TerminalSettings | None) -> None:
        self._reactor = reactor
        self._settings = settings

    async def unlock(self, path: str, locked: LockedKey) -> ClientKey:
        """Ask for the passphrase of a key until it is the right one.  Cancelling ends the question.

        :param path: its file.
        :param locked: the error that a reader of the file has raised.
        :returns: the key.
        :raises Error: there is nowhere to ask, or the user gives none, or too many wrong ones; one line.
        """
        question = f"Passphrase of the key {path!a}: "
        for attempt in range(MAX_PASSPHRASES):
            passphrase = await self._ask(question, locked)
            if not passphrase:
                break
            try:
                return load_client_key(path, passphrase)
            except WrongPassphrase:
                if attempt == MAX_PASSPHRASES - 1:
                    raise
                question = f"That is another passphrase.  Passphrase of the key {path!a}: "
        raise Error(f"no passphrase was given for the key {path!a}")

    async def _ask(self, question: str, locked: LockedKey) -> bytes:
        wish = os.environ.get("SSH_ASKPASS_REQUIRE", "")
        has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        if wish == "force" or (wish == "prefer" and has_display):
            return await self._ask_program(question)
        try:
            terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            if wish == "never" or not has_display:
                raise locked from None
            return await self._ask_program(question)
        try:
            return await self._ask_terminal(terminal, question)
        finally:
            os.close(terminal)

    async def _ask_terminal(self, terminal: int, question: str) -> bytes:
        settings = self._settings or TerminalSettings(self._reactor, terminal)
        mode = settings.mode
        settings.use(TerminalMode.HIDDEN)
        line = _Line()
        reader = InputReader(self._reactor, terminal, line)
        try:
            with contextlib.suppress(termios.error):
                termios.tcflush(terminal, termios.TCIFLUSH)  # what was typed before is no answer
            os.write(terminal, question.encode("utf-8", "surrogateescape"))
            reader.resume()
            return (await line.read).removesuffix(b"\n")
        finally:
            reader.stop()
            with contextlib.suppress(OSError):
                os.write(terminal, b"\n")
            settings.use(mode)

    async def _ask_program(self, question: str) -> bytes:
        program = os.environ.get("SSH_ASKPASS") or _DEFAULT_PROGRAM
        try:
            process = subprocess.Popen([program, question], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Error(f"no passphrase was given: {program!a} (SSH_ASKPASS): {reason}") from None
        assert process.stdout is not None
        line = _Line(to_the_end=True)
        reader = InputReader(self._reactor, process.stdout.fileno(), line)
        reader.resume()
        try:
            said = await line.read
            # The reactor has no handler of SIGCHLD in the client, so that nothing tells it of the program's end.
            while process.poll() is None:
                await deferLater(self._reactor, POLL_SECONDS)
        finally:
            reader.stop()
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise Error(f"no passphrase was given: {program!a} (SSH_ASKPASS): status {process.returncode}")
        return said.partition(b"\n")[0].rstrip(b"\r")


@implementer(IInputOwner)
class _Line:
    """One line of the terminal, or all that a program prints.  A terminal gives a reader one line at most.

    :param to_the_end: whether to read on after the line.
    :ivar read: fires with the line and its end; with nothing for a line too long.
    """

    def __init__(self, *, to_the_end: bool = False) -> None:
        self.read: Deferred[bytes] = Deferred()
        self._line = b""
        self._to_the_end = to_the_end

    def input_room(self) -> int:
        """See IInputOwner."""
        return 0 if self.read.called else MAX_PASSPHRASE_BYTES + 1 - len(self._line)

    def input_received(self, data: bytes) -> None:
        """See IInputOwner."""
        self._line += data
        if self._line.endswith(b"\n") and not self._to_the_end:
            self.read.callback(self._line)
        elif len(self._line) > MAX_PASSPHRASE_BYTES:
            self.read.callback(b"")

    def input_ended(self, error: OSError | None) -> None:
        """See IInputOwner."""
        if not self.read.called:
            self.read.callback(self._line if self._to_the_end else b"")
