"""A local terminal with a program on it, and how long a keystroke takes until it is on the screen."""

from __future__ import annotations

import os
import pty
import signal
import time
from collections.abc import Sequence

__all__ = ["ECHO_COMMAND", "READY", "WARM_UP_KEYS", "echo_latencies"]

READY = b"ready"

ECHO_COMMAND = f"echo {READY.decode()}; exec cat"
"""What runs on the terminal whose echo is measured.  When its first line is there the way is open from end to end, and
every program in between has its own terminal in raw mode."""

WARM_UP_KEYS = 20
"""Keystrokes before those that count."""

SCREEN_BYTES = 64 * 1024
"""Bytes of one read."""


def echo_latencies(command: Sequence[str], keys: int, *, is_drawn: bool = False) -> list[float]:
    """Run a program on a terminal, type into it and wait for the echo of each key.

    :param command: the program and its arguments; it is to run :data:`ECHO_COMMAND`, here or far away.
    :param keys: keystrokes.
    :param is_drawn: whether the program draws a screen: control sequences come with the echo.
    :returns: seconds of each.
    :raises EOFError: the program ended.
    :raises ValueError: something else than the echo came.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execvp(command[0], list(command))  # noqa: S606 - whose words are this benchmark's own
        finally:
            os._exit(127)
    try:
        _wait_for_ready(terminal, READY if is_drawn else READY + b"\r\n")
        return [_press(terminal, is_drawn) for _ in range(WARM_UP_KEYS + keys)][WARM_UP_KEYS:]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _wait_for_ready(terminal: int, line: bytes) -> None:
    shown = b""
    while line not in shown:
        try:
            data = os.read(terminal, SCREEN_BYTES)
        except OSError:  # Linux's way to say that nobody has the terminal any more
            data = b""
        if not data:
            raise EOFError(shown.decode(errors="replace").strip() or "the program on the terminal ended")
        shown += data


def _press(terminal: int, is_drawn: bool) -> float:
    start = time.perf_counter()
    os.write(terminal, b"x")
    shown = os.read(terminal, SCREEN_BYTES)
    while is_drawn and b"x" not in shown:
        shown = os.read(terminal, SCREEN_BYTES)
    seconds = time.perf_counter() - start
    if shown != b"x" and not is_drawn:
        raise ValueError(f"the echo of x was {shown!a}")
    return seconds
