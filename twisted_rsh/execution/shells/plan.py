"""The plan of a persistent shell: its program, its dialect and its code page; and the encoded text of a command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.limits import MAX_SCRIPT_BYTES
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.plan import check_escapes, check_folder, check_program, encode_text, plan_job, shown
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.shells.dialects import DIALECTS, dialect_of
from twisted_rsh.execution.shells.talk import Dialect
from twisted_rsh.interfaces import JobRefused

__all__ = ["FALLBACKS", "MAX_SCRIPT_QUOTES", "ShellPlan", "command_text", "plan_shell"]

FALLBACKS = ("bash", "zsh", "dash", "sh")
"""Shells for a user whose own shell, such as fish, speaks no known dialect: the first in the search path is taken."""

MAX_SCRIPT_QUOTES = 512 * 1024
"""Single quotes in a command for a persistent shell, each of which the server writes as four: 10 ms for as many."""


@dataclass(frozen=True, slots=True)
class ShellPlan:
    """Everything that is needed to start a persistent shell.

    :ivar spawn: the program to execute.
    :ivar dialect: the dialect that it speaks.
    :ivar encoding: the code page of its commands, as Python names it.
    """

    spawn: SpawnPlan
    dialect: Dialect
    encoding: str


def plan_shell(
    request: JobRequest,
    account: Account,
    *,
    program_check: Callable[[bytes], None] = check_program,
    folder_check: Callable[[bytes], None] = check_folder,
) -> ShellPlan:
    """Plan a persistent shell for a request.

    The name is looked up like that of any program (:func:`twisted_rsh.execution.plan.plan_job`).  If the request names
    no shell and the account's own speaks no known dialect, the plan is for one of :data:`FALLBACKS`.

    :param request: the client's request.  Its `shell` is not ``None``; an empty one means the account's.
    :param account: the account that the shell runs as.
    :param program_check: raises ``OSError`` unless its argument, an absolute path, can be executed.
    :param folder_check: raises ``OSError`` unless its argument, an absolute path, can be entered.
    :returns: the plan; hand it to :func:`twisted_rsh.execution.shells.shell.start_shell`.
    :raises JobRefused: `SHELL_FAILED` for a shell that speaks no known dialect; else as `plan_job` has it.
    """

    def plan(name: str) -> tuple[SpawnPlan, Dialect | None]:
        named = replace(request, shell=None, startup_files=False, argv=(name,))
        spawn = plan_job(named, account, program_check=program_check, folder_check=folder_check)
        return spawn, dialect_of(spawn.executable)

    name = request.shell or account.shell
    spawn, dialect = plan(name)
    for fallback in () if request.shell else FALLBACKS:
        if dialect is None:
            with contextlib.suppress(JobRefused):  # this machine has no such shell
                spawn, dialect = plan(fallback)
    if dialect is None:
        known = ", ".join(sorted({dialect.name for dialect in DIALECTS.values()}))
        raise JobRefused(
            RefusalReason.SHELL_FAILED, f"{shown(name)} cannot be a persistent shell; ask for one of: {known}"
        )
    argv = (os.path.basename(spawn.executable), *dialect.arguments(startup_files=request.startup_files))
    withheld = dialect.withheld(startup_files=request.startup_files)
    environment = tuple((name, value) for name, value in spawn.environment if name not in withheld)
    return ShellPlan(replace(spawn, argv=argv, environment=environment), dialect, account.encoding)


def command_text(request: JobRequest, encoding: str) -> bytes:
    """Encode a command for a persistent shell.

    :param request: the request with the command.
    :param encoding: the shell's code page, from its :class:`ShellPlan`.
    :returns: the command's text, at most :data:`twisted_rsh.core.limits.MAX_SCRIPT_BYTES`.
    :raises JobRefused: `BAD_TEXT` for an empty command, or one with a NUL or a character that the code page lacks;
        `TOO_LONG`.
    """
    if not request.command:
        raise JobRefused(RefusalReason.BAD_TEXT, "the command is empty")
    check_escapes((request.command,), encoding)
    text = b""
    size = len(request.command)  # no character has less than a byte
    if size <= MAX_SCRIPT_BYTES:
        text = encode_text(request.command, encoding, "the command")
        size = len(text)
    if size > MAX_SCRIPT_BYTES:
        raise JobRefused(
            RefusalReason.TOO_LONG, f"the command has {size} bytes; at most {MAX_SCRIPT_BYTES} are allowed"
        )
    quotes = text.count(b"'")
    if quotes > MAX_SCRIPT_QUOTES:
        raise JobRefused(
            RefusalReason.TOO_LONG, f"the command has {quotes} single quotes; at most {MAX_SCRIPT_QUOTES} are allowed"
        )
    return text
