"""``twisted-rsh status``: what the servers of this account on this machine do, once or again and again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import termios
from dataclasses import dataclass
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.protocols.amp import AMP

from twisted_rsh.manage.status_table import fit, safe, table
from twisted_rsh.server.control import ServerStatus
from twisted_rsh.server.control_client import (
    IncompleteAnswer,
    Problem,
    answer_of,
    ask_servers,
    config_folders,
    sessions_of,
)

__all__ = [
    "DEFAULT_WATCH_SECONDS",
    "MAX_WATCH_SECONDS",
    "MIN_WATCH_SECONDS",
    "STATUS_VERSION",
    "StatusOptions",
    "UnwritableOutput",
    "collect_status",
    "show_status",
    "watch_status",
]

STATUS_VERSION = 1
"""The version of the JSON object; members may be added to it without another one."""

DEFAULT_WATCH_SECONDS = 2.0
"""Seconds between two looks with ``--watch``, as with ``watch(1)``."""

MIN_WATCH_SECONDS = 0.1
"""Seconds between two looks at least: with thousands of sessions a look takes about as long."""

MAX_WATCH_SECONDS = 86_400.0
"""Seconds between two looks at most, a day."""

_ENTER_SCREEN = "\x1b[?1049h\x1b[?25l"
_LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """The options of ``twisted-rsh status``.

    :ivar config_dir: the folder of the keys and records, or ``None`` for the XDG folders.
    :ivar as_json: whether to show one JSON object.
    :ivar watch: seconds between two looks; ``None`` to look once.
    """

    config_dir: str | None = None
    as_json: bool = False
    watch: float | None = None


async def collect_status(reactor: Any, config_dir: str | None = None) -> dict[str, Any]:
    """Ask every server of this account on this machine.

    :param reactor: the reactor.
    :param config_dir: as in :class:`StatusOptions`.
    :returns: the object that ``--json`` shows.
    :raises Problem: the folder cannot be read.
    """

    async def ask(port: int, server: AMP) -> dict[str, Any]:
        answer = await answer_of(reactor, server, server.callRemote(ServerStatus))
        return {"port": port or None, **json.loads(answer["status"]), "sessions": await sessions_of(reactor, server)}

    found, problems = await ask_servers(reactor, config_folders(config_dir), ask)
    return {"version": STATUS_VERSION, "servers": found, "problems": list(map(str, problems))}


async def show_status(reactor: Any, options: StatusOptions) -> str:
    """Look once.

    :param reactor: the reactor.
    :param options: the options.
    :returns: the text to print.
    :raises IncompleteAnswer: a server does not answer.
    :raises Problem: as for :func:`collect_status`.
    """
    status = await collect_status(reactor, options.config_dir)
    lines = [json.dumps(status, indent=1)] if options.as_json else table(status)
    text = "".join(f"{line}\n" for line in lines)
    if status["problems"]:
        raise IncompleteAnswer(text, status["problems"])
    return text


async def watch_status(reactor: Any, options: StatusOptions, output: TextIO) -> None:
    """Look again and again, until the program gets SIGINT or SIGTERM.

    On a terminal that has a screen, each look is drawn over the last one, in the size that the terminal has then.
    Anything else gets one table after the other, or one JSON object a line.

    :param reactor: the reactor.
    :param options: the options, with `watch`.
    :param output: where to write.
    :raises BrokenPipeError: no process reads the output any more.
    :raises UnwritableOutput: the output cannot be written, as on a full disk.
    :raises Problem: as for :func:`collect_status`, at the first look; a later one shows its line as that of a server
        that does not answer.
    """
    assert options.watch is not None
    on_screen = not options.as_json and _has_screen(output)
    watch = _Watch(reactor, output, on_screen=on_screen, separator="" if options.as_json else "\n")
    lines = await _look(reactor, options)
    with watch.running():
        while True:
            watch.show(lines)
            if await watch.ended(options.watch):
                return
            try:
                lines = await _look(reactor, options)
            except Problem as problem:
                lines = _lines({"version": STATUS_VERSION, "servers": [], "problems": [str(problem)]}, options)


async def _look(reactor: Any, options: StatusOptions) -> list[str]:
    return _lines(await collect_status(reactor, options.config_dir), options)


def _lines(status: dict[str, Any], options: StatusOptions) -> list[str]:
    return [json.dumps(status)] if options.as_json else [*table(status), *map(safe, status["problems"])]


def _has_screen(output: TextIO) -> bool:
    return output.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


class UnwritableOutput(Problem):
    """What the program prints cannot be written; ``str()`` is one line that says why."""


class _Watch:
    """The terminal or file that is written to, and the signals meanwhile."""

    def __init__(self, reactor: Any, output: TextIO, *, on_screen: bool, separator: str) -> None:
        self._reactor = reactor
        self._output = output
        self._on_screen = on_screen
        self._lines: list[str] = []
        self._separator = separator
        self._between = ""
        self._has_ended = False
        self._waiting: Deferred[None] | None = None

    @contextlib.contextmanager
    def running(self) -> Any:
        """Take the signals and the screen, and give them back."""
        signals = {signal.SIGINT: self._end, signal.SIGTERM: self._end}
        if self._on_screen:
            signals[signal.SIGWINCH] = self._draw
            # A program that was started with the signal ignored goes on ignoring it.
            if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
                signals[signal.SIGTSTP] = self._suspend
        before = {
            number: signal.signal(number, lambda *_, call=call: self._reactor.callFromThread(call))
            for number, call in signals.items()
        }
        try:
            if self._on_screen:
                self._enter_screen()
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._on_screen:
                with contextlib.suppress(OSError, UnwritableOutput):
                    self.write(_LEAVE_SCREEN)

    def show(self, lines: list[str]) -> None:
        """Show a table."""
        self._lines = lines
        if self._on_screen:
            self._draw()
        else:
            self.write(self._between + "".join(f"{line}\n" for line in lines))
        self._between = self._separator

    def write(self, text: str) -> None:
        """Write, at once."""
        try:
            self._output.write(text)
            self._output.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UnwritableOutput(f"cannot write stdout: {error.strerror}") from None

    async def ended(self, seconds: float) -> bool:
        """Wait that long, or until a signal ends the program; tell whether one has."""
        if not self._has_ended:
            self._waiting = Deferred()
            timer = self._reactor.callLater(seconds, self._wake)
            await self._waiting
            if timer.active():
                timer.cancel()
        return self._has_ended

    def _enter_screen(self) -> None:
        """Take the screen, in the foreground: in the background the system stops this process until it is there."""
        with contextlib.suppress(termios.error):  # the terminal has no shell that could continue the process
            termios.tcflow(self._output.fileno(), termios.TCOON)
        self.write(_ENTER_SCREEN)

    def _suspend(self) -> None:
        """Give the screen back, do what SIGTSTP does, and take the screen again when the program is continued."""
        self.write(_LEAVE_SCREEN)
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self._enter_screen()
        self._draw()

    def _draw(self) -> None:
        size = os.get_terminal_size(self._output.fileno())
        lines = fit(self._lines, size.columns, size.lines)
        self.write(_HOME + "\r\n".join(f"{line}{_CLEAR_LINE}" for line in lines) + _CLEAR_BELOW)

    def _end(self) -> None:
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)
