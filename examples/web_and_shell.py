"""A twisted.web application that also serves remote shells, on its own reactor.

    python examples/web_and_shell.py --web 8080 --shell 8082

The application has a portal of its own.  A client that logs in gets a user object of
the application, which runs three programs and nothing else.  The page counts the jobs.
Try it with

    trsh --argv 127.0.0.1 uptime
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as installed_reactor
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import Interface, implementer

from twisted_rsh.server import (
    Account,
    AuthorizedKeysChecker,
    ConfigFolders,
    IJob,
    IJobOwner,
    IShellUser,
    JobRefused,
    JobRequest,
    LocalUser,
    RefusalReason,
    RemoteShellService,
    ServiceOptions,
)

reactor: Any = installed_reactor

ALLOWED = {"uptime", "df", "who"}


@implementer(IShellUser)
class Operator:
    """A user who may look, and not touch."""

    def __init__(self, local: LocalUser) -> None:
        self._local = local
        self.name = local.name
        self.encoding = local.encoding
        self.jobs = 0

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """Start one of the allowed programs."""
        if request.argv is None or request.argv[0] not in ALLOWED:
            raise JobRefused(
                RefusalReason.NOT_PERMITTED,
                f"operators may run {', '.join(sorted(ALLOWED))}, with --argv",
            )
        self.jobs += 1
        return self._local.start_job(request, owner)


@implementer(IRealm)
class OperatorRealm:
    """Gives the one operator to each client that logs in."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def requestAvatar(
        self, avatarId: object, mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], Operator, Callable[[], None]]:
        """Return the operator; twisted.cred calls this."""
        if IShellUser not in interfaces:
            raise NotImplementedError("operators have shells only")
        return IShellUser, self._operator, lambda: None


class Page(Resource):
    """Shows how many jobs there were."""

    isLeaf = True

    def __init__(self, operator: Operator) -> None:
        Resource.__init__(self)
        self._operator = operator

    def render_GET(self, request: Request) -> bytes:
        """Return the page; twisted.web calls this."""
        return f"{self._operator.jobs} jobs so far\n".encode()


def serve(options: argparse.Namespace) -> None:
    """Serve the page and the shells until the program is interrupted."""
    config = ConfigFolders.default(os.environ)
    if options.config_dir is not None:
        config = ConfigFolders.at(options.config_dir)
    account = Account.current(os.environ)
    operator = Operator(LocalUser(reactor, account))
    reactor.listenTCP(options.web, Site(Page(operator)), interface="127.0.0.1")

    # The shells take these lines.  In a twistd application, setServiceParent() replaces
    # the last two.
    checker = AuthorizedKeysChecker(config, account.name)
    portal = Portal(OperatorRealm(operator), [checker])
    settings = ServiceOptions(port=options.shell)
    service = RemoteShellService(reactor, portal, config, settings)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--web", type=int, default=8080, help="port of the page")
    parser.add_argument("--shell", type=int, default=8082, help="port of the shells")
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    options = parser.parse_args()
    globalLogPublisher.addObserver(textFileLogObserver(sys.stderr))
    serve(options)


if __name__ == "__main__":
    main()
