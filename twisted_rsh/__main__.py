"""``python -m twisted_rsh [command ...]``: a server and its client in one process, to try the package out.

The server is private.  It listens on a free port of this machine for as long as the program runs, and its keys are in a
temporary folder of its own.  Everything else is as it is between two machines: TLS, the login, the protocol.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from twisted_rsh.cli.descriptors import ensure_standard_descriptors
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.program import install_reactor, run_client
from twisted_rsh.execution.account import Account
from twisted_rsh.server import RemoteShellService, ServiceOptions, local_portal
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["main"]

USAGE = """\
usage: python -m twisted_rsh [command ...]

Run a command, or without one the console, on a private server.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command on a private server; without a command the console, or the lines of stdin if it is no terminal.

    :param arguments: the command's words; ``None`` for this process's own command line.
    :returns: the exit status, as that of the client.
    """
    ensure_standard_descriptors()
    words = tuple(sys.argv[1:] if arguments is None else arguments)
    if words in {("-h",), ("--help",)}:
        os.write(1, USAGE.encode())
        return 0
    reactor = install_reactor(ClientOptions(command=words))
    with tempfile.TemporaryDirectory(prefix="twisted-rsh-") as folder:
        port = _start_server(reactor, ConfigFolders.at(folder))
        status = run_client(reactor, ClientOptions(command=words, config_dir=folder, port=port))
    return status if status >= 0 else 128 - status  # of a signal that came before the login


def _start_server(reactor: Any, config: ConfigFolders) -> int:
    """Start a server that stops with the reactor; return its TCP port."""
    portal = local_portal(reactor, config, Account.current(os.environ))
    service = RemoteShellService(reactor, portal, config, ServiceOptions(interfaces=["127.0.0.1"], port=0))
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    return service.tcp_port


if __name__ == "__main__":
    sys.exit(main())
