"""A twisted.web application that also serves remote shells, on the reactor it already runs.

    python examples/web_and_shell.py --web 8080 --shell 8082

It has a portal of its own: whoever may log in gets a user object of this application, which runs a few programs and
nothing else.  The page counts what was run.  Try it with

    python -m twisted_rsh.client --argv 127.0.0.1 uptime
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

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser, JobRefused
from twisted_rsh.server import RemoteShellService, ServiceOptions
from twisted_rsh.trust.cred import AuthorizedKeysChecker
from twisted_rsh.trust.home import ConfigFolders

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
    """Gives everybody who may log in the one operator."""

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
    """Tells how many jobs there were."""

    isLeaf = True

    def __init__(self, operator: Operator) -> None:
        Resource.__init__(self)
        self._operator = operator

    def render_GET(self, request: Request) -> bytes:
        """Return the page; twisted.web calls this."""
        return f"{self._operator.jobs} jobs so far\n".encode()


def main() -> None:
    """Serve both."""
    parser = argparse.ArgumentParser(
        description="A web page, and remote shells beside it."
    )
    parser.add_argument("--web", type=int, default=8080, help="TCP port of the page")
    parser.add_argument(
        "--shell", type=int, default=8082, help="TCP port of the shells"
    )
    parser.add_argument(
        "--config-dir", help="folder for keys and records (default: the XDG folders)"
    )
    options = parser.parse_args()
    globalLogPublisher.addObserver(textFileLogObserver(sys.stderr))

    config = (
        ConfigFolders.default(os.environ)
        if options.config is None
        else ConfigFolders.at(options.config)
    )
    account = Account.current(os.environ)
    operator = Operator(LocalUser(reactor, account))
    reactor.listenTCP(options.web, Site(Page(operator)), interface="127.0.0.1")

    # These three are all that it takes; inside a twistd application, setServiceParent() replaces the last two.
    portal = Portal(
        OperatorRealm(operator), [AuthorizedKeysChecker(config, account.name)]
    )
    service = RemoteShellService(
        reactor, portal, config, ServiceOptions(port=options.shell)
    )
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
