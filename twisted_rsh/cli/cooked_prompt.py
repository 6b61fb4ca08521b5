"""A prompt for terminals that understand no escape sequence: the system shows and edits the line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_rsh.cli.asking import CONTINUATION, PROMPT, SLOW_SECONDS, IPrompt, LineDropped, duration
from twisted_rsh.cli.continuation import CompletenessCheck
from twisted_rsh.cli.foreground import Foreground
from twisted_rsh.cli.history import ConsoleHistory
from twisted_rsh.cli.job_control import stop_in_background
from twisted_rsh.cli.output import IOutputHolder
from twisted_rsh.cli.terminal import local_encoding
from twisted_rsh.cli.terminal_settings import TerminalMode
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["CookedPrompt"]

_PIECE_BYTES = 64 * 1024

_END = b"\x04"
"""Ctrl-D, which a command has left unread."""


@implementer(IPrompt, IOutputHolder)
class CookedPrompt:
    """Asks for one command after another on a terminal in its usual mode.  It needs a running asyncio loop.

    The parameters are those of :class:`~twisted_rsh.cli.prompt.EditedPrompt`, but for completion, which needs a key.
    """

    def __init__(self, config: ConfigFolders, foreground: Foreground, check: CompletenessCheck) -> None:
        self._foreground = foreground
        self._outputs = foreground.outputs
        self._settings = foreground.settings
        self._check = check
        self._history = ConsoleHistory(config, foreground.outputs)
        self._given = b""
        self._lines: list[str] = []
        self._screen = next((fd for fd in (1, 2) if os.isatty(fd)), 0)
        self._writing: asyncio.Future[None] | None = None

    async def ask(self, until: Deferred[Any]) -> str | None:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.ask`."""
        stop_in_background(0)
        self._settings.use(TerminalMode.FOUND)
        loop = asyncio.get_running_loop()
        asking = asyncio.ensure_future(self._ask())
        needless = was_interrupted = False

        def stop_asking(_result: object) -> None:
            nonlocal needless
            needless = True
            asking.cancel()

        def interrupt() -> None:
            nonlocal was_interrupted
            was_interrupted = True
            self._echo("\n")
            asking.cancel()

        until.addCallbacks(stop_asking, lambda _cancelled: None)
        self._foreground.interrupts_prompt(lambda: loop.call_soon(interrupt))
        self._outputs.hold(self)
        try:
            return await Deferred.fromFuture(asking)
        except BaseException:
            if needless:
                return None
            if was_interrupted:
                raise LineDropped from None
            raise
        finally:
            until.cancel()
            self._foreground.interrupts_prompt(None)
            if self._writing is not None:
                await Deferred.fromFuture(self._writing)
            self._outputs.release()
            self._settings.use(TerminalMode.KEYS)

    async def _ask(self) -> str:
        self._lines = []
        self._echo(PROMPT)
        while True:
            line = await self._read_line()
            if line is None:
                if not self._lines:
                    self._echo("\n")
                    raise EOFError
                line = ""
            if not self._lines:
                self._escape(line)
            self._lines.append(line)
            text = "\n".join(self._lines)
            if not text.strip():
                return text
            if await Deferred.fromCoroutine(self._check.is_whole(text)).asFuture(asyncio.get_running_loop()):
                self._history.append_string(text)
                return text
            self._echo(CONTINUATION)

    def _escape(self, line: str) -> None:
        """Act on a line that is an escape."""
        escape = self._foreground.escape
        if escape is None:
            return
        if line == f"{escape}.":
            raise self._foreground.leaving()
        if line == f"{escape}?":
            self._foreground.explain_escapes()
            raise LineDropped

    async def _read_line(self) -> str | None:
        """Read a line; ``None`` at the end of the input."""
        # The system has not shown what comes from elsewhere.
        line, end, _ = self._given.partition(b"\n")
        self._echo_bytes(line.replace(_END, b"") + end)
        while b"\n" not in self._given:
            if self._given.startswith(_END):
                self._given = self._given[1:]
                return None
            data = await self._read()
            if not data:  # Ctrl-D, or the terminal is gone
                data = b"\n"
                if not self._given:
                    return None
            self._given += data.replace(b"\r", b"\n")
        line, _, self._given = self._given.partition(b"\n")
        return line.decode(local_encoding(), "surrogateescape")

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def is_ready() -> None:
            loop.remove_reader(0)
            ready.set_result(None)

        loop.add_reader(0, is_ready)
        try:
            await ready
        finally:
            loop.remove_reader(0)
        try:
            return os.read(0, _PIECE_BYTES)
        except OSError:  # EIO: the terminal is gone
            return b""

    def show_state(self, folder: str | None, status: int, seconds: float) -> None:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.show_state`; this prompt has room for the time alone."""
        if seconds >= SLOW_SECONDS:
            self._outputs.remark(f"[took {duration(seconds)}]")

    def take_back(self) -> bytes:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.take_back`."""
        data, self._given = self._given, b""
        with contextlib.suppress(OSError):
            while select.select([0], [], [], 0)[0] and (piece := os.read(0, _PIECE_BYTES)):
                data += piece
        # What the system has made of Enter and of Ctrl-D.
        return data.replace(b"\n", b"\r").replace(b"\0", _END)

    def give(self, data: bytes) -> None:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.give`."""
        self._given = data.replace(b"\r", b"\n") + self._given

    def output_waits(self) -> None:
        """See :class:`~twisted_rsh.cli.output.IOutputHolder`."""
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        """Write what the outputs hold on lines of its own, and show the prompt again."""
        self._echo("\n")
        self._outputs.release()
        try:
            await Deferred.fromCoroutine(self._outputs.settle()).asFuture(asyncio.get_running_loop())
        finally:
            self._writing = None
            self._outputs.hold(self)
            self._echo(CONTINUATION if self._lines else PROMPT)

    def _echo(self, text: str) -> None:
        self._echo_bytes(text.encode("ascii"))

    def _echo_bytes(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            os.write(self._screen, data)
