"""The server's questions to a portal of ``twisted.cred``: may a key log in, and may it still?

:func:`local_portal` makes the portal of a stand-alone server; an application gives its own.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_rsh.execution.account import Account
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.trust.cred import AuthorizedKeysChecker, VerifiedKey
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["KeyCheck", "SingleUserRealm", "ask_portal", "check_key_again", "local_portal"]

_log = Logger(namespace=__name__)


def local_portal(reactor: Any, config: ConfigFolders, account: Account, trees: JobTrees | None = None) -> Portal:
    """Make the portal of a stand-alone server.

    One user may log in, the account, with a key from ``authorized_keys`` in the account's folder or with the account's
    own client key.  The portal looks at the files at each login, and reads one when it has changed.

    :param reactor: watches the jobs' processes.
    :param config: the account's folders.
    :param account: the account that jobs run as (:meth:`twisted_rsh.execution.account.Account.current`).
    :param trees: knows the processes of all jobs; ``None`` for a tracker that changes nothing about this process.
    """
    checker = AuthorizedKeysChecker(config, account.name)
    return Portal(SingleUserRealm(LocalUser(reactor, account, trees=trees)), [checker])


@implementer(IRealm)
class SingleUserRealm:
    """Gives the same user object to every client that the portal lets in.

    :param user: that user, for instance a :class:`twisted_rsh.execution.user.LocalUser`.
    """

    def __init__(self, user: IShellUser) -> None:
        self._user = user

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], IShellUser, Callable[[], None]]:
        """Return the user; ``twisted.cred`` calls this.

        :raises NotImplementedError: the caller does not ask for :class:`~twisted_rsh.interfaces.IShellUser`.
        """
        if IShellUser not in interfaces:
            raise NotImplementedError("this realm has shell users only")
        return IShellUser, self._user, lambda: None


def ask_portal(portal: Portal, credentials: VerifiedKey) -> Deferred[object]:
    """Ask a portal to log a key in.

    :param credentials: the key, which the client has proven to hold.
    :returns: fires with the realm's answer, which may be any object at all, or fails with any exception at all: judge
        both before they let a client in.
    """
    return maybeDeferred(portal.login, credentials, None, IShellUser)


class KeyCheck(enum.Enum):
    """The portal's answer about a key that has logged in before."""

    AUTHORIZED = "authorized"
    """The key may log in."""

    REFUSED = "refused"
    """The key may not log in."""

    UNKNOWN = "unknown"
    """The portal broke, as when it cannot reach its database."""


def check_key_again(portal: Portal, credentials: VerifiedKey) -> Deferred[KeyCheck]:
    """Ask a portal again about a key that has logged in before.

    The user object of the answer is not used, and is logged out at once.

    :param credentials: those of the login.
    :returns: fires with the answer, and never fails.
    """
    return ask_portal(portal, credentials).addBoth(_judge)


def _judge(answer: object) -> KeyCheck:
    match answer:
        case (_, user, logout) if IShellUser.providedBy(user) and callable(logout):
            with _log.failuresHandled("logging out after a check of a key broke the program"):
                logout()
            return KeyCheck.AUTHORIZED
        case Failure() if not answer.check(LoginFailed):
            _log.failure("the check of a key broke", failure=answer)
            return KeyCheck.UNKNOWN
        case _:
            return KeyCheck.REFUSED
