"""A client that uses the library: commands at once, a stream in both directions, a time-out, a failure.

    python examples/run_commands.py --port 8082

It talks to a server of the same user's on this machine (``twistd rsh --port 8082``).
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from twisted_rsh import Connection, connect
from twisted_rsh.client.result import CommandFailed
from twisted_rsh.trust.home import ConfigFolders


async def use(connection: Connection) -> None:
    """Run a few commands."""
    # One after another, or any number at once: they share the connection and do not wait for each other.
    first, second = await gatherResults(
        [connection.run("sleep 0.2; echo slow"), connection.run(["echo", "quick", "  as  is  "])]
    )
    print(first.check().text, second.check().text, sep="", end="")

    # While it runs: write a little, read a little.  Neither side holds more than a window of bytes.
    job = connection.start("sort -r")
    for line in (b"one\n", b"two\n", b"three\n"):
        await job.stdin.write(line)
    job.stdin.end()
    async for chunk in job.stdout:
        print(chunk.decode(), end="")
    print((await job.wait()).ending)

    # The server keeps the time; what came until then is there.
    late = await connection.run("echo partial; sleep 60", timeout=0.5)
    print(late.ending, late.stdout)

    try:
        (await connection.run("exit 3")).check()
    except CommandFailed as failure:
        print(failure)


def main(reactor: Any) -> Deferred[None]:
    """Connect, use the shell, hang up."""
    parser = argparse.ArgumentParser(description="Run a few commands on a server of this user's.")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--config-dir", help="folder for keys and records (default: the XDG folders)")
    options = parser.parse_args()

    async def run() -> None:
        config = None if options.config is None else ConfigFolders.at(options.config)
        connection = await connect(reactor, "127.0.0.1", options.port, config=config)
        try:
            await use(connection)
        finally:
            await connection.close()

    return Deferred.fromCoroutine(run())


if __name__ == "__main__":
    react(main)
