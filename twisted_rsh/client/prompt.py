"""The console's prompt: asks for a line, and lets what is written meanwhile appear above it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.application.current import set_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output import create_output
from twisted.internet.defer import Deferred

from twisted_rsh.client.foreground import Foreground
from twisted_rsh.client.local_output import Showing
from twisted_rsh.client.outage import GaveUp
from twisted_rsh.client.persistent_shell import PersistentShell
from twisted_rsh.client.signals import stand_still
from twisted_rsh.trust.files import FileProblem, ensure_private_folder
from twisted_rsh.trust.home import Home

__all__ = ["PROMPT", "LineDropped", "Prompt", "open_history"]

PROMPT = ">>: "
"""What the console shows when it waits for a command."""


def open_history(home: Home) -> History:
    """Return the history of earlier consoles, or an empty one if it cannot be kept, or not safely."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        ensure_private_folder(os.path.dirname(home.history_path))
        os.close(os.open(home.history_path, flags, 0o600))
    except (FileProblem, OSError):
        return InMemoryHistory()
    return FileHistory(home.history_path)


class LineDropped(Exception):
    """The user interrupted the line that was being typed."""


class Prompt:
    """Asks for one line after another.  It needs a running asyncio loop.

    :param home: where the history is.
    """

    def __init__(self, home: Home) -> None:
        keys = KeyBindings()

        @keys.add("c-c")
        def drop_line(event: KeyPressEvent) -> None:
            # Not the KeyboardInterrupt of prompt_toolkit: raised in an asyncio task, that ends the whole loop.
            event.app.exit(exception=LineDropped(), style="class:aborting")

        @keys.add(".", filter=Condition(self._is_leaving))
        def give_up(event: KeyPressEvent) -> None:
            event.app.exit(exception=GaveUp(), style="class:aborting")

        # Where stdout is a file, it gets what the commands write and not the prompt.
        output = create_output(always_prefer_tty=True)
        self._session: PromptSession[str] = PromptSession(history=open_history(home), key_bindings=keys, output=output)
        self._foreground: Foreground | None = None
        self._held: deque[Callable[[], None]] = deque()
        self._asking: asyncio.Future[str] | None = None
        self._above: asyncio.Future[None] | None = None
        self._standing: asyncio.Future[None] | None = None

    def show_background(self, shell: PersistentShell, foreground: Foreground, encoding: str | None) -> None:
        """Show what a shell writes while no command runs in it: above the prompt while there is one.

        :param encoding: the code page of its text; ``None`` for the one that the server names.
        """
        self._foreground = foreground
        for stream, output in ((shell.stdout, foreground.stdout), (shell.stderr, foreground.stderr)):
            showing = output.prepare(stream, shell, encoding)
            stream.forward(partial(self._came, showing), showing.end)

    async def ask(self, until: Deferred[Any]) -> str | None:
        """Ask for a line.

        :param until: when it fires, nobody needs the line any more; cancelled when there is one.
        :returns: the line, or ``None`` if nobody needs it.
        :raises LineDropped: there is none; ask again.
        :raises EOFError: there is none, and there will be none.
        :raises twisted_rsh.client.outage.GaveUp: the user typed ``~.`` during an outage.
        """
        # Twisted's own signal handling is off, and the program's is what should be there when a command runs.
        asking = asyncio.ensure_future(self._session.prompt_async(PROMPT, handle_sigint=False))
        needless = False

        def give_up(_result: object) -> None:
            nonlocal needless
            needless = True
            asking.cancel()

        until.addCallbacks(give_up, lambda _cancelled: None)
        self._asking = asking
        before = signal.getsignal(signal.SIGTSTP)
        if before is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._suspend)
        try:
            return await Deferred.fromFuture(asking)
        except BaseException:
            if needless:
                return None
            raise
        finally:
            if before is not signal.SIG_IGN:
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
            until.cancel()
            self._asking = None
            if self._above is not None:
                await Deferred.fromFuture(self._above)

    def above(self, act: Callable[[], None]) -> None:
        """Do something that writes: above the prompt while there is one, and at once otherwise."""
        if self._asking is None:
            act()
            return
        self._held.append(act)
        if self._above is None:
            self._above = asyncio.ensure_future(self._write_above())

    def _came(self, showing: Showing, data: bytes) -> None:
        self.above(partial(showing.piece, data))

    def _is_leaving(self) -> bool:
        is_outage = self._foreground is not None and self._foreground.outage.is_on
        return is_outage and self._session.default_buffer.text == "~"

    async def _write_above(self) -> None:
        try:
            await self._without_prompt(self._write_held)
        finally:
            self._above = None

    async def _write_held(self) -> None:
        assert self._foreground is not None
        while self._held:
            self._held.popleft()()
        self._foreground.end_line()
        await Deferred.fromCoroutine(self._foreground.flushed()).asFuture(asyncio.get_running_loop())

    async def _without_prompt(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something on the terminal while the prompt is not there."""
        with set_app(self._session.app):
            async with in_terminal():
                await act()

    def _suspend(self) -> None:
        async def suspend() -> None:
            stand_still()

        self._standing = asyncio.ensure_future(self._without_prompt(suspend))
