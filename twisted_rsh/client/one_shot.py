"""One command, given on the client's command line: the client stands in for it."""

from __future__ import annotations

from twisted_rsh.client.foreground import Foreground
from twisted_rsh.client.options import ClientOptions
from twisted_rsh.client.remote_shell import RemoteShell

__all__ = ["run_command"]


async def run_command(shell: RemoteShell, options: ClientOptions, foreground: Foreground) -> int:
    """Run the command with the client's own stdin, stdout and stderr.

    :param shell: the connection.
    :param options: the command, and how to run it.
    :param foreground: shows it.
    :returns: the exit status.
    :raises twisted_rsh.client.errors.ClientError: the client failed.
    """
    # As ssh does it: the words are joined by spaces, and the user's shell on the server takes them apart.
    command = options.command if options.argv else " ".join(options.command)
    job = shell.start(command, timeout=options.timeout)
    return foreground.tell(await foreground.run(job, None if options.stdin_is_empty else 0))
