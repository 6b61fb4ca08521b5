"""Measures mosh, client and server: a datagram a key, and a screen that both sides know.

Mosh starts its server over ssh; here the benchmark starts it.  The client does not predict the echo: a prediction is on
the screen before the key has travelled.

``python -m bench.clients.mosh TASK``
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

from bench.conversation import answer, latencies, reach
from bench.keyboard import ECHO_COMMAND, echo_latencies
from bench.task import Task

__all__ = ["main"]

ORPHAN_SECONDS = "60"
"""Seconds after which a server without a client ends by itself."""

_CONNECT = re.compile(rb"MOSH CONNECT (\d+) (\S+)")
_DETACHED = re.compile(rb"pid = (\d+)")


@contextlib.contextmanager
def _server(task: Task) -> Iterator[list[str]]:
    """Start a server; gives the command line of a client of it."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "MOSH_SERVER_NETWORK_TMOUT": ORPHAN_SECONDS}
    command = ["mosh-server", "new", "-i", "127.0.0.1", "--", task.shell, "-c", ECHO_COMMAND]
    started = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    said = started.stdout + started.stderr
    connect, detached = _CONNECT.search(said), _DETACHED.search(said)
    if connect is None or detached is None:
        raise ConnectionError(said.decode(errors="replace").strip())
    port, key = connect.group(1).decode(), connect.group(2).decode()
    try:
        settings = ("LC_ALL=C.UTF-8", "TERM=xterm", "MOSH_PREDICTION_DISPLAY=never", f"MOSH_KEY={key}")
        sized = 'stty rows 24 cols 80; exec "$@"'  # it ends on a terminal without a size
        yield ["sh", "-c", sized, "sh", "env", *settings, "mosh-client", "127.0.0.1", port]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(detached.group(1)), signal.SIGKILL)


def _keystrokes(task: Task) -> dict[str, float]:
    with _server(task) as client:
        reach("ready")
        return latencies(echo_latencies(client, task.sizes.keys, is_drawn=True))


_WORKS = {"W8": _keystrokes}


def main(text: str) -> None:
    """Measure once.

    :param text: the task, as :meth:`bench.task.Task.to_json` writes it.
    """
    task = Task.from_json(text)
    answer(_WORKS[task.work](task))


if __name__ == "__main__":
    main(sys.argv[1])
