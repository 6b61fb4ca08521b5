"""The keys of the prompt: bytes become keys only up to the one that ends the prompt; the rest stays bytes.

prompt_toolkit reads all bytes that are there and keeps the keys after Enter for its next prompt.  Here they belong to
the command that Enter has started, as at a terminal, and the command wants bytes: the halves of characters, escape
sequences and markers of a paste that no key press can express.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import select
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO

from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from twisted_rsh.cli.terminal import local_encoding

__all__ = ["MAX_HELD_BYTES", "PromptKeys"]

MAX_HELD_BYTES = 1024 * 1024
"""Bytes that are read ahead of the prompt: a large paste; the terminal holds what comes after them."""

_PIECE_BYTES = 64 * 1024
_KEYS_PER_TURN = 1024
"""Keys that are handed out in one turn of the loop, so that a long paste does not hold it."""

_ENDING = frozenset({Keys.ControlM, Keys.ControlJ, Keys.ControlC, Keys.ControlD, Keys.ControlI, Keys.ControlZ})
"""Keys after which the prompt may be over, or may have to ask the server before it takes the next key."""

_PASTE_END = b"\x1b[201~"


class PromptKeys(Vt100Input):
    """The keys of the client's own terminal, for prompt_toolkit.

    The terminal has to be in the mode :attr:`~twisted_rsh.cli.terminal_settings.TerminalMode.KEYS`; this class changes
    no setting of it.

    :param stdin: the terminal.
    """

    def __init__(self, stdin: IO[str]) -> None:
        super().__init__(stdin)  # type: ignore[arg-type]  # a text file, which has what is needed
        self._raw = b""
        self._half = ""
        self._has_ended = False
        self._is_held = False
        self._is_over: Callable[[], bool] = lambda: False
        self._callback: Callable[[], None] | None = None
        self._is_watched = False
        self._decoder = codecs.getincrementaldecoder(local_encoding())("surrogateescape")

    def end_when(self, is_over: Callable[[], bool]) -> None:
        """Hand out no more keys while a condition holds: the prompt has its line.

        :param is_over: asked before each key.
        """
        self._is_over = is_over

    # What the prompt does

    def hold(self) -> None:
        """Hand out no more keys until :meth:`release`."""
        self._is_held = True

    def release(self) -> None:
        """Go on handing out keys.  Nothing happens if they are not held."""
        if self._is_held:
            self._is_held = False
            self._go_on_soon()

    def give(self, data: bytes) -> None:
        """Put bytes in front of all that is not handed out: a command has left them unread."""
        self._raw = data + self._raw

    def take_back(self) -> bytes:
        """Return all bytes that were typed and have become no key, those that the terminal still holds included."""
        self._read()
        half = self._half.encode(local_encoding(), "surrogateescape") + self._decoder.getstate()[0]
        data, self._raw, self._half = half + self._raw, b"", ""
        self._decoder.reset()
        self.vt100_parser.reset()
        return data

    # What prompt_toolkit calls

    def raw_mode(self) -> AbstractContextManager[None]:
        """Change nothing."""
        return contextlib.nullcontext()

    def cooked_mode(self) -> AbstractContextManager[None]:
        """Change nothing."""
        return contextlib.nullcontext()

    @property
    def closed(self) -> bool:
        """Whether the terminal is gone, and all keys are handed out."""
        return self._has_ended and not self._raw

    @contextlib.contextmanager
    def attach(self, input_ready_callback: Callable[[], None]) -> Iterator[None]:
        """Call a function whenever there are keys.

        :param input_ready_callback: the function.
        """
        with self._calling(input_ready_callback):
            yield

    @contextlib.contextmanager
    def detach(self) -> Iterator[None]:
        """Call no function meanwhile."""
        with self._calling(None):
            yield

    @contextlib.contextmanager
    def _calling(self, callback: Callable[[], None] | None) -> Iterator[None]:
        before, self._callback = self._callback, callback
        self._watch(callback is not None)
        self._go_on_soon()
        try:
            yield
        finally:
            self._callback = before
            self._watch(before is not None)
            self._go_on_soon()

    def read_keys(self) -> list[KeyPress]:
        """Return keys, up to one after which the prompt may be over."""
        keys: list[KeyPress] = []
        while self._raw and not self._is_held and not self._is_over() and len(keys) < _KEYS_PER_TURN:
            size = 1
            if self.vt100_parser._in_bracketed_paste:  # noqa: SLF001 - the parser has no other word for it
                end = self._raw.find(_PASTE_END)
                size = len(self._raw) if end < 0 else end + len(_PASTE_END)
            piece, self._raw = self._raw[:size], self._raw[size:]
            text = self._decoder.decode(piece)
            self._half += text
            self.vt100_parser.feed(text)
            found = self._take_keys()
            keys += found
            if any(key.key in _ENDING for key in found):
                break
        self._go_on_soon()
        return keys

    def flush_keys(self) -> list[KeyPress]:
        """Return the keys of an escape sequence that has not gone on."""
        self.vt100_parser.flush()
        return self._take_keys()

    def _take_keys(self) -> list[KeyPress]:
        keys, self._buffer = self._buffer, []
        for key in keys:
            self._half = "" if key.key == Keys.BracketedPaste else self._half[len(key.data) :]
        return keys

    # Reading

    def _watch(self, is_wanted: bool) -> None:
        loop = asyncio.get_running_loop()
        wanted = is_wanted and not self._has_ended and len(self._raw) < MAX_HELD_BYTES
        if wanted != self._is_watched:
            self._is_watched = wanted
            if wanted:
                loop.add_reader(self.fileno(), self._ready)
            else:
                loop.remove_reader(self.fileno())

    def _ready(self) -> None:
        self._read()
        self._watch(self._callback is not None)
        self._go_on()

    def _read(self) -> None:
        """Read what the terminal has, without waiting."""
        while not self._has_ended and len(self._raw) < MAX_HELD_BYTES:
            if not select.select([self.fileno()], [], [], 0)[0]:
                return
            try:
                data = os.read(self.fileno(), _PIECE_BYTES)
            except OSError:  # EIO: the terminal is gone
                data = b""
            self._has_ended = not data
            self._raw += data

    def _go_on_soon(self) -> None:
        if self._callback is not None and not self._is_held and (self._raw or self._has_ended):
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._callback is not None and not self._is_held and not self._is_over():
            self._watch(True)
            self._callback()
