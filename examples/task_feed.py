"""Feed a command: bytes, a file, a generator, or piece by piece.

    python examples/task_feed.py --port 8082

It needs a server of the same user's on this machine: ``twistd rsh --port 8082``.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
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


async def numbers() -> AsyncIterator[bytes]:
    """Make input while it is read: the job takes a piece, then the next is made."""
    for number in range(100_000):
        yield b"%d\n" % number


async def feed(reactor: Any, options: argparse.Namespace) -> None:
    """Give input in four ways."""
    async with await connect(reactor, options) as connection:
        result = await connection.run("sort", stdin=b"pear\napple\n", check=True)
        print(result.text.split())

        with open(__file__, "rb") as file:
            result = await connection.run("grep -c import", stdin=file, check=True)
        print("imports:", result.text.strip())

        result = await connection.run("wc -l", stdin=numbers(), check=True)
        print("lines:", result.text.strip())

        # By hand, when what you write depends on what you read.
        command = "while read n; do echo $((n * 7)); done"
        async with connection.start(command) as job:
            value = b"1"
            for _ in range(3):
                await job.stdin.write(value + b"\n")
                value = (await job.stdout.read()).strip()
            job.stdin.end()
            print("product:", value.decode(), (await job.wait()).ending)


def main(reactor: Any) -> Deferred[None]:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    options = parser.parse_args()

    async def program() -> None:
        try:
            await feed(reactor, options)
        except twisted_rsh.Error as error:  # each of the package's own, in one line
            raise SystemExit(f"{parser.prog}: {error}") from None

    return Deferred.fromCoroutine(program())


if __name__ == "__main__":
    react(main)
