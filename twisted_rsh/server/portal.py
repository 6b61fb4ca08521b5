"""Whether the key that a session began with may still log in, asked of the portal again."""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_rsh.interfaces import IShellUser
from twisted_rsh.trust.cred import VerifiedKey

__all__ = ["KeyCheck", "SingleUserRealm", "check_key_again"]


@implementer(IRealm)
class SingleUserRealm:
    """Gives everybody whom the portal lets in the same user object.

    :param user: that user, for instance a :class:`twisted_rsh.execution.user.LocalUser`.
    """

    def __init__(self, user: IShellUser) -> None:
        self._user = user

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], IShellUser, Callable[[], None]]:
        """Return the user; ``twisted.cred`` calls this.

        :raises NotImplementedError: somebody asks for another interface than
            :class:`~twisted_rsh.interfaces.IShellUser`.
        """
        if IShellUser not in interfaces:
            raise NotImplementedError("this realm has shell users only")
        return IShellUser, self._user, lambda: None


_log = Logger(namespace=__name__)


class KeyCheck(enum.Enum):
    """What the portal says now."""

    AUTHORIZED = "authorized"
    """The key may log in."""

    REFUSED = "refused"
    """It may not."""

    UNKNOWN = "unknown"
    """The portal broke, as when its database cannot be reached: nothing is known."""


def check_key_again(portal: Portal, credentials: VerifiedKey) -> Deferred[KeyCheck]:
    """Ask a portal again about a key that has logged in before.

    The user object that it gives is logged out at once; nobody uses it.

    :param portal: whom to ask.
    :param credentials: those of the login.
    :returns: fires with the answer, and never fails.
    """
    answer: Deferred[object] = maybeDeferred(portal.login, credentials, None, IShellUser)
    return answer.addBoth(_judge)


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
