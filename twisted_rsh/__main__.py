"""``python -m twisted_rsh [command ...]``: a server and its client in one process, for trying it out.

The server is private: it listens on a free port of this machine for as long as the program runs, with keys in a folder
of its own that goes away with it.  Everything else is as between two machines: TLS, the login, the protocol.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted_rsh.cli.descriptors import ensure_standard_descriptors
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.program import run_client
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["main"]

USAGE = "usage: python -m twisted_rsh [command ...]\n\nRun a command, or the console, on a server of its own.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or what stdin has, or the console, on a private server.

    :param arguments: the command's words; ``None`` for this process's own command line.
    :returns: the exit status, as that of the client.
    """
    ensure_standard_descriptors()
    words = tuple(sys.argv[1:] if arguments is None else arguments)
    if words in {("-h",), ("--help",)}:
        os.write(1, USAGE.encode())
        return 0
    with tempfile.TemporaryDirectory(prefix="twisted-rsh-") as folder:
        return run_client(ClientOptions(command=words, config_dir=folder), _serve)


def _serve(reactor: Any, options: ClientOptions) -> ClientOptions:
    from twisted_rsh.execution.account import Account
    from twisted_rsh.server import RemoteShellService, ServiceOptions, local_portal

    assert options.config_dir is not None
    config = ConfigFolders.at(options.config_dir)
    portal = local_portal(reactor, config, Account.current(os.environ))
    service = RemoteShellService(reactor, portal, config, ServiceOptions(interfaces=["127.0.0.1"], port=0))
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    return replace(options, port=service.tcp_port)


if __name__ == "__main__":
    sys.exit(main())
