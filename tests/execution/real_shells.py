"""Real persistent shells for tests, with short ways to start them and to run commands in them."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred

from tests.execution.owners import PATIENCE, RecordingOwner, reactor
from tests.tools import require_tool
from twisted_rsh.core.endings import Ending
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.shells.command import ShellCommand
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import ShellJob, start_shell
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees

__all__ = ["COLUMNS", "KINDS", "ROWS", "SHELLS", "RecordingOwner", "ShellRig", "account"]

SHELLS = ("bash", "dash", "zsh")
"""The shells of a known dialect."""

COLUMNS, ROWS = 132, 43
"""The size of the terminals."""

KINDS = [(shell, on_terminal) for shell in SHELLS for on_terminal in (False, True)]
"""Every shell on pipes and on a terminal."""


def account(home: Path) -> Account:
    """Return this process's own account with another home folder and UTF-8."""
    environ = dict(os.environ, HOME=str(home), LC_ALL="C.UTF-8")
    user = Account.current(environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
    environment = dict(user.environment, HOME=str(home))
    return Account(user.name, str(home), user.shell, user.encoding, tuple(sorted(environment.items())))


class ShellRig:
    """A running shell, its owner, and short ways to use it.

    :param home: the home folder of the shell's user, where the shell starts.
    :param shell: the name or the path of the shell.
    :param on_terminal: whether it has a terminal.
    :param folder: where the server's private folder for the shell is made; ``None`` for the home folder.
    :param environment: variables beside those of every job.
    """

    def __init__(
        self, home: Path, shell: str, on_terminal: bool = False, folder: Path | None = None, **environment: str
    ) -> None:
        self.path = shell if "/" in shell else require_tool(shell)
        self.home = home
        self.owner = RecordingOwner()
        request = JobRequest(shell=self.path, environment=tuple(environment.items()))
        self.shell: ShellJob = start_shell(
            reactor,
            plan_shell(request, account(home)),
            self.owner,
            JobTree(JobTrees(reactor)),
            Terminal(columns=COLUMNS, rows=ROWS) if on_terminal else None,
            folder=str(folder or home),
        )

    async def ready(self) -> None:
        """Wait until it takes commands."""
        ready: Deferred[None] = Deferred()
        self.shell.when_ready(lambda: ready.callback(None))
        await ready.addTimeout(PATIENCE, reactor)

    def begin(self, text: str, room: int | None = None) -> tuple[ShellCommand, RecordingOwner]:
        """Begin a command; `room` bounds its output as for :class:`RecordingOwner`."""
        owner = RecordingOwner(room)
        return self.shell.start_command(JobRequest(command=text), owner), owner

    async def run(self, text: str, data: bytes | None = b"") -> RecordingOwner:
        """Run a command to its end, with this input; with ``None`` its input has no end."""
        command, owner = self.begin(text)
        if data:
            command.write_input(data)
        if data is not None and self.shell.process.feed is None:
            command.end_input()
        await owner.finished()
        return owner

    async def output(self, text: str) -> str:
        """Run a command and return its output, with a terminal's line ends changed to newlines."""
        return (await self.run(text)).stdout.decode().replace("\r\n", "\n")

    async def status(self, text: str) -> Ending:
        """Run a command and return its ending."""
        return (await self.run(text)).ending

    def ended(self) -> Deferred[None]:
        """Wait for the end of the shell."""
        return self.owner.finished()

    async def leave(self) -> None:
        """Let the shell exit; end it by force if it does not."""
        if not self.owner.endings:
            self.shell.end_input()
            reactor.callLater(3, self.shell.terminate)
            await self.ended()
