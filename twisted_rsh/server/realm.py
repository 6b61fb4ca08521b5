"""The realm of a stand-alone server: whoever may log in is the account that the server runs as."""

from __future__ import annotations

from collections.abc import Callable

from twisted.cred.portal import IRealm
from zope.interface import Interface, implementer

from twisted_rsh.interfaces import IShellUser

__all__ = ["SingleUserRealm"]


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
