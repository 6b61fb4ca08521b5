"""Who may log in, as ``twisted.cred`` asks it.

The portal decides about a key whose possession has already been proven by
:func:`twisted_rsh.trust.sshsig.verify_login`; so no checker of an embedding application can leave that proof out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Attribute, implementer

from twisted_rsh.trust.authorized_keys import authorized_key_blobs
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.sshsig import encode_user

__all__ = ["AuthorizedKeysChecker", "IVerifiedKey", "VerifiedKey"]


class IVerifiedKey(ICredentials):
    """A credential: somebody wants to be this user, and has proven on this connection to hold this key."""

    user: str = Attribute("The user name asked for.")

    key_blob: bytes = Attribute("The public key in SSH's wire format, in its one encoding.")

    fingerprint: str = Attribute("The key's name for the log, as ssh-keygen -l prints it.")

    peer: str = Attribute("Where the connection comes from, for the log.")


@implementer(IVerifiedKey)
@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """The credential of a login.  Construct it only from what :func:`twisted_rsh.trust.sshsig.verify_login` returned.

    :ivar user: the user name asked for.
    :ivar key_blob: the public key in SSH's wire format.
    :ivar fingerprint: the key's name for the log.
    :ivar peer: where the connection comes from, for the log.
    """

    user: str
    key_blob: bytes
    fingerprint: str
    peer: str


@implementer(ICredentialsChecker)
class AuthorizedKeysChecker:
    """Lets one user log in with the keys that this user's files authorize at that moment.

    :param config: the folders of the user that the server runs as.
    :param user: that user's name; nobody else can log in.
    :param warn: called with one line for each file that had to be ignored; it may hold any path, so log it escaped.
    """

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, config: ConfigFolders, user: str, warn: Callable[[str], None]) -> None:
        self._config = config
        self._user = user
        self._warn = warn

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide about a login, with the same work for an unknown user as for an unknown key.

        :param credentials: who asks.
        :returns: fires with the user's name, as :func:`twisted_rsh.trust.sshsig.encode_user` writes it, or fails with
            ``UnauthorizedLogin``.
        """
        same_user = hmac.compare_digest(_comparable(credentials.user), _comparable(self._user))
        known_key = False
        for blob in authorized_key_blobs(self._config, self._warn):
            known_key |= hmac.compare_digest(blob, credentials.key_blob)
        if same_user & known_key:
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin("this user cannot log in with this key"))


def _comparable(text: str) -> bytes:
    """Write any text at all as bytes, different texts as different bytes."""
    return text.encode("utf-8", "surrogatepass")
