"""Keep a shell: what one command changes is there for the next.

    python examples/task_shell.py --port 8082

It needs a server of the same user's on this machine: ``twistd rsh --port 8082``.
"""

from __future__ import annotations

import argparse
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


async def keep(reactor: Any, options: argparse.Namespace) -> None:
    """Run commands in one shell."""
    async with await connect(reactor, options) as connection:
        async with await connection.open_shell() as shell:
            await shell.run("cd /tmp; greeting=hello; twice() { echo $1 $1; }")
            result = await shell.run("pwd; twice $greeting", check=True)
            print(result.text.split())

            # Each command has its own ending.  A time-out does not end the shell.
            print((await shell.run("sleep 60", timeout=0.5)).ending)
            print((await shell.run("(exit 3)")).ending)
            print((await shell.run("pwd", check=True)).text.strip())

            # Any command can read and write while it runs.
            async with shell.start("cat; echo from $PWD") as job:
                await job.stdin.write(b"to the command\n")
                job.stdin.end()
                async for chunk in job.stdout:
                    print(chunk.decode(), end="")

            # `exit` ends the shell, and the command with it.
            print((await shell.run("exit 5")).ending)
            print((await shell.wait()).ending)


def main(reactor: Any) -> Deferred[None]:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    options = parser.parse_args()

    async def program() -> None:
        try:
            await keep(reactor, options)
        except twisted_rsh.Error as error:  # each of the package's own, in one line
            raise SystemExit(f"{parser.prog}: {error}") from None

    return Deferred.fromCoroutine(program())


if __name__ == "__main__":
    react(main)
