"""Survive a lost connection, and notice when that is impossible.

    python examples/task_reconnect.py --port 8082

It needs a server of the same user's on this machine: ``twistd rsh --port 8082``.
"""

from __future__ import annotations

import argparse
import sys
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
    return twisted_rsh.connect(
        reactor,
        options.host,
        options.port,
        config=config,
        fingerprint=options.fingerprint,
    )


def tell(outage: str | None) -> None:
    """Say that the connection was lost, or that there is another."""
    print("connected again" if outage is None else f"lost: {outage}", file=sys.stderr)


async def survive(reactor: Any, options: argparse.Namespace) -> None:
    """Run a command that goes on whatever happens to the connection."""
    async with await connect(reactor, options) as connection:
        connection.watch_link(tell)  # to show it; nothing else has to be done
        command = "for i in 1 2 3 4 5; do echo $i; sleep 0.3; done"
        grace = twisted_rsh.Grace(600)  # seconds that the job waits for us
        async with connection.start(command, on_disconnect=grace) as job:
            async for chunk in job.stdout:
                print(chunk.decode(), end="", flush=True)
            end = await job.wait()
        match end.ending:
            case twisted_rsh.Exited(code):
                print("exit status", code)
            case twisted_rsh.OutcomeUnknown(text):
                # The session is over.  The command may have done its work, or not.
                print("outcome unknown:", text)
            case other:
                print(other)

        # When the session is over, the next command fails at once.
        try:
            print((await connection.run("echo still here", check=True)).text, end="")
        except twisted_rsh.SessionLost as loss:
            print("the session is over:", loss.reason.value)


def main(reactor: Any) -> Deferred[None]:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    parser.add_argument(
        "--fingerprint", help="of the server's key (default: as recorded)"
    )
    options = parser.parse_args()

    async def program() -> None:
        try:
            await survive(reactor, options)
        except twisted_rsh.Error as error:  # each of the package's own, in one line
            raise SystemExit(f"{parser.prog}: {error}") from None

    return Deferred.fromCoroutine(program())


if __name__ == "__main__":
    react(main)
