"""A server of asyncssh's that runs commands as its own user, as its documentation shows: the peer of that name.

``python -m bench.servers.asyncssh_server FOLDER SHELL`` writes its port on stdout.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import os
import subprocess
import sys
import termios
from typing import Any

from bench.surroundings import authorized_keys_path, host_key_path

__all__ = ["main"]

# Imported by its name: it is installed for the benchmark alone, and nothing else needs its types.
_asyncssh: Any = importlib.import_module("asyncssh")


async def _exit_status(process: subprocess.Popen[bytes]) -> int:
    """Wait by a process descriptor: asyncio's own child watcher costs a thread per process on Python before 3.12."""
    loop = asyncio.get_running_loop()
    if not hasattr(os, "pidfd_open"):
        return await loop.run_in_executor(None, process.wait)
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


async def _on_terminal(channel: Any, words: list[str]) -> int:
    behind, terminal = os.openpty()
    process = subprocess.Popen(
        words,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - this server has one thread
    )
    os.close(terminal)
    keys, screen = os.fdopen(os.dup(behind), "wb", 0), os.fdopen(behind, "rb", 0)
    await channel.redirect(stdin=keys, stdout=screen, recv_eof=False)
    return await _exit_status(process)


async def _on_pipes(channel: Any, words: list[str]) -> int:
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe)
    await channel.redirect(stdin=process.stdin, stdout=process.stdout, stderr=process.stderr)
    await channel.stdout.drain()
    await channel.stderr.drain()
    return await _exit_status(process)


async def _serve(folder: str, shell: str) -> None:
    async def run(channel: Any) -> None:
        words = [shell, "-c", channel.command]
        status = await (_on_terminal if channel.term_type else _on_pipes)(channel, words)
        channel.exit(status if status >= 0 else 255)

    server = await _asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key_path(folder)],
        authorized_client_keys=authorized_keys_path(folder),
        process_factory=run,
        encoding=None,
        line_editor=False,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


def main(folder: str, shell: str) -> None:
    """Serve until ended by a signal.

    :param folder: the folder of the keys.
    :param shell: the shell that runs commands.
    """
    asyncio.run(_serve(folder, shell))


if __name__ == "__main__":
    main(*sys.argv[1:])
