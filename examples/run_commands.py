"""Use the library: commands at once, a stream both ways, a time-out, a failure.

    python examples/run_commands.py --port 8082

It talks to a server of the same user's on this machine (``twistd rsh --port 8082``).
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from twisted_rsh.client import RemoteShell, connect
from twisted_rsh.client.errors import CommandFailed
from twisted_rsh.trust.home import Home


async def use(shell: RemoteShell) -> None:
    """Run a few commands."""
    # Any number of commands run at once.  They share the connection.
    first, second = await gatherResults(
        [shell.run("sleep 0.2; echo slow"), shell.run(["echo", "quick", "  as  is  "])]
    )
    print(first.check().text, second.check().text, sep="", end="")

    # Write and read while it runs.  Each side holds a window of bytes at most.
    job = shell.start("sort -r")
    for line in (b"one\n", b"two\n", b"three\n"):
        await job.stdin.write(line)
    job.stdin.end()
    async for chunk in job.stdout:
        print(chunk.decode(), end="")
    print((await job.wait()).ending)

    # The server keeps the time; what came until then is there.
    late = await shell.run("echo partial; sleep 60", timeout=0.5)
    print(late.ending, late.stdout)

    try:
        (await shell.run("exit 3")).check()
    except CommandFailed as failure:
        print(failure)


def main(reactor: Any) -> Deferred[None]:
    """Connect, use the shell, hang up."""
    parser = argparse.ArgumentParser(description="Run a few commands.")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--home", help="folder for keys (default: the XDG folders)")
    options = parser.parse_args()

    async def run() -> None:
        home = None if options.home is None else Home.at(options.home)
        shell = await connect(reactor, "127.0.0.1", options.port, home=home)
        try:
            await use(shell)
        finally:
            await shell.close()

    return Deferred.fromCoroutine(run())


if __name__ == "__main__":
    react(main)
