"""The prompt: asks for one command after another, with an editor for its lines."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.application.current import set_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus, is_searching
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.search import accept_search
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_rsh.cli.asking import CONTINUATION, PROMPT, IPrompt, LineDropped, describe_state
from twisted_rsh.cli.completion import MAX_CANDIDATES, Completer, common_start, in_columns
from twisted_rsh.cli.continuation import CompletenessCheck, is_plainly_whole
from twisted_rsh.cli.foreground import Foreground
from twisted_rsh.cli.history import ConsoleHistory
from twisted_rsh.cli.job_control import stop_in_background
from twisted_rsh.cli.keys import PromptKeys
from twisted_rsh.cli.output import IOutputHolder
from twisted_rsh.cli.terminal_settings import TerminalMode
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["EditedPrompt"]

_EDITING_KEYS = frozenset("\x03\x04\x08\t\n\r\x1b")
"""The control characters that the prompt cannot do without: as escape characters they have no effect there."""

_T = TypeVar("_T")


@implementer(IOutputHolder, IPrompt)
class EditedPrompt:
    """Asks for one command after another, and shows output that comes meanwhile above the line.

    It needs a running asyncio loop.

    :param config: names the file of the history.
    :param foreground: has the outputs and the escapes.
    :param check: tells whether a text goes on with the next line.
    :param completer: completes what has been typed.
    """

    def __init__(
        self, config: ConfigFolders, foreground: Foreground, check: CompletenessCheck, completer: Completer
    ) -> None:
        self._foreground = foreground
        self._outputs = foreground.outputs
        self._settings = foreground.settings
        self._check = check
        self._completer = completer
        self._keys = PromptKeys(sys.stdin)
        self._state = ""
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            history=ConsoleHistory(config, foreground.outputs),
            key_bindings=self._bindings(),
            multiline=True,
            # What is only too long for a line of the screen goes on without a prompt, as in a shell.
            prompt_continuation=lambda _width, _line, wraps: "" if wraps else CONTINUATION,
            rprompt=self._right,
            search_ignore_case=True,
            complete_while_typing=False,
            input=self._keys,
            output=_output(),
        )
        self._keys.end_when(lambda: self._session.app.is_done)
        self._is_asking = False
        self._tasks: set[asyncio.Future[None]] = set()
        self._writing: asyncio.Future[None] | None = None

    async def ask(self, until: Deferred[Any]) -> str | None:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.ask`."""
        stop_in_background(0)  # a command may have been continued there, and have ended
        # Twisted's own signal handling is off, and the program's has to be in place again when a command runs.
        asking = asyncio.ensure_future(self._session.prompt_async(handle_sigint=False))
        needless = False

        def stop_asking(_result: object) -> None:
            nonlocal needless
            needless = True
            asking.cancel()

        until.addCallbacks(stop_asking, lambda _cancelled: None)
        self._is_asking = True
        self._outputs.hold(self)
        self._settings.use(TerminalMode.KEYS)
        self._settings.suspend_by(self._suspend)
        try:
            return await Deferred.fromFuture(asking)
        except BaseException:
            if needless:
                return None
            raise
        finally:
            self._settings.suspend_by(None)
            until.cancel()
            self._keys.release()
            for task in list(self._tasks):
                task.cancel()
            self._is_asking = False
            if self._writing is not None:
                await Deferred.fromFuture(self._writing)
            self._outputs.release()

    def show_state(self, folder: str | None, status: int, seconds: float) -> None:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.show_state`."""
        self._state = describe_state(folder, status, seconds)

    def take_back(self) -> bytes:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.take_back`."""
        return self._keys.take_back()

    def give(self, data: bytes) -> None:
        """See :meth:`~twisted_rsh.cli.asking.IPrompt.give`."""
        self._keys.give(data)

    def output_waits(self) -> None:
        """See :class:`~twisted_rsh.cli.output.IOutputHolder`."""
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_above())

    async def _write_above(self) -> None:
        """Take the prompt away, write what the outputs hold, and show the prompt again."""
        try:
            with set_app(self._session.app):
                async with in_terminal():
                    self._outputs.release()
                    await Deferred.fromCoroutine(self._outputs.settle()).asFuture(asyncio.get_running_loop())
        finally:
            self._writing = None
            if self._is_asking:
                self._outputs.hold(self)

    def _right(self) -> str:
        # The state is for the moment of typing: what stays on the screen is the command alone.
        return "" if self._session.app.is_done else self._state

    # Keys

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()
        at_line = has_focus(DEFAULT_BUFFER)

        @keys.add("c-c", filter=at_line)
        def drop_line(event: KeyPressEvent) -> None:
            # Not prompt_toolkit's KeyboardInterrupt: raised in an asyncio task, that ends the whole loop.
            event.app.exit(exception=LineDropped(), style="class:aborting")

        @keys.add("enter", filter=at_line | is_searching)
        @keys.add("c-j", filter=at_line | is_searching)
        def enter(_event: KeyPressEvent) -> None:
            if is_searching():
                accept_search()
            buffer = self._session.default_buffer
            if is_plainly_whole(buffer.text):
                buffer.validate_and_handle()
            else:
                self._keys.hold()  # the keys after this one may be for the command
                self._start(self._enter())

        @keys.add("tab", filter=at_line)
        def complete(_event: KeyPressEvent) -> None:
            self._start(self._complete())

        @keys.add("c-z", filter=at_line)
        def ignore(_event: KeyPressEvent) -> None:
            """Do what a shell's prompt does: nothing."""

        if self._foreground.escape is not None:
            self._add_escapes(keys, self._foreground.escape)
        return keys

    def _add_escapes(self, keys: KeyBindings, escape: str) -> None:
        def is_behind_escape() -> bool:
            buffer = self._session.default_buffer
            return buffer.text == escape and buffer.cursor_position == 1

        at_line = has_focus(DEFAULT_BUFFER)
        at_start = at_line & Condition(lambda: not self._session.default_buffer.text)
        is_behind = at_line & Condition(is_behind_escape)

        if escape < " " and escape not in _EDITING_KEYS:

            @keys.add(f"c-{chr(ord(escape) | 0x40).lower()}", filter=at_start, eager=True)
            def begin(event: KeyPressEvent) -> None:
                """Type the key, which otherwise edits the line or does nothing, as any other character."""
                event.current_buffer.insert_text(escape)

        @keys.add(".", filter=is_behind)
        def leave(event: KeyPressEvent) -> None:
            event.app.exit(exception=self._foreground.leaving(), style="class:aborting")

        @keys.add("?", filter=is_behind)
        def explain(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            self._foreground.explain_escapes()

        @keys.add("c-z", filter=is_behind)
        def suspend(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            self._suspend()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _enter(self) -> None:
        """End the line if the command is whole; else go on with the next line."""
        buffer = self._session.default_buffer
        try:
            is_whole = await self._ask(self._check.is_whole(buffer.text))
            if self._session.app.is_done:
                return
            if is_whole:
                buffer.validate_and_handle()
            else:
                buffer.cursor_position = len(buffer.text)
                buffer.insert_text("\n")
        finally:
            self._keys.release()

    async def _complete(self) -> None:
        """Insert what all completions have in common; show them where that is nothing.  Typing goes on meanwhile."""
        buffer = self._session.default_buffer
        before = buffer.document.text_before_cursor
        found = await self._ask(self._completer.complete(before))
        if found is None or self._session.app.is_done or buffer.document.text_before_cursor != before:
            return
        typed = before[len(before) - found.replaced :]
        common = common_start(found.texts)
        if len(found.texts) == 1 and not found.has_more:
            common += "" if found.is_open or common.endswith(("/", "=", " ")) else " "
        elif len(common) <= len(typed):
            if found.has_more:
                self._outputs.tell_line(f"[more than {MAX_CANDIDATES:,} fit]")
                return
            for line in in_columns(found.texts, self._session.output.get_size().columns):
                self._outputs.tell_line(line)
            return
        buffer.delete_before_cursor(found.replaced)
        buffer.insert_text(common)

    async def _ask(self, asking: Coroutine[Any, Any, _T]) -> _T:
        """Wait for what waits for Twisted's Deferreds."""
        answer: _T = await Deferred.fromCoroutine(asking).asFuture(asyncio.get_running_loop())
        return answer

    # Suspension

    def _suspend(self) -> None:
        self._start(self._suspend_without_prompt())

    async def _suspend_without_prompt(self) -> None:
        with set_app(self._session.app):
            async with in_terminal():
                self._settings.suspend()
                stop_in_background(0)


def _output() -> Vt100_Output:
    """Return the terminal, wherever stdout goes: a file gets what the commands write, and not the prompt."""
    stream = next((stream for stream in (sys.stdout, sys.stderr) if stream.isatty()), sys.stdin)
    fd = stream.fileno()
    output = Vt100_Output.from_pty(stream if stream is not sys.stdin else open(fd, "w", closefd=False))  # noqa: SIM115
    output.enable_cpr = False  # a late answer to the question where the cursor is would be typed into a command
    return output
