"""``python -m twisted_rsh.server``: the same service as ``twistd rsh``, in the foreground, without the plugin."""

from __future__ import annotations

import sys
from typing import Any

from twisted.logger import globalLogBeginner

from twisted_rsh.server.line_log import LineLog
from twisted_rsh.tap import Options, makeService

__all__ = ["main"]


def main(arguments: list[str] | None = None, reactor: Any = None) -> None:
    """Serve until interrupted.

    :param arguments: the words of the command line after the program's name; ``None`` for this process's own.
    :param reactor: the reactor; ``None`` for the installed one.
    :raises SystemExit: the server cannot start, with status 2 and one line on stderr.
    """
    if reactor is None:
        from twisted.internet import reactor
    options = Options()
    options.parseOptions(sys.argv[1:] if arguments is None else arguments)
    service = makeService(options, reactor)
    globalLogBeginner.beginLoggingTo([LineLog(sys.stderr)], redirectStandardIO=False)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
