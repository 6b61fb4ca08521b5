"""The credentials of logins and the stand-alone server's checkers, for ``twisted.cred``.

A portal decides about a key only after :func:`twisted_rsh.trust.sshsig.verify_login` has proven that the client holds
it.  So no checker of an embedding application can leave out that proof.  A portal decides about the user at the other
end of a Unix socket only if it has a checker for such users.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import ClassVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import Attribute, implementer

from twisted_rsh.limited_log import RateLimitedLog
from twisted_rsh.trust.authorized_keys import KeyFiles
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.sshsig import encode_user

__all__ = [
    "AuthorizedKeysChecker",
    "IVerifiedKey",
    "IVerifiedPeer",
    "OwnUserChecker",
    "VerifiedKey",
    "VerifiedPeer",
]


class IVerifiedKey(ICredentials):
    """A credential: a client asks to log in as a user, and has proven on its connection that it holds a key."""

    user: str = Attribute("The user name to log in as.")

    key_blob: bytes = Attribute("The public key in SSH's wire format, in its one canonical encoding.")

    fingerprint: str = Attribute("The key's name for the log, as ssh-keygen -l prints it.")

    peer: str = Attribute("The client's address, for the log.")


@implementer(IVerifiedKey)
@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """The credential of a login.  Make it only of a key that :func:`twisted_rsh.trust.sshsig.verify_login` returned.

    :ivar user: the user name to log in as.
    :ivar key_blob: the public key in SSH's wire format.
    :ivar fingerprint: the key's name for the log.
    :ivar peer: the client's address, for the log.
    """

    user: str
    key_blob: bytes
    fingerprint: str
    peer: str


class IVerifiedPeer(ICredentials):
    """A credential: a client asks to log in as a user, over a Unix socket, and the system has named its own user."""

    user: str = Attribute("The user name to log in as.")

    uid: int = Attribute("The user of the client's process, a number.")

    fingerprint: str = Attribute("That user's name for the log, such as ``uid 1000``.")

    peer: str = Attribute("The client's process, for the log.")


@implementer(IVerifiedPeer)
@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """The credential of a login over a Unix socket.  Make it only of what the system has told of that socket.

    :ivar user: the user name to log in as.
    :ivar uid: the user of the client's process.
    :ivar peer: the client's process, for the log.
    """

    user: str
    uid: int
    peer: str

    @property
    def fingerprint(self) -> str:
        """The client's user for the log, and for the bounds of one key."""
        return f"uid {self.uid}"


@implementer(ICredentialsChecker)
class OwnUserChecker:
    """A checker that lets the server's own user in at a Unix socket, and no other user, not even root.

    :param user: the name of that user, the only one who can log in.
    """

    credentialInterfaces = (IVerifiedPeer,)

    def __init__(self, user: str) -> None:
        self._user = user

    def requestAvatarId(self, credentials: IVerifiedPeer) -> Deferred[bytes | tuple[()]]:
        """Decide about a login.

        :param credentials: the user name, and the user of the client's process.
        :returns: fires with the user's name, encoded by :func:`twisted_rsh.trust.sshsig.encode_user`, or fails with
            ``UnauthorizedLogin``.
        """
        if credentials.uid == os.geteuid() and credentials.user == self._user:
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin("only the server's own user can log in here"))


@implementer(ICredentialsChecker)
class AuthorizedKeysChecker:
    """A checker that lets one user log in with the keys that the user's files authorize at that moment.

    It looks at the files for each login, reads one only when it has changed, and then logs one line if it ignores the
    file, wholly or in part, and no more of them than :data:`twisted_rsh.limited_log.LINES_A_MINUTE`, because any client
    that tries to log in causes them.  A login takes the same time however many keys there are.

    :param config: the folders of the user that the server runs as.
    :param user: the name of that user, the only one who can log in.
    """

    log: ClassVar[Logger] = Logger()
    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, config: ConfigFolders, user: str) -> None:
        self._files = KeyFiles(config)
        self._user = user
        self._limited_log = RateLimitedLog(self.log)

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide about a login.  An unknown user costs the same work as an unknown key.

        :param credentials: the user name and the key.
        :returns: fires with the user's name, encoded by :func:`twisted_rsh.trust.sshsig.encode_user`, or fails with
            ``UnauthorizedLogin``.
        :raises OSError: the system has no descriptors or no memory left to read the files.
        """
        same_user = hmac.compare_digest(_comparable(credentials.user), _comparable(self._user))
        for warning in self._files.look():
            self._limited_log.warn("{warning}", warning=warning)
        known_key = self._files.grant(credentials.key_blob)
        if same_user & known_key:
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin("this user cannot log in with this key"))


def _comparable(text: str) -> bytes:
    """Encode any text as bytes: different texts as different bytes."""
    return text.encode("utf-8", "surrogatepass")
