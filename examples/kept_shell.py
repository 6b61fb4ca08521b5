"""Keep a shell for a program, such as an agent, that runs what it did not write.

    python examples/kept_shell.py --port 8082

It needs a server of the same user's on this machine: ``twistd rsh --port 8082``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

import twisted_rsh


def connect(
    reactor: Any, options: argparse.Namespace
) -> Deferred[twisted_rsh.Connection]:
    """Connect to the server that the command line names."""
    config = None
    if options.config_dir is not None:
        config = twisted_rsh.ConfigFolders.at(options.config_dir)
    return twisted_rsh.connect(reactor, options.host, options.port, config=config)


def show(name: str) -> Callable[[bytes], None]:
    """Return what shows the lines of an output as they come."""

    def show_chunk(chunk: bytes) -> None:
        for line in chunk.decode(errors="replace").split("\n"):
            if line:
                print(f"{name}: {line}")

    return show_chunk


class Cells:
    """Runs texts in one shell, and tells what a person wants to see of each."""

    def __init__(self, reactor: Any, shell: twisted_rsh.Shell) -> None:
        self._reactor = reactor
        self._shell = shell

    async def run(self, text: str, seconds: float = 30.0) -> twisted_rsh.Result:
        """Run a text, show its output as it comes, and say what happened to it."""
        result = await self._shell.run(
            text,
            timeout=seconds,
            on_stdout=show("out"),
            on_stderr=show("err"),
        )
        if result.replaced is not None:
            print(f"(a new shell: the one before ended with {result.replaced})")
        print(f"{result.ending} in {result.folder}")
        return result

    async def answer(self, text: str, answers: list[bytes]) -> None:
        """Run a text that asks for input; give an answer each time that it waits."""
        async with self._shell.start(text) as job:
            job.stdout.forward(show("out"))
            for answer in answers:
                while not await self._shell.waits_for_input():
                    await deferLater(self._reactor, 0.05)
                await job.stdin.write(answer)
            job.stdin.end()
            print((await job.wait()).ending)


async def keep(reactor: Any, options: argparse.Namespace) -> None:
    """Run commands that a program did not write."""
    async with await connect(reactor, options) as connection:
        shell = await connection.open_shell("bash", replace=True)
        cells = Cells(reactor, shell)
        await cells.run("cd /usr; echo output; echo and errors >&2; false")

        # A time-out ends the command, and not the shell; its output so far is there.
        result = await cells.run("cd /; echo partial; sleep 60", seconds=0.5)
        print(f"so far: {result.stdout!r}")

        # What the command left in the background is known, and can be ended.
        await cells.run("sleep 60 &")
        for process in await shell.jobs() or ():
            print(f"in the background: {process.command}, {process.state.value}")
            await cells.run(f"kill {process.pid}; wait {process.pid} 2>/dev/null; true")

        # A look sees whether a command waits for input.
        await cells.answer("read -r name; echo hello $name", [b"you\n"])

        # An aside sees all that the shell remembers, and changes nothing.
        aside = await shell.run("cd /tmp; ls /usr | grep '^b'", aside=True)
        print(f"aside: {aside.text.split()} in {aside.folder}")

        # A command that kills its shell: the next one runs in a new one, and says so.
        await cells.run("echo last words; kill -KILL $$")
        await cells.run("pwd -P >/dev/null")

        # The shell exits by itself: its traps run, and its status counts.
        await cells.run("trap 'echo bye; exit 4' EXIT")
        left = await shell.leave()
        print(f"left: {left.text.strip()}, {left.ending}")


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
