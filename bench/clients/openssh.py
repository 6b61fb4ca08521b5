"""Measures a server with OpenSSH's ``ssh``: through one connection that a master keeps, and a keystroke directly.

``python -m bench.clients.openssh TASK``
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.conversation import answer, beside_figures, latencies, rate, reach, stream_rate
from bench.keyboard import ECHO_COMMAND, echo_latencies
from bench.surroundings import AES_GCM, client_key_path, known_hosts_path
from bench.task import Task

__all__ = ["main", "ssh_command"]

CONNECT_SECONDS = 20.0
"""Seconds that the master has to log in; it takes a quarter of one."""

POLL_SECONDS = 0.02
"""Seconds between two looks at whether the master has logged in."""

WARM_UP = 3
"""Commands before those that count."""


def ssh_command(folder: str, port: int, user: str) -> list[str]:
    """Return the command line of ``ssh`` up to its destination, with the keys of a run and nobody's settings.

    :param folder: the folder of the keys.
    :param port: the server's TCP port.
    :param user: whom to log in as.
    """
    settings = {
        "BatchMode": "yes",
        "HostKeyAlgorithms": "ssh-ed25519",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": client_key_path(folder),
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": known_hosts_path(folder),
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *options, "-p", str(port), "-l", user]


def _ssh(task: Task) -> list[str]:
    return ssh_command(task.folder, task.port, task.user)


@contextlib.contextmanager
def _master(task: Task, *options: str) -> Iterator[list[str]]:
    """Keep a connection open; gives the command line, up to the command, of an ``ssh`` that uses it."""
    path = os.path.join(task.folder, f"m{os.getpid()}")
    command = [*_ssh(task), *options, "-M", "-N", "-S", path, "127.0.0.1"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as master:
        try:
            deadline = time.monotonic() + CONNECT_SECONDS
            while not os.path.exists(path):
                if master.poll() is not None or time.monotonic() > deadline:
                    raise ConnectionError("ssh did not log in")
                time.sleep(POLL_SECONDS)
            yield [*_ssh(task), "-T", "-S", path, "127.0.0.1"]
            # While sshd's process for this connection is there: its processor time is gone with it.
            reach("done")
        finally:
            # Not SIGTERM: ssh 9.2 lost it now and then, and was there for ever.
            master.kill()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _run(command: Sequence[str], stdin: int = subprocess.DEVNULL) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=stdin, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _sequential(task: Task) -> dict[str, float]:
    with _master(task) as ssh:
        _warm_up(ssh)
        return latencies([_run([*ssh, "true"]) for _ in range(task.sizes.commands)])


def _parallel(task: Task) -> dict[str, float]:
    with _master(task) as ssh:
        _warm_up(ssh)
        start = time.perf_counter()
        with ThreadPoolExecutor(task.sizes.at_once) as pool:
            for done in [pool.submit(_run, [*ssh, "true"]) for _ in range(task.sizes.commands)]:
                done.result()
        return rate(task.sizes.commands, time.perf_counter() - start)


def _stdout(task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    with _master(task, "-c", AES_GCM) as ssh:
        _warm_up(ssh)
        return stream_rate(total, _run([*ssh, f"head -c {total} /dev/zero"]))


def _stdin(task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    path = os.path.join(task.folder, "zeros")
    with open(path, "wb") as file:
        file.truncate(total)
    with _master(task, "-c", AES_GCM) as ssh, open(path, "rb") as zeros:
        _warm_up(ssh)
        return stream_rate(total, _run([*ssh, "cat >/dev/null"], zeros.fileno()))


def _keystrokes(task: Task) -> dict[str, float]:
    reach("ready")
    return latencies(echo_latencies([*_ssh(task), "-tt", "127.0.0.1", ECHO_COMMAND], task.sizes.keys))


def _keystrokes_beside(task: Task) -> dict[str, float]:
    with _master(task, "-c", AES_GCM) as ssh:
        _warm_up(ssh)
        typed = [word for word in ssh if word != "-T"]
        echo = [*typed[:-1], "-tt", typed[-1], ECHO_COMMAND]
        alone = echo_latencies(echo, task.sizes.keys)
        with subprocess.Popen([*ssh, "cat /dev/zero"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as bulk:
            try:
                beside = echo_latencies(echo, task.sizes.keys)
            finally:
                bulk.kill()
        return beside_figures(alone, beside)


def _warm_up(ssh: Sequence[str]) -> None:
    for _ in range(WARM_UP):
        _run([*ssh, "true"])
    reach("ready")


_WORKS = {"W1": _sequential, "W2": _parallel, "W4": _stdout, "W5": _stdin, "W8": _keystrokes, "W8b": _keystrokes_beside}


def main(text: str) -> None:
    """Measure once.

    :param text: the task, as :meth:`bench.task.Task.to_json` writes it.
    """
    task = Task.from_json(text)
    answer(_WORKS[task.work](task))


if __name__ == "__main__":
    main(sys.argv[1])
