"""Run commands: the output, the ending, a failure and a time-out.

    python examples/task_run.py --port 8082

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


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Run one command after another."""
    async with await connect(reactor, options) as connection:
        # A text is a command line for the user's shell.
        result = await connection.run("echo hello; echo oops >&2; exit 3")
        print(result.text, result.error_text, result.ending)

        # A list is a program and its arguments.  No shell sees them.
        result = await connection.run(["printf", "%s|", "$HOME", "as  it  is"])
        print(result.text)

        # With check=True everything but exit status 0 is an exception.
        try:
            await connection.run("ls /no/such/folder", check=True)
        except twisted_rsh.CommandFailed as failure:
            print("failed:", failure.result.ending)

        # The server keeps the time.  The result has what came until then.
        result = await connection.run("echo partial; sleep 60", timeout=2)
        match result.ending:
            case twisted_rsh.Exited(code):
                print("exit status", code)
            case twisted_rsh.Signalled(signal):
                print("killed by", signal)
            case twisted_rsh.TimedOut(seconds):
                print("stopped after", seconds, "s, with", result.text)
            case other:
                print(other)


def main(reactor: Any) -> Deferred[None]:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    options = parser.parse_args()

    async def program() -> None:
        try:
            await run(reactor, options)
        except twisted_rsh.Error as error:  # each of the package's own, in one line
            raise SystemExit(f"{parser.prog}: {error}") from None

    return Deferred.fromCoroutine(program())


if __name__ == "__main__":
    react(main)
