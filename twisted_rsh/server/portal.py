"""The server's questions to a portal of ``twisted.cred``: may a key log in, and may it still?

:func:`local_portal` makes the portal of a stand-alone server; an application gives its own.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable
from typing import Any

from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_rsh.execution.account import Account
from twisted_rsh.execution.plan import describe_shortage
from twisted_rsh.execution.sftp import SYSTEM
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.limited_log import RateLimitedLog
from twisted_rsh.trust.cred import AuthorizedKeysChecker, OwnUserChecker, VerifiedKey, VerifiedPeer
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["KeyCheck", "SingleUserRealm", "ask_portal", "check_key_again", "local_portal"]


def local_portal(
    reactor: Any,
    config: ConfigFolders,
    account: Account,
    trees: JobTrees | None = None,
    bounds: UsageLimits | None = None,
    sftp: str = SYSTEM,
    ssh_authorized_keys: str | None = None,
    revoked_keys: str | None = None,
) -> Portal:
    """Make the portal of a stand-alone server.

    One user may log in, the account, with a key from ``authorized_keys`` in the account's folder or with the account's
    own client key, or at a Unix socket as the account's own user.  The portal looks at the files at each login, and
    reads one when it has changed.  Persistent shells have the FIFOs of their commands beside the records of servers,
    and not in ``/tmp``.

    :param reactor: watches the jobs' processes.
    :param config: the account's folders.
    :param account: the account that jobs run as (:meth:`twisted_rsh.execution.account.Account.current`).
    :param trees: knows the processes of all jobs; ``None`` for a tracker that changes nothing about this process.
    :param bounds: what each job may use; ``None`` for as much as it wants.
    :param sftp: what serves files: ``"system"``, ``"own"``, ``"off"``, or the absolute path of a program; see
        :class:`~twisted_rsh.execution.user.LocalUser`.
    :param ssh_authorized_keys: sshd's ``authorized_keys`` of the account, whose keys without options may log in, too;
        ``None`` for none.
    :param revoked_keys: a file of keys and certificates that may not log in, made by ``ssh-keygen -k`` or with a public
        key a line; ``None`` for none.  While it cannot be read, nobody may log in.
    :raises ValueError: this system cannot keep such bounds.
    """
    checker = AuthorizedKeysChecker(config, account.name, ssh_authorized_keys, revoked_keys)
    user = LocalUser(reactor, account, trees, os.path.dirname(config.record_path(0)), bounds, sftp)
    return Portal(SingleUserRealm(user), [checker, OwnUserChecker(account.name)])


@implementer(IRealm)
class SingleUserRealm:
    """Gives the same user object to every client that the portal lets in.

    :param user: that user, for instance a :class:`twisted_rsh.execution.user.LocalUser`.
    """

    def __init__(self, user: IShellUser) -> None:
        self._user = user

    @property
    def user(self) -> Any:
        """The user object that every client gets."""
        return self._user

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], IShellUser, Callable[[], None]]:
        """Return the user; ``twisted.cred`` calls this.

        :raises NotImplementedError: the caller does not ask for :class:`~twisted_rsh.interfaces.IShellUser`.
        """
        if IShellUser not in interfaces:
            raise NotImplementedError("this realm has shell users only")
        return IShellUser, self._user, _log_out


def _log_out() -> None:
    """Do nothing: the user is the server's own, and stays."""


def ask_portal(portal: Portal, credentials: VerifiedKey | VerifiedPeer) -> Deferred[object]:
    """Ask a portal to log a client in.

    :param credentials: the key, which the client has proven to hold, or the user at the other end of a Unix socket.  A
        checker may restrict it; the realm gets it as its ``mind``.
    :returns: fires with the realm's answer, which may be any object at all, or fails with any exception at all: judge
        both before they let a client in.  It fails with ``UnauthorizedLogin`` if the policy of the key does not let it
        in from here or at this time.
    """

    def admit(answer: object) -> object:
        reason = credentials.policy.why_not(credentials.address, time.time())
        if reason is not None:
            match answer:
                case (_, _, logout) if callable(logout):
                    logout()
            raise UnauthorizedLogin(reason)
        return answer

    return maybeDeferred(portal.login, credentials, credentials, IShellUser).addCallback(admit)


class KeyCheck(enum.Enum):
    """The portal's answer about a key that has logged in before."""

    AUTHORIZED = "authorized"
    """The key may log in."""

    REFUSED = "refused"
    """The key may not log in."""

    UNKNOWN = "unknown"
    """The portal broke, as when it cannot reach its database."""

    EXHAUSTED = "exhausted"
    """The server has no descriptors or no memory left to look."""


def check_key_again(portal: Portal, credentials: VerifiedKey | VerifiedPeer, log: RateLimitedLog) -> Deferred[KeyCheck]:
    """Ask a portal again about a key that has logged in before.

    The user object of the answer is not used, and is logged out at once.

    :param credentials: those of the login.
    :param log: gets the exceptions of the portal.
    :returns: fires with the answer, and never fails.
    """
    return ask_portal(portal, credentials).addBoth(_judge, log)


def _judge(answer: object, log: RateLimitedLog) -> KeyCheck:
    match answer:
        case (_, user, logout) if IShellUser.providedBy(user) and callable(logout):
            try:
                logout()
            except Exception:  # noqa: BLE001 - an application's logout; the answer is the same
                log.failure("logging out after a check of a key broke the program", Failure())
            return KeyCheck.AUTHORIZED
        case Failure(value=OSError() as error) if describe_shortage(error) is not None:
            return KeyCheck.EXHAUSTED
        case Failure() if not answer.check(LoginFailed):
            log.failure("the check of a key broke", answer)
            return KeyCheck.UNKNOWN
        case _:
            return KeyCheck.REFUSED
