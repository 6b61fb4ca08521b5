"""Measures what this machine does with no remote shell in between.

``python -m bench.clients.local TASK``
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.conversation import answer, latencies, rate, reach, stream_rate
from bench.keyboard import ECHO_COMMAND, echo_latencies
from bench.surroundings import certificate_path
from bench.task import Task

__all__ = ["main"]

COPY_BYTES = 64 * 1024
"""Bytes of one write of the TLS copy, and of one read of a pipe."""

WARM_UP = 5
"""Commands before those that count."""


def _run_true(shell: str) -> None:
    ours: list[int] = []
    theirs: list[int] = []
    for stream in range(3):
        read, write = os.pipe()
        ours.append(write if stream == 0 else read)
        theirs.append(read if stream == 0 else write)
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, stream) for stream, descriptor in enumerate(theirs)]
    pid = os.posix_spawn(shell, [shell, "-c", "true"], os.environ, file_actions=actions)
    for descriptor in theirs:
        os.close(descriptor)
    for descriptor in ours[1:]:
        while os.read(descriptor, COPY_BYTES):
            pass
    os.waitpid(pid, 0)
    for descriptor in ours:
        os.close(descriptor)


def _timed(count: int, run: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _sequential(task: Task) -> dict[str, float]:
    _timed(WARM_UP, lambda: _run_true(task.shell))
    reach("ready")
    return latencies(_timed(task.sizes.commands, lambda: _run_true(task.shell)))


def _subprocess(task: Task) -> dict[str, float]:
    def run() -> None:
        subprocess.run(["sh", "-c", "true"], check=True)

    _timed(WARM_UP, run)
    reach("ready")
    return latencies(_timed(task.sizes.commands, run))


def _parallel(task: Task) -> dict[str, float]:
    count = task.sizes.commands
    _timed(WARM_UP, lambda: _run_true(task.shell))
    reach("ready")
    start = time.perf_counter()
    with ThreadPoolExecutor(task.sizes.at_once) as pool:
        for done in [pool.submit(_run_true, task.shell) for _ in range(count)]:
            done.result()
    return rate(count, time.perf_counter() - start)


def _tls_copy(task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    command = [sys.executable, "-m", "bench.clients.tls_sender", str(port), str(total), str(COPY_BYTES)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate_path(task.folder))
    with (
        listener,
        subprocess.Popen(command),
        listener.accept()[0] as accepted,
        context.wrap_socket(accepted, server_side=True) as connection,
    ):
        reach("ready")
        start = time.perf_counter()
        connection.sendall(b"g")
        buffer = bytearray(COPY_BYTES)
        received = 0
        while received < total:
            count = connection.recv_into(buffer)
            if not count:
                raise EOFError("the other end of the TLS copy is gone")
            received += count
        return stream_rate(total, time.perf_counter() - start)


def _keystrokes(task: Task) -> dict[str, float]:
    reach("ready")
    return latencies(echo_latencies([task.shell, "-c", ECHO_COMMAND], task.sizes.keys))


_WORKS = {
    "W1": _sequential,
    "W1s": _subprocess,
    "W2": _parallel,
    "W4": _tls_copy,
    "W5": _tls_copy,
    "W8": _keystrokes,
}


def main(text: str) -> None:
    """Measure once.

    :param text: the task, as :meth:`bench.task.Task.to_json` writes it.
    """
    task = Task.from_json(text)
    answer(_WORKS[task.work](task))


if __name__ == "__main__":
    main(sys.argv[1])
