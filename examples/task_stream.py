"""Stream the output of a command while it runs.

    python examples/task_stream.py --port 8082

It needs a server of the same user's on this machine: ``twistd rsh --port 8082``.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import twisted_rsh


def connect(
    reactor: Any, options: argparse.Namespace
) -> Deferred[twisted_rsh.Connection]:
    """Connect to the server that the command line names."""
    config = None
    if options.config_dir is not None:
        config = twisted_rsh.ConfigFolders.at(options.config_dir)
    return twisted_rsh.connect(reactor, options.host, options.port, config=config)


async def lines(output: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Cut a stream, which comes in pieces of any size, into lines."""
    rest = b""
    async for chunk in output:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


async def show_errors(job: twisted_rsh.Job) -> None:
    """Read standard error.  A job waits when one of its outputs is not read."""
    async for line in lines(job.stderr):
        print("stderr:", line.decode())


async def stream(reactor: Any, options: argparse.Namespace) -> None:
    """Read both outputs at once, and one that never ends."""
    async with await connect(reactor, options) as connection:
        command = "for i in 1 2 3; do echo line $i; sleep 0.2; done; echo done >&2"
        async with connection.start(command) as job:
            errors = Deferred.fromCoroutine(show_errors(job))
            async for line in lines(job.stdout):
                print("stdout:", line.decode())
            await errors
            print((await job.wait()).ending)

        # `yes` writes without end.  It waits while nothing is read.
        async with connection.start("yes") as job:
            size = 0
            async for chunk in job.stdout:
                size += len(chunk)
                if size > 1_000_000:
                    break
            print("read enough:", size > 1_000_000)
        # Leaving the block has ended the job.


def main(reactor: Any) -> Deferred[None]:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    options = parser.parse_args()

    async def program() -> None:
        try:
            await stream(reactor, options)
        except twisted_rsh.Error as error:  # each of the package's own, in one line
            raise SystemExit(f"{parser.prog}: {error}") from None

    return Deferred.fromCoroutine(program())


if __name__ == "__main__":
    react(main)
